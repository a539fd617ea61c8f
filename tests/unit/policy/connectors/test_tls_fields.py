from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gatepost.policy.connectors.records import OutboundConnector

SUITE = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"


def test_names_are_kept_in_one_form() -> None:
    made = OutboundConnector.model_validate({"name": "c", "groups": ["x25519"], "cipher_suites": [SUITE.lower()]})
    assert (made.groups, made.cipher_suites) == (("X25519",), (SUITE,))


@pytest.mark.parametrize("fields", [{"groups": ["P-256"] * 101}, {"cipher_suites": [SUITE] * 101}, {"groups": "P-256"}])
def test_a_list_is_a_list_and_bounded(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OutboundConnector.model_validate({"name": "c", **fields})
