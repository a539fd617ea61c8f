"""Accounts and audit events behave alike in SQLite and in PostgreSQL, where all nodes have them in common."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.postgres import Postgres

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import Principal, Role, Scope
from gatepost.manage.access.records import (
    AccountError,
    AccountErrorKind,
    Actor,
    AuditFilter,
    AuditOutcome,
    LogInRefused,
    Passkey,
)
from gatepost.manage.access.setup_rows import ValidSetupCode
from gatepost.manage.access.user_rows import IssuerIdentity
from gatepost.pki.certificates.vault import Vault
from gatepost.store.interface import StoreBusy
from gatepost.store.storage import Storage

WORD = "correct horse battery"
HERE = "192.0.2.1"
ROOT = Actor("root")
ANN = Actor("ann", HERE)
ALL = Principal("ann", frozenset(Scope), None)


@pytest.fixture
def accounts(storage: Storage) -> Iterator[Accounts]:
    with closing(Accounts(storage)) as accounts:
        yield accounts


@pytest.fixture
def second(storage: Storage) -> Iterator[Accounts]:
    """Another process of the gateway, or another node of the site."""
    with closing(Accounts(storage)) as accounts:
        yield accounts


def test_users_and_sessions(accounts: Accounts, second: Accounts) -> None:
    assert not accounts.has_owner()
    ann = accounts.add_user("Ann", Role.OWNER, WORD, actor=ROOT)
    accounts.add_user("bob", Role.AUDITOR, WORD, actor=ANN, organizations=["contoso", "fabrikam"])
    assert second.users()[0] == ann
    assert second.user("BOB").organizations == {"contoso", "fabrikam"}  # type: ignore[union-attr]
    with pytest.raises(AccountError, match="already exists"):
        second.add_user("ann", Role.OWNER, WORD, actor=ROOT)
    secret = accounts.log_in("ann", WORD, HERE, "Firefox")
    session = second.session(secret)
    assert session is not None
    assert (session.user.name, session.address, session.agent) == ("ann", HERE, "Firefox")
    second.confirm("ann", session.id, address=HERE)
    for _ in range(22):
        accounts.start_session(accounts.user("ann"), HERE, "Chrome")  # type: ignore[arg-type]
    assert len(second.sessions_of("ann")) == 20
    assert second.session(secret) is None, "of too many the oldest ends"
    kept = accounts.log_in("ann", WORD, HERE, "Safari")
    assert second.end_session_of("ann", second.sessions_of("ann")[1].id, actor=ANN)
    second.end_session(kept, address=HERE)
    assert accounts.session(kept) is None
    assert second.end_sessions_of("ann", actor=ANN) == 18
    changed = accounts.set_user("bob", actor=ANN, role=Role.OPERATOR, organizations=None).user
    assert second.user("bob") == changed
    assert accounts.prune() == 0


def test_tokens_end_with_their_maker(accounts: Accounts, second: Accounts) -> None:
    accounts.add_user("ann", Role.OWNER, WORD, actor=ROOT)
    accounts.add_user("bob", Role.OPERATOR, WORD, actor=ROOT, organizations=["contoso"])
    bob = Actor("bob", HERE)
    secret = accounts.add_token("backup", [Scope.READ], actor=bob, expires=time.time() + 1000)
    assert second.token(secret) == Principal("token backup", frozenset({Scope.READ}), frozenset({"contoso"}))
    assert second.tokens()[0].last_used > 0
    assert second.token("gp_nonsense") is None
    accounts.set_user("bob", actor=ANN, enabled=False)
    assert second.token(secret) is None
    assert second.remove_user("bob", actor=ANN) == ["backup"]
    assert accounts.tokens() == []
    with pytest.raises(AccountError):
        accounts.remove_token("backup", actor=ANN)


def test_passkeys(accounts: Accounts, second: Accounts) -> None:
    accounts.add_user("ann", Role.OWNER, WORD, actor=ROOT)
    passkey = Passkey(b"\x00id", "ann", "laptop", b"\x01key", 5, 0.0, 0.0)
    accounts.add_passkey(passkey, actor=ANN)
    with pytest.raises(AccountError, match="known already"):
        second.add_passkey(passkey, actor=ANN)
    assert second.session(second.log_in_by_passkey(passkey, 6, HERE, "Firefox")) is not None
    with pytest.raises(LogInRefused):
        accounts.log_in_by_passkey(passkey, 6, HERE, "Firefox")
    assert [(one.name, one.sign_count) for one in accounts.passkeys_of("ann")] == [("laptop", 6)]
    accounts.remove_passkey("ann", b"\x00id", actor=ANN)
    assert second.passkey(b"\x00id") is None


def test_the_first_owner_is_made_once(accounts: Accounts, second: Accounts) -> None:
    accounts.setup_code(by=ROOT)
    code = accounts.setup_code(by=ROOT)
    assert second.is_setup_code(code)
    made: list[str] = []
    refused: list[AccountErrorKind] = []

    def make(one: Accounts, name: str) -> None:
        try:
            made.append(one.use_setup_code(code, name, WORD).name)
        except AccountError as error:
            refused.append(error.why)

    threads = [threading.Thread(target=make, args=pair) for pair in ((accounts, "ann"), (second, "eve"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(made), refused) == (1, [AccountErrorKind.CONFLICT])
    assert [one.name for one in accounts.users()] == made
    assert not second.is_setup_code(code)


def test_a_set_up_code_stays_valid_when_another_node_starts(accounts: Accounts, second: Accounts) -> None:
    vault = Vault(b"m" * 32)
    first = accounts.valid_setup_code(by=ROOT, vault=vault)
    said: list[ValidSetupCode] = []
    threads = [
        threading.Thread(target=lambda one=one: said.append(one.valid_setup_code(by=ROOT, vault=vault)))
        for one in (accounts, second)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert said == [first, first]
    elsewhere = second.valid_setup_code(by=ROOT, alone=False)  # without a master key it cannot say it,
    assert elsewhere.code == ""
    assert accounts.is_setup_code(first.code)
    other = second.valid_setup_code(by=ROOT)  # and makes another one if there is no other node
    assert other.replaced
    assert not accounts.is_setup_code(first.code)
    assert accounts.valid_setup_code(by=ROOT, known=other.code) == (other.code, other.until, False)


def test_two_owners_do_not_remove_each_other(accounts: Accounts, second: Accounts) -> None:
    for name in ("ann", "eve"):
        accounts.add_user(name, Role.OWNER, WORD, actor=ROOT)
    refused: list[str] = []

    def remove(one: Accounts, name: str) -> None:
        try:
            one.remove_user(name, actor=ROOT)
        except AccountError as error:
            refused.append(error.text)

    threads = [threading.Thread(target=remove, args=pair) for pair in ((accounts, "ann"), (second, "eve"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(refused) == 1
    assert second.has_owner()


def test_a_person_of_an_issuer(accounts: Accounts, second: Accounts) -> None:
    identity = IssuerIdentity("https://issuer.example", "4711", "joe", Role.AUDITOR, frozenset({"contoso"}))
    secret = accounts.log_in_by_issuer(identity, HERE, "Firefox", proved=0.0)
    session = second.session(secret)
    assert session is not None
    assert session.user.organizations == {"contoso"}
    second.log_in_by_issuer(identity._replace(role=Role.OPERATOR), HERE, "Firefox", proved=0.0)
    assert accounts.session(secret) is None, "another role ends the sessions"
    with pytest.raises(LogInRefused):
        accounts.log_in_by_issuer(identity._replace(subject="1"), HERE, "Firefox", proved=0.0)


def test_audit_events(accounts: Accounts, second: Accounts) -> None:
    for number in range(5):
        organization = "contoso" if number % 2 else "fabrikam"
        actor = Actor("ann", HERE)
        accounts.record(actor, "queue-drop", organization=organization, subject=f"m{number}", detail={"text": "a\x00b"})
    second.record(Actor("x\x00y\ud800"), "log-in", outcome=AuditOutcome.REFUSED, subject="\x00")
    found = second.audit_events(ALL, limit=3)
    assert [one.subject for one in found] == ["\ufffd", "m4", "m3"]
    assert found[0].who == "x\ufffdy?"
    assert found[1].detail == {"text": "a\ufffdb"}
    assert [one.subject for one in accounts.audit_events(ALL, before=found[-1].id)] == ["m2", "m1", "m0"]
    of_contoso = Principal("joe", frozenset({Scope.READ}), frozenset({"contoso"}))
    assert [one.subject for one in accounts.audit_events(of_contoso)] == ["m3", "m1"]
    assert accounts.audit_events(Principal("no", frozenset({Scope.READ}), frozenset())) == []
    wanted = AuditFilter(action="queue-drop", who="ann", organization="fabrikam", since=1.0, until=time.time() + 60)
    assert [one.subject for one in accounts.audit_events(ALL, wanted)] == ["m4", "m2", "m0"]
    assert [one.who for one in accounts.audit_events(ALL, AuditFilter(outcome=AuditOutcome.REFUSED))] == ["x\ufffdy?"]


def test_several_nodes_do_not_give_several_times_the_tries(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.database()
    nodes = [Accounts(Storage(url, tmp_path / name)) for name in "abc"]
    nodes[0].add_user("ann", Role.OWNER, WORD, actor=ROOT)
    tried = 0
    for number in range(12):
        with pytest.raises(LogInRefused) as caught:
            nodes[number % 3].log_in("ann", "wrong", "203.0.113.9", "curl")
        if caught.value.wait:
            break
        tried += 1
    assert tried == 6, "five failures cost nothing, as on one node"
    assert 5 < caught.value.wait <= 10
    with pytest.raises(LogInRefused) as caught:
        nodes[1].log_in("\x00\ud800 nobody", "wrong", "203.0.113.9", "curl")
    assert caught.value.wait
    for node in nodes:
        node.log_in("ann", WORD, "198.51.100.7", "Firefox")  # elsewhere she does not wait
    assert nodes[2].check_password("ann", WORD, "198.51.100.7").name == "ann"
    nodes[2].forgive(nodes[0].admit("198.51.100.8"))
    Storage(url, tmp_path).disconnect()


def test_a_server_that_is_away(start_postgres: Callable[..., Postgres], tmp_path: Path) -> None:
    server = start_postgres()
    storage = Storage(server.database(), tmp_path)
    accounts = Accounts(storage)
    accounts.add_user("ann", Role.OWNER, WORD, actor=ROOT)
    server.stop()
    with pytest.raises(StoreBusy, match="PostgreSQL"):
        accounts.users()
    with pytest.raises(StoreBusy, match="PostgreSQL"):
        accounts.record(ROOT, "log-in")
    server.start()
    deadline = time.monotonic() + 30
    while True:
        try:
            assert accounts.has_owner()
            break
        except StoreBusy:
            assert time.monotonic() < deadline
    storage.disconnect()
