from __future__ import annotations

from pydantic import TypeAdapter

from gatepost.policy.connectors.address_fields import SendersByAddress, SkipIps, SkipLastIp
from gatepost.policy.connectors.values import AddressSenders


def test_their_values() -> None:
    assert TypeAdapter(SkipIps).validate_python(["192.0.2.1/24", "2001:DB8::1"]) == ("192.0.2.0/24", "2001:db8::1")
    assert TypeAdapter(SkipLastIp).validate_python(True) is True
    assert TypeAdapter(SendersByAddress).validate_python("any") is AddressSenders.ANY
