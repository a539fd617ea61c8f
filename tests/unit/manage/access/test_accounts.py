"""The whole of it as the admin centre uses it: what an attacker, a race or a clock could make of it."""

from __future__ import annotations

import threading
from functools import partial

import apsw
import pytest

from gatepost.manage.access import accounts as module
from gatepost.manage.access import login_rate_limiter
from gatepost.manage.access.principal import Principal, Role, Scope
from gatepost.manage.access.records import (
    AccountError,
    AccountErrorKind,
    Actor,
    AuditFilter,
    AuditOutcome,
    LogInRefused,
)
from gatepost.manage.access.slots import Slots
from gatepost.pki.certificates.vault import Vault
from gatepost.store.interface import StoreFailure

MINUTE = 60.0
GATEWAY = Principal("ann", frozenset({Scope.OWNER}))
WEB = Actor("ann", "192.0.2.1")


def audit_events(place, **wanted):
    return [
        (one.who, one.action, one.subject, one.outcome)
        for one in place.accounts.audit_events(GATEWAY, AuditFilter(**wanted))
    ]


def at_once(*works):
    """Let all begin at the same time; what they returned or raised."""
    barrier, found = threading.Barrier(len(works)), []

    def run(work):
        barrier.wait()
        try:
            found.append(work())
        except Exception as error:  # noqa: BLE001 - it is what is asked for
            found.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in works]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return found


# users


def test_users(place):
    accounts = place.accounts
    assert (accounts.users(), accounts.has_owner(), accounts.user("ann")) == ([], False, None)
    ann = place.user("Ann")
    bob = place.user("bob", Role.AUDITOR, ["contoso"])
    assert accounts.users() == [ann, bob]
    assert accounts.user("ANN") == ann
    assert accounts.has_owner()
    changed = accounts.set_user("Bob", actor=WEB, role=Role.OPERATOR).user
    assert (changed.role, changed.organizations) == (Role.OPERATOR, frozenset({"contoso"}))
    assert accounts.set_user("bob", actor=WEB, role=Role.OPERATOR) == (changed, (), ())
    assert accounts.remove_user("bob", actor=WEB) == []
    assert accounts.users() == [ann]
    assert audit_events(place) == [
        ("ann", "user-remove", "bob", "done"),
        ("ann", "user-set", "bob", "done"),
        ("root", "user-add", "bob", "done"),
        ("root", "user-add", "ann", "done"),
    ]
    [change] = accounts.audit_events(GATEWAY, AuditFilter(action="user-set"))
    assert (change.detail["before"]["role"], change.detail["after"]["role"]) == ("auditor", "operator")
    assert change.address == "192.0.2.1"


def test_what_is_refused_leaves_no_event(place):
    place.user()
    for act in (
        place.user,
        lambda: place.accounts.set_user("ann", actor=WEB, enabled=False),
        lambda: place.accounts.set_user("ann", actor=WEB, password="short"),
        lambda: place.accounts.set_user("eve", actor=WEB, enabled=False),
        lambda: place.accounts.remove_user("ann", actor=WEB),
    ):
        with pytest.raises(AccountError):
            act()
    assert len(audit_events(place)) == 1
    assert place.log_in()


def test_two_owners_cannot_remove_each_other_at_once(place):
    place.user("ann")
    place.user("eve")
    other = place.another()
    found = at_once(
        lambda: place.accounts.remove_user("ann", actor=Actor("eve", "192.0.2.1")),
        lambda: other.set_user("eve", actor=WEB, role=Role.AUDITOR),
    )
    assert sum(isinstance(one, AccountError) for one in found) == 1
    assert place.accounts.has_owner()


def test_passwords_are_nowhere(place):
    place.user()
    place.log_in()
    place.accounts.set_user("ann", actor=WEB, password="another good password")
    found = b"".join(one.read_bytes() for one in place.path.parent.iterdir())
    assert place.word.encode() not in found
    assert b"another good password" not in found
    assert "argon2" not in repr(place.accounts.audit_events(GATEWAY))


# logging in


