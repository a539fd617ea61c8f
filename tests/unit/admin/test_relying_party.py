from __future__ import annotations

from types import SimpleNamespace

import pytest

from gatepost.admin.relying_party import origin, rp_id


@pytest.mark.parametrize(
    ("host", "party"),
    [
        ("mx.gate.example:8443", "mx.gate.example"),
        ("localhost", "localhost"),
        ("MX.gate.example", "mx.gate.example"),
        ("127.0.0.1:8443", ""),
        ("[::1]:8443", ""),
    ],
)
def test_an_ip_address_is_no_relying_party(host, party):
    request = SimpleNamespace(headers={"host": host})
    assert rp_id(request) == party
    assert origin(request) == f"https://{host.lower()}"
