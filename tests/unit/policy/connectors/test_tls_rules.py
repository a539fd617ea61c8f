from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from typing import Any

import pytest

from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.policy.connectors.lint import warnings
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.records import InboundConnector, OutboundConnector
from gatepost.policy.connectors.resources import Resources
from gatepost.policy.connectors.tls_rules import limits_of
from gatepost.protocols.tls.limits import NO_LIMITS, limited

OWN = '[organization.o]\n[[organization.o.accepted_domain]]\nname = "o.example"\n'
PARTNER = OWN + '[[organization.o.inbound_connector]]\nname = "c"\nsender_domains = ["p.example"]\n'
PREMISES = OWN + (
    '[[organization.o.inbound_connector]]\nname = "c"\nconnector_type = "on-premises"\n'
    'tls_sender_certificate_name = "*.o.example"\n'
)
TO_PARTNER = OWN + '[[organization.o.outbound_connector]]\nname = "c"\nrecipient_domains = ["p.example"]\n'
ENCRYPTED = TO_PARTNER + 'tls_settings = "encryption-only"\n'
QUANTUM, CURVES, SUITES = (
    'min_key_exchange = "post-quantum"',
    'groups = ["P-256"]',
    'cipher_suites = ["TLS_AES_256_GCM_SHA384"]',
)
NEW, OLD = "TLS_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"


def errors_of(text: str) -> list[tuple[str, str]]:
    try:
        parse(tomllib.loads(text))
    except ResourceErrors as errors:
        return [(re.sub(r".*'c'\.", "", error.path), error.message) for error in errors.errors]
    return []


@pytest.mark.parametrize("kind", [InboundConnector, OutboundConnector])
@pytest.mark.parametrize(
    ("fields", "limits"),
    [
        ({}, NO_LIMITS),
        ({"min_key_exchange": "classical"}, NO_LIMITS),
        ({"min_key_exchange": "post-quantum"}, limited(post_quantum=True)),
        ({"groups": ["secp256r1", "p-256"]}, limited(groups=["P-256"])),
        ({"cipher_suites": ["ECDHE-RSA-AES256-GCM-SHA384"]}, limited(suites=["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"])),
    ],
)
def test_limits_of_a_connector(kind: type[Any], fields: dict[str, Any], limits: Any) -> None:
    assert limits_of(kind.model_validate({"name": "c", **fields})) == limits


@pytest.mark.parametrize("field", [QUANTUM, CURVES, SUITES])
@pytest.mark.parametrize(
    ("connector", "why"),
    [(TO_PARTNER, "opportunistic TLS cannot demand this"), (PREMISES, "write require_tls = true as well"),
     (PARTNER + "require_tls = false\n", "write require_tls = true as well")],
)  # fmt: skip
def test_what_lets_mail_go_unencrypted_can_demand_nothing_of_it(connector: str, why: str, field: str) -> None:
    ((where, message),) = errors_of(connector + field)
    assert where == field.partition(" ")[0]
    assert why in message


def test_each_field_is_told() -> None:
    assert [field for field, _ in errors_of(f"{TO_PARTNER}{QUANTUM}\n{SUITES}")] == [
        "min_key_exchange", "cipher_suites",
    ]  # fmt: skip


@pytest.mark.parametrize("connector", [ENCRYPTED, PARTNER])
@pytest.mark.parametrize(
    ("fields", "field", "why"),
    [
        ((QUANTUM, 'min_tls_version = "TLSv1.2"'), "min_tls_version", 'write "TLSv1.3", or leave this out'),
        ((QUANTUM, CURVES), "groups", "add X25519MLKEM768, or leave this out"),
        ((QUANTUM, f'cipher_suites = ["{OLD}"]'), "cipher_suites", f"Add a suite of TLS 1.3, such as {NEW}"),
        (('min_tls_version = "TLSv1.3"', f'cipher_suites = ["{OLD}"]'), "cipher_suites", "for TLSv1.3 or newer"),
        (('profile = "modern"', f'cipher_suites = ["{OLD}"]'), "cipher_suites", "Add a suite of TLS 1.3"),
        (('cipher_suites = ["DHE-RSA-AES256-GCM-SHA384"]',), "cipher_suites", "Add a suite of profile default"),
        ((CURVES, 'cipher_suites = ["AES256-GCM-SHA384"]', 'profile = "legacy"'), "cipher_suites", "of profile legacy"),
        (('groups = ["X448"]',), "groups[0]", "choose from: X25519MLKEM768"),
        (('cipher_suites = ["HIGH"]',), "cipher_suites[0]", "gatepost tls profiles"),
        (('min_key_exchange = "quantum"',), "min_key_exchange", "post-quantum"),
    ],
)
def test_something_that_can_be_negotiated_must_remain(
    connector: str, fields: tuple[str, ...], field: str, why: str
) -> None:
    ((where, message),) = errors_of(connector + "\n".join(fields))
    assert where == field
    assert why in message


@pytest.mark.parametrize(
    "text",
    [
        ENCRYPTED + QUANTUM,
        ENCRYPTED + f'{QUANTUM}\ngroups = ["X25519", "x25519mlkem768"]\nmin_tls_version = "TLSv1.3"\n{SUITES}',
        TO_PARTNER + f'cleartext = "never"\n{QUANTUM}',
        TO_PARTNER + 'min_key_exchange = "classical"',
        ENCRYPTED + 'cipher_suites = ["DHE-RSA-AES256-GCM-SHA384"]\nprofile = "compatible"',
        ENCRYPTED + f'cipher_suites = ["{OLD}"]',
        PARTNER + QUANTUM,
        PREMISES + f"require_tls = true\n{QUANTUM}",
    ],
)
def test_what_makes_sense_may_be_saved(text: str) -> None:
    assert errors_of(text) == []


@pytest.mark.parametrize(
    "fields",
    [
        'groups = ["X448"]\nmin_key_exchange = "post-quantum"',
        'groups = ["X25519"]\nmin_key_exchange = "post-quantum"\nprofile = "none"',
    ],
)
def test_a_rule_is_silent_where_a_field_that_it_reads_is_wrong(fields: str) -> None:
    assert len(errors_of(ENCRYPTED + fields)) == 1
    assert len(errors_of(TO_PARTNER + 'tls_settings = "none"\n' + QUANTUM)) == 1


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (ENCRYPTED + f'cipher_suites = ["{OLD}"]', "so TLS 1.3 is not offered; add TLS_AES_256_GCM_SHA384"),
        (PARTNER + f'cipher_suites = ["{OLD}"]', "clients that speak TLS 1.3 agree on it, and are refused"),
        (PARTNER + CURVES, "prefers X25519MLKEM768, which the connector does not allow"),
        (PARTNER + 'groups = ["X25519MLKEM768", "P-256"]', "prefers X25519, which"),
        (PARTNER + 'cipher_suites = ["TLS_AES_128_GCM_SHA256"]', "prefers TLS_AES_256_GCM_SHA384, which"),
        (PREMISES + f"require_tls = true\n{CURVES}", "every client that offers this group too is refused"),
        (ENCRYPTED + CURVES, ""),
        (ENCRYPTED + QUANTUM, ""),
        (PARTNER + QUANTUM, ""),
        (PARTNER + 'groups = ["X25519", "X25519MLKEM768"]', ""),
        (PARTNER + SUITES, ""),
    ],
)
def test_what_shuts_out_more_than_may_be_meant(resources: Callable[[str], Resources], text: str, warning: str) -> None:
    found = [said for said in warnings(resources(text)) if "cipher_suites lists" in said or "prefers" in said]
    assert len(found) == bool(warning)
    assert all(warning in said for said in found)
