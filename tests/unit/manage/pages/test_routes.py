"""The list of pages as a whole: each is there once, none is anybody's who is not known, and refusals are pages."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from starlette.routing import Route

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.access.records import Actor
from gatepost.manage.pages import routes
from gatepost.manage.pages.navigation import navigation
from gatepost.manage.pages.routes import ROUTES
from gatepost.manage.use_cases.record_budget import RecordBudget
from gatepost.manage.use_cases.refusal import BusyRefusal, Refusal, RefusalKind
from gatepost.manage.web.identity import is_open
from gatepost.policy.connectors.errors import FieldError

from .conftest import OWNER

BENCH = Path(__file__).parents[4] / "bench"
EVERY = [(method, route.path) for route in ROUTES for method in sorted(route.methods) if method != "HEAD"]
FILLED = {"organization": "contoso", "direction": "outbound", "name": "bank-out", "kind": "handshake", "version": "1"}


def filled(path):
    return re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: FILLED.get(found[1], "1"), path)


def test_each_page_is_there_once():
    assert {path: count for path, count in Counter(EVERY).items() if count > 1} == {}


def test_every_page_of_the_menu_is_there(centre):
    for group in navigation(OWNER):
        for page in group.entries:
            assert centre.get(page.path).status == 200, page.path


def test_who_is_not_known_is_led_to_the_entrance(centre):
    """Whether a page is there or not, and whatever it does."""
    closed = [(method, filled(path)) for method, path in EVERY if not is_open(filled(path))]
    assert len(closed) > 100
    for method, path in [*closed, ("GET", "/nothing")]:
        answer = centre.ask(method, path, "owner", b"", {"authorization": "", "sec-fetch-site": "same-origin"})
        assert (answer.status, answer.headers["location"].partition("?")[0]) == (303, "/login"), path


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_page_is_a_fault_of_the_server_nor_tells_a_tenant_of_others(centre, method):
    """Names of contoso's, asked for by fabrikam's."""
    for path in (filled(path) for asked, path in EVERY if asked == method):
        answer = centre.ask(method, path, "tenant", b"", {})
        assert answer.status < 500, path
        assert [word for word in ("bank-in", "X-Secret", "ann@contoso", "bank.example") if word in answer.text] == [], (
            path
        )


OWN = re.compile(r"/(login|setup|account|confirm|passkeys?|logout|static)\b")


@pytest.mark.parametrize("scopes", [[Scope.QUEUE], [Scope.CONNECTORS, Scope.CERTIFICATES]])
def test_a_token_that_may_not_read_is_shown_no_page(centre, scopes):
    """As in REST: what a program may change it need not see, such as who wrote to whom."""
    centre.tokens["blind"] = centre.accounts.add_token("blind", scopes, actor=Actor("", ""))
    pages = [filled(path) for method, path in EVERY if method == "GET" and not OWN.match(path)]
    assert len(pages) > 70
    for path in pages:
        for method in ("GET", "HEAD"):
            answer = centre.ask(method, path, "blind", b"", {})
            assert answer.status == 403, path
        assert "bank" not in answer.words


# what a request is refused for -> status, heading
KINDS = [
    (RefusalKind.INPUT, 422, "Invalid request"),
    (RefusalKind.FORBIDDEN, 403, "Not allowed"),
    (RefusalKind.MISSING, 404, "Page not found"),
    (RefusalKind.BLOCKED, 409, "Conflict"),
    (RefusalKind.CONFLICT, 409, "Conflict"),
    (RefusalKind.UNREADABLE, 503, "Temporarily unavailable"),
]


def test_every_kind_of_refusal_has_its_status():
    assert {kind for kind, *_ in KINDS} == set(RefusalKind) == set(routes._STATUSES)


@pytest.mark.parametrize(("kind", "status", "heading"), KINDS)
def test_a_refusal_is_a_page(centre, monkeypatch, kind, status, heading):
    def refuse(*_):
        raise Refusal(kind, "<b>nothing</b> was done", [FieldError("a.b", "is <i>wrong</i>")])

    monkeypatch.setattr("gatepost.manage.use_cases.alarms.current_alarms", refuse)
    answer = centre.get("/alarms")
    assert answer.status == status
    assert heading in answer.words
    assert "&lt;b&gt;nothing&lt;/b&gt; was done" in answer.text
    assert ("<i>" in answer.text, "<b>nothing" in answer.text) == (False, False)


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/nothing", 404, "This page does not exist."),
        ("GET", "/connectors/contoso", 404, "This page does not exist."),
        ("GET", "/connectors/contoso/inbound/nothing", 404, "Page not found"),
        ("DELETE", "/connectors", 405, "Method not allowed"),
        ("POST", "/", 405, "Method not allowed"),
        ("GET", "/%2e%2e/etc/passwd", 404, "This page does not exist."),
        ("GET", "/static/../routes.py", 404, ""),
    ],
)
def test_what_is_not_there(centre, method, path, status, words):
    answer = centre.ask(method, path, "owner", b"", {})
    assert (answer.status, words in answer.words) == (status, True)
    assert answer.headers["content-type"].partition(";")[0] in {"text/html", "text/plain"}


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("/certificates/0123/switch", "/certificates/0123"),
        ("/users/a%20b%3F/password", "/users/a%20b%3F"),
        ("/queue/confirm?organization=contoso", "/queue"),
        ("/connectors/validate/contoso/outbound/a/b", "/connectors"),
        ("/quarantine/actions", "/quarantine"),
        ("/account/passkeys/remove", "/account"),
    ],
)
def test_the_address_of_a_form_leads_to_its_page(centre, path, page):
    """Where a refused form was shown, a reload or the log-in asks for it."""
    answer = centre.get(path)
    assert (answer.status, answer.headers["location"]) == (303, page)


@pytest.mark.parametrize(("method", "said"), [("GET", False), ("POST", True)])
def test_a_form_is_said_to_be_lost_only_where_it_was_refused(centre, method, said):
    """Not by a page that cannot be shown after one that was saved: who sends it again does it twice."""
    answer = centre.ask(method, "/nothing", "owner", b"", {})
    assert answer.status == 404
    assert ("data-unsent" in answer.text) is said


def test_an_address_that_is_deep_is_not_compared_with_all_pages_level_by_level(centre, monkeypatch):
    """A tenant's address of 32 KB took seconds of the processor."""
    compared = []
    matches = routes._matches
    monkeypatch.setattr(routes, "_matches", lambda route, path: compared.append(path) or matches(route, path))
    answer = centre.get("/connectors/validate/a/inbound/" + "x/" * 2000 + "x")
    assert answer.status == 405
    assert len(compared) < 15 * len(ROUTES)