def test_logging_in_and_out(place):
    ann = place.user()
    secret = place.log_in(" ANN ")
    session = place.accounts.session(secret)
    assert (session.user.name, session.principal, session.agent) == ("ann", ann.principal, "Firefox")
    assert session.user.last_login == place.clock.now
    assert [one.id for one in place.accounts.sessions_of("Ann")] == [session.id]
    assert not place.accounts.sessions_of("ann")[0].csrf
    place.accounts.end_session(secret, address=place.here)
    place.accounts.end_session(secret)
    assert place.accounts.session(secret) is None
    assert audit_events(place)[:2] == [("ann", "log-out", "", "done"), ("ann", "log-in", "", "done")]


@pytest.mark.parametrize("name", ["ann", "off", "eve", "", "ann\0", "x" * 5000, "\ud800"])
def test_nobody_learns_which_names_there_are(place, monkeypatch, name):
    place.user()
    place.user("off", Role.AUDITOR)
    place.accounts.set_user("off", actor=WEB, enabled=False)
    tried = []
    keeper = place.accounts._rate_limiter
    fits = keeper.fits
    monkeypatch.setattr(keeper, "fits", lambda *given: tried.append(given) or fits(*given))
    with pytest.raises(LogInRefused) as caught:
        place.log_in(name, place.word if name != "ann" else "wrong")
    assert (str(caught.value), caught.value.wait, len(tried)) == ("incorrect user name or password", 0.0, 1)
    who = name if name in {"ann", "off"} else ""  # people type passwords where names belong
    assert caught.value.name == who
    assert caught.value.why in {"there is no such user", "the password does not fit", "the user is disabled"}


def test_a_log_in_whose_password_was_not_tried_as_others_wait_is_no_failure(place, monkeypatch):
    """Else whoever keeps all places busy locks everybody out for longer than that."""
    place.user()
    limiter = place.accounts._rate_limiter
    with monkeypatch.context() as crowded:
        crowded.setattr(login_rate_limiter, "_PATIENCE", 0.01)
        crowded.setattr(limiter, "_hashing", Slots(0))
        for _ in range(25):
            with pytest.raises(LogInRefused) as caught:
                place.log_in("ann")
            assert caught.value.wait == 0.01
    with pytest.raises(LogInRefused):
        place.log_in("ann", "wrong")
    place.log_in("ann")


@pytest.mark.parametrize("name", ["ann", "eve"])
def test_guessing_is_slowed_for_every_name_alike(place, name):
    place.user()
    for _ in range(6):
        with pytest.raises(LogInRefused):
            place.log_in(name, "wrong")
    kept = len(audit_events(place))
    with pytest.raises(LogInRefused) as caught:
        place.log_in(name)
    assert caught.value.wait == 10
    assert len(audit_events(place)) == kept
    place.log_in("ann", address="198.51.100.1")
    place.ticks.now += 10
    place.log_in("ann")


def test_a_password_that_changed_while_it_was_tried(place, monkeypatch):
    place.user()
    place.user("bob", Role.AUDITOR)
    begin = place.accounts.start_session

    def changed(user, address, agent):
        place.accounts.set_user("bob", actor=WEB, password="another good password")
        return begin(user, address, agent)

    monkeypatch.setattr(place.accounts, "start_session", changed)
    with pytest.raises(LogInRefused):
        place.log_in("bob")
    assert place.accounts.sessions_of("bob") == []


def test_one_user_is_not_taken_for_a_later_one_of_the_same_name(place):
    place.user()
    bob = place.user("bob", Role.AUDITOR)
    secret = place.log_in("bob")
    place.accounts.remove_user("bob", actor=WEB)
    place.user("bob", Role.ADMINISTRATOR)
    assert place.accounts.session(secret) is None
    with pytest.raises(AccountError, match="meanwhile"):
        place.accounts.start_session(bob, place.here, "Firefox")


