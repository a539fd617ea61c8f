from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Role
from gatepost.manage.access.records import AccountError, AccountErrorKind, LogInRefused
from gatepost.manage.access.user_rows import IssuerIdentity

ISSUER = "https://login.example"
WENDY = IssuerIdentity(ISSUER, "4711", "Wendy", Role.ADMINISTRATOR, None)


def come_in(place, who=WENDY, proved=0.0):
    return place.accounts.session(place.accounts.log_in_by_issuer(who, place.here, "Firefox", proved=proved))


def test_a_person_is_made_a_user_and_changed_as_the_issuer_says(place):
    place.user()
    first = come_in(place)
    assert (first.user.name, first.user.role, first.user.issuer, first.confirmed) == (
        *("wendy", Role.ADMINISTRATOR, ISSUER),
        0.0,
    )
    again = come_in(place, WENDY._replace(name="wanda", role=Role.OPERATOR, organizations=frozenset({"contoso"})), 5.0)
    assert (again.user.name, again.user.role, again.user.organizations) == ("wendy", Role.OPERATOR, {"contoso"})
    assert again.confirmed == 5.0
    assert [one.name for one in place.accounts.users()] == ["ann", "wendy"]
    events = place.accounts.audit_events(place.accounts.user("ann").principal)
    assert [one.action for one in events][:4] == ["log-in", "user-set", "log-in", "user-add"]
    assert events[1].detail["before"]["role"] == "administrator"


@pytest.mark.parametrize(
    ("who", "why"), [(WENDY._replace(name="ANN"), "another user"), (WENDY._replace(name="a b"), "no name")]
)
def test_whoever_has_the_name_of_another_or_none(place, who, why):
    place.user()
    with pytest.raises(LogInRefused) as caught:
        come_in(place, who)
    assert why in caught.value.why
    assert len(place.accounts.users()) == 1


def test_who_is_disabled_stays_outside(place):
    place.user()
    come_in(place)
    place.accounts.set_user("wendy", enabled=False, actor=place.root)
    with pytest.raises(LogInRefused) as caught:
        come_in(place)
    assert "disabled" in caught.value.why


def test_there_is_no_password(place):
    place.user()
    come_in(place)
    for password in ("", place.word):
        with pytest.raises(LogInRefused):
            place.accounts.log_in("wendy", password, place.here, "Firefox")
    for change in ({"password": place.word}, {"role": Role.AUDITOR}, {"organizations": ["contoso"]}):
        with pytest.raises(AccountError) as error:
            place.accounts.set_user("wendy", actor=place.root, **change)
        assert error.value.why is AccountErrorKind.CONFLICT


def test_a_local_owner_stays(place):
    place.user()
    come_in(place, WENDY._replace(role=Role.OWNER))
    with pytest.raises(AccountError, match="last owner"):
        place.accounts.remove_user("ann", actor=place.root)
    place.accounts.remove_user("wendy", actor=place.root)
