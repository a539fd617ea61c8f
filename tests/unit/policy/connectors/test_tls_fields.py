from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gatepost.policy.connectors.records import InboundConnector, OutboundConnector
from gatepost.policy.connectors.tls_fields import limits_of
from gatepost.protocols.tls.limits import NO_LIMITS, limited

SUITE = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"


@pytest.mark.parametrize("kind", [InboundConnector, OutboundConnector])
@pytest.mark.parametrize(
    ("fields", "limits"),
    [
        ({}, NO_LIMITS),
        ({"min_key_exchange": "classical"}, NO_LIMITS),
        ({"min_key_exchange": "post-quantum"}, limited(post_quantum=True)),
        ({"groups": ["secp256r1", "p-256"]}, limited(groups=["P-256"])),
        ({"cipher_suites": ["ECDHE-RSA-AES256-GCM-SHA384"]}, limited(suites=[SUITE])),
    ],
)
def test_limits_of_a_connector(kind: type[Any], fields: dict[str, Any], limits: Any) -> None:
    assert limits_of(kind.model_validate({"name": "c", **fields})) == limits


def test_names_are_kept_in_one_form() -> None:
    made = OutboundConnector.model_validate({"name": "c", "groups": ["x25519"], "cipher_suites": [SUITE.lower()]})
    assert (made.groups, made.cipher_suites) == (("X25519",), (SUITE,))


@pytest.mark.parametrize("fields", [{"groups": ["P-256"] * 101}, {"cipher_suites": [SUITE] * 101}, {"groups": "P-256"}])
def test_a_list_is_a_list_and_bounded(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OutboundConnector.model_validate({"name": "c", **fields})