def test_a_change_ends_the_tokens_that_a_user_made_if_it_is_told_to(place):
    """Whoever took the account over may have made one: nothing of it is left then."""
    place.user()
    place.user("bob", Role.ADMINISTRATOR)
    secrets = [
        place.accounts.add_token(name, [Scope.READ], actor=actor)
        for name, actor in (("bobs", Actor("bob", "192.0.2.7")), ("shell", Actor("root")))
    ]
    assert place.accounts.set_user("bob", actor=WEB, password="another good password").tokens == []
    session = place.accounts.log_in("bob", "another good password", "192.0.2.7", "curl")
    assert all(map(place.accounts.token, secrets))
    changed = place.accounts.set_user("bob", actor=WEB, end_tokens=True)
    assert changed.tokens == ["bobs"]
    assert [bool(place.accounts.token(secret)) for secret in secrets] == [False, True]
    assert place.accounts.session(session) is None
    assert place.accounts.audit_events(GATEWAY)[0].detail["tokens"] == ["bobs"]
    assert not place.accounts.set_user("bob", actor=WEB, end_tokens=True).tokens, "nothing is left"


# sessions


def test_every_log_in_is_another_session(place):
    place.user()
    first, second = place.log_in(), place.log_in()
    assert first != second
    assert place.accounts.session(first).csrf != place.accounts.session(second).csrf
    fixed = "A" * 43  # a browser may bring what it wants
    assert place.accounts.session(fixed) is None
    place.accounts.end_session(fixed)
    assert place.accounts.session(second)


@pytest.mark.parametrize(
    "change",
    [{"password": "another good password"}, {"role": Role.AUDITOR}, {"enabled": False}, {"organizations": ["c"]}],
)
def test_a_change_of_the_user_ends_its_sessions(place, change):
    place.user()
    place.user("bob", Role.OPERATOR)
    secrets = [place.log_in("bob"), place.log_in("bob")]
    mine = place.log_in()
    user = place.accounts.set_user("bob", actor=WEB, **change).user
    assert [place.accounts.session(one) for one in secrets] == [None, None]
    assert place.ask("SELECT count(*) FROM session") == [(1,)]
    assert place.accounts.session(mine)
    if user.enabled:
        assert place.accounts.session(place.accounts.start_session(user, place.here, "Firefox")).user.role is user.role
    else:
        with pytest.raises(AccountError):
            place.accounts.start_session(user, place.here, "Firefox")


def test_a_session_lives_while_it_is_used_but_not_for_ever(place):
    place.user()
    secret = place.log_in()
    for _ in range(24):
        place.clock.now += 29 * MINUTE
        assert place.accounts.session(secret)
    place.clock.now += 24 * MINUTE - 1
    assert place.accounts.session(secret)
    place.clock.now += 1
    assert place.accounts.session(secret) is None


def test_an_idle_session_is_over_and_no_clock_revives_it(place):
    place.user()
    secret = place.log_in()
    place.clock.now += 30 * MINUTE
    assert place.accounts.session(secret) is None
    place.clock.now -= 10 * MINUTE
    assert place.accounts.session(secret) is None


def test_a_clock_that_is_put_back_ends_sessions(place):
    place.user()
    secret = place.log_in()
    place.clock.now -= 50
    assert place.accounts.session(secret)
    place.clock.now -= 3600
    assert place.accounts.session(secret) is None


def test_it_is_written_once_a_minute_that_a_session_is_used(place):
    place.user()
    secret = place.log_in()
    seen = []
    for _ in range(5):
        place.clock.now += 25
        place.accounts.session(secret)
        seen.append(place.clock.now - place.accounts.session(secret).last_seen)
    assert seen == [25, 50, 0, 25, 50]


def test_a_full_disk_logs_nobody_out(place, monkeypatch):
    place.user()
    secret, token = place.log_in(), place.accounts.add_token("t", [Scope.READ], actor=WEB)

    def full(*_):
        raise apsw.FullError("disk full")

    tries = []

    def slow(*_):
        tries.append(place.ticks.now)
        full()

    monkeypatch.setattr(module.session_rows, "touch", slow)
    monkeypatch.setattr(module.token_rows, "touch", slow)
    place.clock.now += 5 * MINUTE
    for after in (0, 30, 31):
        place.ticks.now += after
        assert place.accounts.session(secret)
        assert place.accounts.token(token)
    assert tries == [1000.0, 1061.0], "where no commit ends, as without a standby, a try takes ten seconds"
    monkeypatch.setattr(module.audit_rows, "write", full)
    with pytest.raises(StoreFailure, match="full"):
        place.log_in()
    assert len(place.accounts.sessions_of("ann")) == 1


