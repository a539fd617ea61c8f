from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.client import LocalClient, all_items
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.srs_keys import (
    ListSrsKeys,
    RemoveSrsKey,
    RotateSrsKey,
    list_srs_keys,
    remove_srs_key,
    rotate_srs_key,
)
from gatepost.protocols.message.srs import MAX_KEYS
from gatepost.store.srs_keys import SRS_KEYS_FILE, load_srs_keys


@pytest.fixture(autouse=True)
def _data(gateway):
    gateway.data.mkdir()


OWNER = Principal("ann", frozenset(Scope))


def call(gateway, case, request, principal=OWNER):
    return LocalClient(gateway, principal).call(case, request)


def listed(gateway):
    return list(all_items(LocalClient(gateway, OWNER).call, list_srs_keys, ListSrsKeys(limit=2)))


def refused(kind, gateway, case, request, principal=OWNER):
    with pytest.raises(Refusal) as caught:
        call(gateway, case, request, principal)
    assert caught.value.kind is kind
    return caught.value.text


def test_a_new_key_signs_and_the_old_one_verifies_until_it_is_removed(gateway):
    (old,) = listed(gateway)
    assert old.signs
    new = call(gateway, rotate_srs_key, RotateSrsKey())
    assert [(key.name, key.signs) for key in listed(gateway)] == [(new.name, True), (old.name, False)]
    assert load_srs_keys(gateway.data).names == [new.name, old.name]
    assert "signs: rotate first" in refused(RefusalKind.CONFLICT, gateway, remove_srs_key, RemoveSrsKey(name=new.name))
    call(gateway, remove_srs_key, RemoveSrsKey(name=old.name))
    assert [key.name for key in listed(gateway)] == [new.name]
    assert "there is no SRS key" in refused(RefusalKind.MISSING, gateway, remove_srs_key, RemoveSrsKey(name=old.name))


def test_there_are_not_too_many(gateway):
    listed(gateway)
    for _ in range(MAX_KEYS - 1):
        call(gateway, rotate_srs_key, RotateSrsKey())
    before = listed(gateway)
    assert "Remove old ones first" in refused(RefusalKind.CONFLICT, gateway, rotate_srs_key, RotateSrsKey())
    assert listed(gateway) == before


def test_keys_that_cannot_be_read_are_not_replaced(gateway):
    listed(gateway)
    (gateway.data / SRS_KEYS_FILE).write_text("broken\n")
    assert "no key in hexadecimal" in refused(RefusalKind.UNREADABLE, gateway, rotate_srs_key, RotateSrsKey())
    assert (gateway.data / SRS_KEYS_FILE).read_text() == "broken\n"


@pytest.mark.parametrize(
    "principal",
    [
        Principal("tim", frozenset(Scope), frozenset({"fabrikam"})),
        Principal("adi", frozenset(Scope) - {Scope.OWNER}),
    ],
)
def test_only_the_owner_of_the_gateway_may(gateway, principal):
    refused(RefusalKind.FORBIDDEN, gateway, rotate_srs_key, RotateSrsKey(), principal)
    refused(RefusalKind.FORBIDDEN, gateway, list_srs_keys, ListSrsKeys(), principal)
