"""Each use case is authorised, validated and recorded by `execute`, whatever its function does."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.access.records import AccountError, AccountErrorKind, AuditOutcome
from gatepost.manage.use_cases.context import Context
from gatepost.manage.use_cases.declaration import Visibility, use_case
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import OutcomeUnknown, StoreFailure
from gatepost.store.storage import Storage

OWNER = Principal("ann", frozenset({Scope.OWNER}))
TENANT = Principal("tim", frozenset({Scope.QUEUE}), frozenset({"contoso"}))


class Poke(msgspec.Struct, kw_only=True):
    organization: str = "contoso"
    name: Annotated[str, Meta(max_length=5)] = "x"
    problem: str = ""


class Poked(msgspec.Struct):
    name: str


def poke(context: Context, request: Poke) -> Poked:
    """Poke it."""
    if request.problem == "crash":
        raise RuntimeError("secret")
    if request.problem == "kill":
        raise SystemExit
    context.audit.describe(problem=request.problem)
    if request.problem == "unanswered":
        raise OutcomeUnknown("PostgreSQL: change: 10.1.2.3 ended the connection")
    if request.problem == "account":
        raise AccountError(AccountErrorKind.CONFLICT, "ann is the last owner")
    if request.problem == "away":
        raise StoreFailure("PostgreSQL: connect: refused by 10.1.2.3")
    if request.problem == "directory":
        context.gateway.directory()
    if request.problem:
        raise Refusal(RefusalKind(request.problem), "No.")
    if request.name == "many":
        context.audit.add("queue-hold", organization="contoso", count=2)
        context.audit.add("queue-hold", organization="fabrikam", count=1)
    return Poked(request.name)


def declared(route="POST /organizations/{organization}/pokes/{name}", **options):
    given = {"scope": Scope.QUEUE, "visibility": Visibility.ORGANIZATION, "tag": "x", "action": "queue-hold"}
    return use_case(route, **(given | options))(poke)


@pytest.fixture
def accounts(gateway):
    made = Accounts(Storage(SQLITE, gateway.data))
    yield made
    made.close()


@pytest.fixture
def run(gateway, accounts):
    def call(case, principal=OWNER, *, dry_run=False, is_confirmed=True, **given):
        context = Context(gateway, principal, lambda: accounts, "192.0.2.1", dry_run=dry_run, is_confirmed=is_confirmed)
        return execute(case, context, Poke(**given))

    return call


def events(accounts):
    return [
        (one.action, one.organization, one.subject, one.outcome, dict(one.detail))
        for one in accounts.audit_events(OWNER)
    ]


def test_a_success_is_recorded_with_who_and_where(run, accounts):
    assert run(declared(), TENANT) == Poked("x")
    assert events(accounts) == [("queue-hold", "contoso", "x", AuditOutcome.DONE, {})]
    (event,) = accounts.audit_events(OWNER)
    assert (event.who, event.address) == ("tim", "192.0.2.1")


@pytest.mark.parametrize(("kind", "outcome"), [("conflict", AuditOutcome.REFUSED), ("unreadable", AuditOutcome.FAILED)])
def test_a_refusal_is_recorded_in_the_same_form(run, accounts, kind, outcome):
    with pytest.raises(Refusal):
        run(declared(), problem=kind)
    assert events(accounts) == [("queue-hold", "contoso", "x", outcome, {"problem": kind, "why": "No."})]


def test_a_store_that_cannot_be_read_is_a_refusal_and_only_the_owner_learns_of_the_server(run, accounts):
    for principal, told in ((OWNER, True), (TENANT, False)):
        with pytest.raises(Refusal, match="try again later") as caught:
            run(declared(), principal, problem="away")
        assert (caught.value.kind, "10.1.2.3" in caught.value.text) == (RefusalKind.UNREADABLE, told)
    assert [event[3] for event in events(accounts)] == [AuditOutcome.FAILED] * 2
    assert "10.1.2.3" not in repr(accounts.audit_events(TENANT))


@pytest.mark.parametrize("principal", [OWNER, TENANT])
def test_only_the_owner_learns_of_what_is_stored_and_cannot_be_used(gateway, run, accounts, principal, caplog):
    """Such as a domain of another organization, by a version that knows it no more."""
    bad = {"accepted_domain": [{"name": "*.hidden.example", "type": "authoritative"}]}
    with gateway.config() as store:
        store.apply({"organization": {"fabrikam": bad}}, author="ann")
    with pytest.raises(Refusal) as caught:
        run(declared(), principal, problem="directory")
    assert caught.value.__cause__ is not caught.value  # who looks for the cause would look for ever
    told = principal is OWNER
    words = ("hidden.example" in caught.value.text, str(gateway.data) in caught.value.text)
    assert (caught.value.kind, *words) == (RefusalKind.UNREADABLE, told, told)
    assert "hidden.example" not in repr(accounts.audit_events(TENANT))
    assert ("hidden.example" in caplog.text) is not told


def test_what_accounts_do_not_allow_is_a_refusal(run, accounts):
    with pytest.raises(Refusal, match="ann is the last owner") as caught:
        run(declared(), problem="account")
    assert caught.value.kind is RefusalKind.CONFLICT
    assert [event[3] for event in events(accounts)] == [AuditOutcome.REFUSED]


def test_a_commit_without_an_answer_is_not_to_be_repeated_blindly(run, accounts):
    with pytest.raises(Refusal, match="look before you repeat it") as caught:
        run(declared(), TENANT, problem="unanswered")
    assert "10.1.2.3" not in caught.value.text


def test_what_nobody_foresaw_is_recorded_without_a_word_of_it(run, accounts):
    with pytest.raises(RuntimeError):
        run(declared(), problem="crash")
    ((*_, outcome, detail),) = events(accounts)
    assert (outcome, "secret" in str(detail)) == (AuditOutcome.FAILED, False)


def test_what_was_killed_is_on_record_as_begun(run, accounts):
    with pytest.raises(SystemExit):
        run(declared(), TENANT, problem="kill")
    assert events(accounts) == [("queue-hold", "contoso", "x", AuditOutcome.BEGUN, {})]
    run(declared(), TENANT)
    assert [event[3] for event in events(accounts)] == [AuditOutcome.DONE, AuditOutcome.BEGUN]


def test_nothing_is_begun_where_nothing_would_be_recorded(run, accounts):
    for case in (declared(self_audited=True), declared("GET /organizations/{organization}/x/{name}", action=None)):
        with pytest.raises(SystemExit):
            run(case, problem="kill")
    with pytest.raises(SystemExit):
        run(declared(dry_run=True), problem="kill", dry_run=True)
    with pytest.raises(Refusal):
        run(declared(), is_confirmed=False, name="longer than five")
    assert {event[3] for event in events(accounts)} == {AuditOutcome.REFUSED}


def test_who_may_not_after_all_is_on_record_once(run, accounts):
    with pytest.raises(Refusal):
        run(declared(), problem="forbidden")
    assert [event[3] for event in events(accounts)] == [AuditOutcome.REFUSED]


def test_limits_hold_for_requests_that_were_built_in_python(run, accounts):
    with pytest.raises(Refusal) as refused:
        run(declared(), name="longer than five")
    assert [one.path for one in refused.value.errors] == ["name"]
    assert [one[3] for one in events(accounts)] == [AuditOutcome.REFUSED]


@pytest.mark.parametrize(
    ("options", "principal", "given", "kind"),
    [
        ({}, TENANT, {"organization": "fabrikam"}, RefusalKind.MISSING),
        ({"scope": Scope.CONNECTORS}, TENANT, {}, RefusalKind.FORBIDDEN),
        ({"visibility": Visibility.GATEWAY}, TENANT, {}, RefusalKind.FORBIDDEN),
        ({"requires_reauth": True}, OWNER, {"is_confirmed": False}, RefusalKind.FORBIDDEN),
    ],
)
def test_who_may_not_is_refused_before_anything_is_looked_at(run, accounts, options, principal, given, kind):
    """`manage.web.problem` keeps these, once a minute."""
    with pytest.raises(Refusal) as refused:
        run(declared(**options), principal, **{"problem": "crash", "name": "longer than five"} | given)
    assert refused.value.kind is kind
    assert events(accounts) == []


@pytest.mark.parametrize("problem", ["", "conflict"])
def test_a_dry_run_is_not_recorded(run, accounts, problem):
    try:
        run(declared(dry_run=True), dry_run=True, problem=problem)
    except Refusal:
        assert problem
    assert events(accounts) == []


def test_what_is_added_stands_in_place_of_the_call(run, accounts):
    run(declared(), name="many")
    assert [(one[1], one[4]) for one in events(accounts)] == [("fabrikam", {"count": 1}), ("contoso", {"count": 2})]


@pytest.mark.parametrize("problem", ["", "missing"])
def test_nobody_writes_into_the_audit_of_an_organization_that_they_do_not_see(run, accounts, problem):
    """Its administrators would read the stranger's words, name and address there."""

    def name_another(context: Context, request: Poke) -> Poked:
        """Poke one."""
        context.audit.describe(organization="fabrikam", subject="call 555 0100 at once")
        with context.recording("queue-hold", "fabrikam", "call 555 0100 at once"):
            return poke(context, request)

    case = use_case(scope=Scope.QUEUE, visibility=Visibility.SEEN, tag="x", action="queue-hold")(name_another)
    with suppress(Refusal):
        run(case, TENANT, problem=problem)
    recorded = [(organization, detail.get("organization")) for _, organization, _, _, detail in events(accounts)]
    assert ("", "fabrikam") in recorded
    assert accounts.audit_events(Principal("sue", frozenset({Scope.READ}), frozenset({"fabrikam"}))) == []