def test_a_page_that_takes_another_method_says_which(centre):
    assert "GET" in centre.ask("DELETE", "/connectors", "owner", b"", {}).headers["allow"]


def test_a_call_of_no_endpoint_is_answered_as_programs_read_it(centre):
    answer = centre.get("/api/v1/nothing")
    assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "openapi.json" in answer.json["detail"]


def test_what_is_too_much_just_now_says_when_to_come_back(centre, monkeypatch):
    def refuse(*_):
        raise BusyRefusal("other looks are under way", 7)

    monkeypatch.setattr("gatepost.manage.use_cases.alarms.current_alarms", refuse)
    answer = centre.get("/alarms")
    assert (answer.status, answer.headers["retry-after"]) == (429, "7")
    assert "Too many requests" in answer.words
    assert "Other looks are under way" in answer.words


def test_what_is_refused_for_its_amount_is_said_in_the_language_of_the_page(centre, monkeypatch):
    tenant = Principal("tim", frozenset(), frozenset({"contoso"}))
    budget = centre.gateway.kept(RecordBudget)
    budget.charge(tenant, 10**9)

    def refuse(*_):
        budget.charge(tenant, 1)

    monkeypatch.setattr("gatepost.manage.use_cases.alarms.current_alarms", refuse)
    answer = centre.get("/alarms", accept_language="de")
    assert answer.status == 429
    assert "bitten Sie den Eigentümer des Gateways, [limits] tenant_records_per_day zu erhöhen" in answer.words


def test_every_page_is_measured_or_it_is_said_why_not(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    from admin_cases import NOT_MEASURED, PAGES, unmeasured  # noqa: PLC0415 - it is no package

    assert unmeasured(ROUTES) == []
    assert unmeasured([*ROUTES, Route("/fresh", lambda _: None)]) == ["/fresh"]
    assert unmeasured([one for one in ROUTES if one.path != "/audit"]) == ["/audit"]
    assert all(NOT_MEASURED.values())
    assert all(PAGES.values())