def test_ending_sessions_from_a_list(place):
    place.user()
    place.user("bob", Role.AUDITOR)
    here, there, bobs = place.log_in(), place.log_in(), place.log_in("bob")
    number = place.accounts.session(there).id
    assert not place.accounts.end_session_of("bob", number, actor=Actor("bob", place.here))
    assert place.accounts.end_session_of("ann", number, actor=WEB)
    assert place.accounts.session(there) is None
    place.log_in()
    assert place.accounts.end_sessions_of("Ann", actor=WEB) == 2
    assert place.accounts.end_sessions_of("ann", actor=WEB) == 0
    assert [bool(place.accounts.session(one)) for one in (here, bobs)] == [False, True]
    assert audit_events(place, action="session-end") == [("ann", "session-end", "ann", "done")] * 2


# API tokens


def test_tokens(place):
    place.user()
    secret = place.accounts.add_token("backup", [Scope.READ], actor=WEB, organizations=["contoso"])
    assert place.accounts.token(secret) == Principal("token backup", frozenset({Scope.READ}), frozenset({"contoso"}))
    assert place.accounts.tokens()[0].last_used == place.clock.now
    assert place.accounts.session(secret) is None
    assert place.accounts.token(place.log_in()) is None
    assert place.accounts.token("gp_nonsense") is None
    place.accounts.remove_token("backup", actor=WEB)
    assert place.accounts.token(secret) is None
    assert audit_events(place)[0] == ("ann", "token-remove", "backup", "done")
    found = b"".join(one.read_bytes() for one in place.path.parent.iterdir())
    assert secret.encode() not in found


def test_tokens_of_users_that_are_gone(place):
    place.user()
    place.user("eve")
    by = Actor("eve", place.here)
    first = place.accounts.add_token("first", [Scope.OWNER], actor=by)
    second = place.accounts.add_token("second", [Scope.READ], actor=Actor("token first", place.here))
    place.accounts.set_user("eve", actor=WEB, enabled=False)
    assert [place.accounts.token(one) for one in (first, second)] == [None, None]
    assert place.accounts.remove_user("eve", actor=WEB) == ["first", "second"]
    place.user("eve")
    assert [place.accounts.token(one) for one in (first, second)] == [None, None]
    with pytest.raises(AccountError, match="not there any more"):
        place.accounts.add_token("third", [Scope.READ], actor=Actor("token first", place.here))


# the first owner


def test_a_set_up_code_stays_valid_until_it_is_used_or_cannot_be_said(place):
    vault = Vault(b"m" * 32)
    first = place.accounts.valid_setup_code(by=WEB, vault=vault)
    assert not first.replaced
    assert place.accounts.valid_setup_code(by=WEB, vault=vault) == first
    assert place.accounts.valid_setup_code(by=WEB, known=first.code) == first
    by_command = place.accounts.setup_code(by=WEB, vault=vault)
    assert place.accounts.valid_setup_code(by=WEB, known=first.code, vault=vault).code == by_command
    elsewhere = place.accounts.valid_setup_code(by=WEB, known=first.code, alone=False)
    assert (elsewhere.code, elsewhere.until) == ("", place.clock.now + 1800), "another node's, which stays"
    assert place.accounts.is_setup_code(by_command)
    other = place.accounts.valid_setup_code(by=WEB, known=first.code)
    assert other.replaced
    assert not place.accounts.is_setup_code(by_command)
    place.clock.now += 1800
    late = place.accounts.valid_setup_code(by=WEB, known=other.code, alone=False)
    assert (late.replaced, late.until) == (False, place.clock.now + 1800)
    assert len(audit_events(place, action="setup-code")) == 4, "only new codes"
    place.accounts.use_setup_code(late.code, "Ann", place.word)
    with pytest.raises(AccountError, match="an owner already"):
        place.accounts.valid_setup_code(by=WEB, known=late.code)
    with pytest.raises(AccountError, match="an owner already"):
        place.accounts.valid_setup_code(by=WEB, alone=False)