@pytest.mark.parametrize(
    ("route", "options", "expected"),
    [
        ("GET /organizations/{organization}", {"action": None}, []),
        ("GET /organizations/{organization}", {}, [("queue-hold", "")]),
        ("PUT /organizations/{organization}", {"action": None}, [("request", "poke contoso")]),
        ("PUT /organizations/{organization}", {"self_audited": True}, []),
        ("PUT /organizations/{organization}", {"action": None, "dry_run": True, "guarded": True}, []),
    ],
)
def test_what_is_recorded_of_a_success(run, accounts, route, options, expected):
    run(declared(route, **options))
    assert [(one[0], one[2]) for one in events(accounts)] == expected


def test_a_change_that_was_refused_is_recorded_though_the_history_has_those_that_were_made(run, accounts):
    with pytest.raises(Refusal):
        run(declared("PUT /organizations/{organization}", action=None, dry_run=True, guarded=True), problem="blocked")
    assert [one[:3] for one in events(accounts)] == [("change", "contoso", "poke contoso")]


def test_an_audit_that_cannot_be_written_undoes_nothing(run, accounts, monkeypatch, caplog):
    def fail(*_, **__):
        raise StoreFailure("full")

    monkeypatch.setattr(accounts, "record", fail)
    assert run(declared()) == Poked("x")
    assert "the audit does not have that ann did poke" in caplog.text
    with pytest.raises(Refusal, match="No"):
        run(declared(), problem="conflict")
