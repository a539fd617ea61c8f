from __future__ import annotations

import tomllib

import pytest

from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.policy.connectors.lint import warnings
from gatepost.policy.connectors.model import parse

OWN = '[organization.o]\n[[organization.o.accepted_domain]]\nname = "o.example"\n'
INBOUND = OWN + '[[organization.o.inbound_connector]]\nname = "c"\n'
PARTNER = INBOUND + 'sender_domains = ["p.example"]\n'
PREMISES = INBOUND + 'connector_type = "on-premises"\n'
NAMED = PREMISES + 'tls_sender_certificate_name = "mail.o.example"\n'
NULL = 'senders_by_address = "accepted-domains-and-null"\n'
ANY = 'senders_by_address = "any"\n'


def held(*networks: str) -> str:
    return f"sender_ip_addresses = {list(networks)}\n".replace("'", '"')


def errors_of(text: str) -> list[tuple[str, str]]:
    try:
        parse(tomllib.loads(text))
    except ResourceErrors as errors:
        return [(error.path.rpartition(".")[2], error.message) for error in errors.errors]
    return []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (PARTNER + ANY, "a partner never relays"),
        (NAMED + ANY, "no address by which to know the servers"),
    ],
)
def test_who_may_relay_by_address_is_checked(text: str, why: str) -> None:
    ((field, message),) = errors_of(text)
    assert field == "senders_by_address"
    assert why in message


@pytest.mark.parametrize(
    ("text", "field", "why"),
    [
        (NAMED + "ef_skip_last_ip = true", "ef_skip_last_ip", "the mail of own servers"),
        (PARTNER + "ef_skip_last_ip = true", "ef_skip_last_ip", "anybody could write the Received fields"),
        (PARTNER + 'ef_skip_ips = ["192.0.2.0/24"]', "ef_skip_ips", "anybody could write the Received fields"),
        (
            PARTNER + held("192.0.2.7") + 'ef_skip_ips = ["192.0.2.0/24"]\nef_skip_last_ip = true',
            "ef_skip_ips",
            "the last hop alone",
        ),
        (PARTNER + 'ef_skip_ips = ["mx.example"]', "ef_skip_ips[0]", "is not an address or a network"),
    ],
)
def test_whose_hops_are_skipped_is_checked(text: str, field: str, why: str) -> None:
    ((wrong, message),) = errors_of(text)
    assert wrong == field
    assert why in message


@pytest.mark.parametrize(
    "text",
    [
        PREMISES + held("192.0.2.7") + ANY,
        NAMED + 'senders_by_address = "accepted-domains"',
        PARTNER + 'senders_by_address = "accepted-domains"',
        PARTNER + held("192.0.2.7") + "ef_skip_last_ip = true",
        PARTNER + 'tls_sender_certificate_name = "f.example"\nef_skip_ips = ["192.0.2.0/24"]',
    ],
)
def test_what_fits_together_is_taken(text: str) -> None:
    assert errors_of(text) == []


def test_a_wrong_value_is_told_alone() -> None:
    assert [field for field, _ in errors_of(PARTNER + 'senders_by_address = "all"')] == ["senders_by_address"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (PREMISES + held("192.0.2.7"), []),
        (
            PARTNER + held("192.0.2.7") + 'ef_skip_last_ip = true\nmode = "rehearse"',
            ["in rehearsal it skips no hops"],
        ),
        (PREMISES + held("192.0.2.7", "192.0.2.16/28") + NULL, []),
        (
            PREMISES + held("192.0.2.7") + ANY,
            ["lets every program at its addresses send to anyone as anyone; give the servers a certificate"],
        ),
        (PREMISES + held("192.0.2.7", "192.0.2.128/25") + NULL, ["all of 192.0.2.128/25 relay, 128 addresses; name"]),
        (PREMISES + held("2001:db8::/48") + NULL, ["all of 2001:db8::/48 relay, very many addresses"]),
    ],
)
def test_a_relay_that_only_an_address_guards_is_told(text: str, told: list[str]) -> None:
    said = warnings(parse(tomllib.loads(text)))
    assert len(said) == len(told)
    assert all(part in sentence for part, sentence in zip(told, said, strict=True))