def test_the_first_owner(place):
    code = place.accounts.setup_code(by=WEB)
    assert place.accounts.is_setup_code(code)
    for name, password, path in (("no name", place.word, "name"), ("ann", "short", "password")):
        with pytest.raises(AccountError) as caught:
            place.accounts.use_setup_code(code, name, password, address=place.here)
        assert [one.path for one in caught.value.errors] == [path]
    ann = place.accounts.use_setup_code(code, "Ann", place.word, address=place.here)
    assert (ann.name, ann.role, ann.organizations) == ("ann", Role.OWNER, None)
    assert place.accounts.session(place.accounts.start_session(ann, place.here, "Firefox"))
    assert not place.accounts.is_setup_code(code)
    with pytest.raises(AccountError, match="is not valid"):
        place.accounts.use_setup_code(code, "eve", place.word)
    with pytest.raises(AccountError, match="an owner already"):
        place.accounts.setup_code(by=WEB)
    assert audit_events(place, action="setup") == [("ann", "setup", "ann", "done")]
    assert audit_events(place, action="setup-code") == [("ann", "setup-code", "", "done")], "and not what was refused"


def test_of_two_who_use_a_code_at_once_one_wins(place):
    code = place.accounts.setup_code(by=WEB)
    others = [place.accounts, place.another(), place.another()]
    works = [partial(one.use_setup_code, code, f"user{at}", place.word) for at, one in enumerate(others)]
    found = at_once(*works)
    assert sum(isinstance(one, AccountError) and one.why is AccountErrorKind.CONFLICT for one in found) == 2
    assert len(place.accounts.users()) == 1


def test_no_password_is_worked_at_for_who_has_no_code(place, monkeypatch):
    monkeypatch.setattr(place.accounts._rate_limiter, "hashed", lambda _: pytest.fail("worked"))
    with pytest.raises(AccountError, match="is not valid"):
        place.accounts.use_setup_code("A" * 43, "ann", place.word)


@pytest.mark.parametrize("made", ["added", "promoted"])
def test_an_owner_made_otherwise_ends_the_code(place, made):
    place.user("bob", Role.AUDITOR)
    code = place.accounts.setup_code(by=WEB)
    if made == "added":
        place.user()
    else:
        place.accounts.set_user("bob", actor=place.root, role=Role.OWNER)
    assert place.ask("SELECT count(*) FROM setup") == [(0,)]
    assert not place.accounts.is_setup_code(code)


# events


def test_recording(place):
    place.accounts.record(
        WEB, "queue-drop", organization="contoso", subject="7Q", outcome=AuditOutcome.REFUSED, detail={"n": 1}
    )
    [found] = place.accounts.audit_events(GATEWAY)
    assert (found.who, found.address, found.organization, found.detail) == ("ann", "192.0.2.1", "contoso", {"n": 1})
    assert place.accounts.audit_events(Principal("t", frozenset(Scope), frozenset({"fabrikam"}))) == []
    assert place.accounts.audit_events(GATEWAY, limit=1, before=found.id) == []


def test_pruning(place):
    place.user()
    secret = place.log_in()
    place.clock.now += 401 * 86_400
    assert place.accounts.prune() == 3
    assert place.accounts.session(secret) is None
    place.accounts.record(WEB, "old")
    place.clock.now += 401 * 86_400
    place.log_in()
    assert [action for _, action, *_ in audit_events(place)] == ["log-in"]


def test_many_threads(place):
    place.user()
    secret = place.log_in()
    token = place.accounts.add_token("t", [Scope.READ], actor=WEB)

    def work():
        for at in range(10):
            assert place.accounts.session(secret)
            assert place.accounts.token(token)
            place.accounts.record(WEB, f"event {at}")

    assert at_once(*[work] * 6) == [None] * 6
    assert len(place.accounts.audit_events(GATEWAY, limit=1000)) == 63
