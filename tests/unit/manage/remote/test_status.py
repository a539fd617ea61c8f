from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.remote import status
from gatepost.manage.remote.address import Address
from gatepost.manage.remote.door import RemoteDoor
from gatepost.manage.use_cases import status as here
from gatepost.manage.use_cases.refusal import Kind, Refusal

from .conftest import OWNER


def test_the_status_is_the_same(there):
    found = status.status(there)
    assert found == here.status(there.api.gateway, OWNER)
    assert found.queue == {"active": 0, "deferred": 3, "held": 0}
    assert found.configuration.author == "ann"
    assert here.status_record(found) == there.get("/status").value


def test_it_is_the_gateways(there):
    there.api.who = Principal("tim", frozenset({Scope.READ}), frozenset({"contoso"}))
    with pytest.raises(Refusal) as refused:
        status.status(there)
    assert refused.value.kind is Kind.FORBIDDEN


@pytest.mark.parametrize("told", [{}, [], None, 7, {"logins": None}, {"software": "1", "hostname": "a", "logins": {}}])
def test_what_no_gateway_says_is_called_so(there, monkeypatch, told):
    door = RemoteDoor(Address("https://gate.example:443", "gate.example", 443, "gp_x"))
    door._connection = there
    monkeypatch.setattr(there, "get", lambda *_, **__: type("Answer", (), {"value": told}))
    with pytest.raises(Refusal, match="not what this version of the command expects") as refused:
        door(here.status)
    assert refused.value.kind is Kind.UNREADABLE
