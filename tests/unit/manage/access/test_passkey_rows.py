from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Role
from gatepost.manage.access.records import AccountError, AccountErrorKind, Actor, AuditFilter, LogInRefused, Passkey


def key(number=1, user="ann", name="laptop", count=0):
    return Passkey(bytes([number]), user, name, b"cose", count, 0.0, 0.0)


def add(place, one):
    return place.accounts.add_passkey(one, actor=Actor("ann", place.here))


def come_in(place, one, count):
    return place.accounts.log_in_by_passkey(one, count, place.here, "Firefox")


def test_a_passkey_logs_in(place):
    place.user()
    made = add(place, key(name=" laptop "))
    assert (made.name, made.created) == ("laptop", place.clock.now)
    session = place.accounts.session(come_in(place, made, 0))
    assert (session.user.name, session.confirmed) == ("ann", place.clock.now)
    (kept,) = place.accounts.passkeys_of("ANN")
    assert kept.last_used == place.clock.now
    assert place.accounts.passkey(b"\1") == kept
    assert "cose" not in repr(kept)


@pytest.mark.parametrize(
    ("before", "after", "fits"), [(0, 0, True), (0, 5, True), (5, 6, True), (5, 5, False), (5, 0, False)]
)
def test_a_counter_that_does_not_grow_is_a_copy(place, before, after, fits):
    place.user()
    made = add(place, key(count=before))
    if fits:
        come_in(place, made, after)
        return
    with pytest.raises(LogInRefused) as caught:
        come_in(place, made, after)
    assert caught.value.name == "ann"
    assert "copy" in caught.value.why


def test_whom_it_does_not_let_in(place):
    place.user()
    place.user("tom", Role.AUDITOR)
    made = add(place, key(user="tom"))
    place.accounts.set_user("tom", enabled=False, actor=place.root)
    with pytest.raises(LogInRefused):
        come_in(place, made, 0)
    place.accounts.remove_user("tom", actor=place.root)
    assert place.accounts.passkey(b"\1") is None
    with pytest.raises(LogInRefused):
        come_in(place, made, 0)


def test_a_new_password_ends_them_unless_its_user_chose_it(place):
    place.user()
    place.user("tom", Role.AUDITOR)
    for number, name in enumerate(("phone", "laptop"), 1):
        add(place, key(number, name=name))
    other = add(place, key(3, user="tom"))
    set_user = place.accounts.set_user
    assert set_user("ann", password="another good word", actor=place.root, keep_passkeys=True).passkeys == []
    assert set_user("tom", role=Role.OPERATOR, actor=place.root).passkeys == []
    assert len(place.accounts.passkeys_of("ann")) == 2
    changed = set_user("ann", password="a third good word", actor=place.root)
    assert (changed.user.name, changed.passkeys) == ("ann", ["laptop", "phone"])
    with pytest.raises(LogInRefused):
        come_in(place, key(), 0)
    assert place.accounts.passkeys_of("tom") == [other]
    (event, *_rest) = place.accounts.audit_events(Principal("ann", frozenset()), AuditFilter(action="user-set"))
    assert event.detail["passkeys"] == ["laptop", "phone"]


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (key(name=" "), AccountErrorKind.INPUT),
        (key(user="tom"), AccountErrorKind.MISSING),
        (key(), AccountErrorKind.CONFLICT),
    ],
)
def test_what_is_not_kept(place, one, why):
    place.user()
    add(place, key())
    with pytest.raises(AccountError) as refused:
        add(place, one)
    assert refused.value.why is why


def test_a_session_that_ended_makes_none(place):
    user = place.user()
    place.accounts.add_passkey(key(), actor=Actor("ann"), generation=user.generation)
    place.accounts.set_user("ann", password="another horse battery", actor=place.root)
    with pytest.raises(AccountError) as refused:
        place.accounts.add_passkey(key(2), actor=Actor("ann"), generation=user.generation)
    assert refused.value.why is AccountErrorKind.CONFLICT
    assert place.accounts.passkeys_of("ann") == []


def test_they_are_bounded(place):
    place.user()
    for number in range(20):
        add(place, key(number))
    with pytest.raises(AccountError, match="remove one first"):
        add(place, key(21))


def test_only_ones_own_is_removed(place):
    place.user()
    place.user("tom", Role.AUDITOR)
    add(place, key())
    with pytest.raises(AccountError, match="no such passkey"):
        place.accounts.remove_passkey("tom", b"\1", actor=place.root)
    assert place.accounts.remove_passkey("ann", b"\1", actor=place.root).name == "laptop"
    assert place.accounts.passkeys_of("ann") == []
