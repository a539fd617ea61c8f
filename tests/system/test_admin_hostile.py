"""Proves that nobody gets further in the admin centre and REST than they may: every route that there is, tried.

Forms without their token, of another session or from another site; tenants at what belongs to others, by session and by
API token; text of strangers that would be a script, or a formula. The routes are those of the program, so that a new
page is tried from its first day. What comes below HTTP's words is in `test_admin_wire.py`.
"""

from __future__ import annotations

import csv
import io
import json
import re
import smtplib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote, urlencode

import pytest
from playwright.sync_api import Browser
from support.admin import OWNER, PASSWORD, AdminCentre, running
from support.browser import context
from support.gateway import Gateway
from support.person import Person
from support.scenes import connector, message

from gatepost.manage.access.principal import ROLES, Role
from gatepost.manage.pages.routes import ROUTES
from gatepost.manage.rest.routes import ENDPOINTS
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Behaviour, Sink

pytestmark = pytest.mark.timeout(300)  # hundreds of pages, some in a browser
SCRIPT = "<img src=x onerror=\"alert('SCRIPT')\">"
FORMULA = '=HYPERLINK("https://evil.example","click")'
TENANT = "tina"
MINE, THEIRS = "fabrikam", "contoso"
# what of contoso's fabrikam must not see a word of
CANARIES = ("kanarie-org", "kanarie-connector", "kanarie-comment", "kanarie-box", "kanarie-subject", "kanarie-rule")
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
# These are for everybody, or end the session that the test goes on with.
OWN = {"/login", "/logout", "/setup", "/account/password", "/account/sessions", "/confirm"}


def _resources(partner: str) -> dict[str, Any]:
    servers = {"connector_type": "on-premises", "sender_ip_addresses": ["127.0.0.1/32"]}
    theirs = {
        "display_name": f"kanarie-org {SCRIPT}",
        "accepted_domain": [{"name": "contoso.example"}],
        "mailbox": [{"address": "kanarie-box@contoso.example"}, {"address": "ann@contoso.example"}],
        "inbound_connector": [{"name": "own", **servers}],
        "outbound_connector": [
            connector("partner.example", partner) | {"name": f"kanarie-connector {SCRIPT}", "comment": FORMULA},
            connector("plain.example", "127.0.0.1:9") | {"name": "plain", "comment": f"kanarie-comment {SCRIPT}"},
        ],
        "mail_flow_rule": [{"name": "kanarie-rule", "recipients": ["plain.example"], "route_via_connector": "plain"}],
    }
    mine = {
        "accepted_domain": [{"name": "fabrikam.example"}],
        "mailbox": [{"address": "fay@fabrikam.example"}],
        "outbound_connector": [connector("else.example", "127.0.0.1:9")],
    }
    return {"organization": {THEIRS: theirs, MINE: mine}}


class World:
    """centre: with both organizations. message: the queue id of contoso's mail that waits."""

    def __init__(self, centre: AdminCentre) -> None:
        self.centre = centre
        gateway = centre.gateway
        words = ("--role", "administrator", "--organization", MINE, "--password-stdin")
        gateway.cli("user", "add", TENANT, *words, given=f"{PASSWORD}\n")
        _send(gateway, "bob@partner.example", f"kanarie-subject {SCRIPT}")
        _send(gateway, "ann@contoso.example", FORMULA)
        gateway.wait_trace(recipient="ann@contoso.example", event="DELIVER")
        (row,) = gateway.wait_trace(recipient="bob@partner.example", event="DEFER")
        self.message = str(row["message"])
        self.owner = Person(centre, OWNER, agent=f"browser {SCRIPT}")
        self.tenant = Person(centre, TENANT)
        self.token = centre.token("read", "connectors", "certificates", "queue", name="tenant", organizations=(MINE,))

    def filled(self, path: str, **other: str) -> str:
        """A path of a route with what is there: names of contoso's."""
        known = {
            "organization": THEIRS, "message": self.message, "identity": self.message, "id": self.message,
            "connector": "plain",
            "direction": "outbound", "kind": "missing", "version": "1", "number": "1",
        } | other  # fmt: skip
        plural = re.search(r"\{organization\}/([a-z_]+)/", path)
        names = {"mailboxes": "kanarie-box@contoso.example", "mail_flow_rules": "kanarie-rule", "inbound": "own"}
        names |= {"inbound_connectors": "own", "accepted_domains": "contoso.example"}
        known.setdefault("name", names.get(plural[1] if plural else "", "plain"))
        return re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: quote(known.get(found[1], "1"), safe=""), path)


def _send(gateway: Gateway, to: str, subject: str) -> None:
    with smtplib.SMTP("127.0.0.1", gateway.port, local_hostname="client.example", timeout=30) as client:
        client.sendmail("kanarie-box@contoso.example", [to], message(subject, sender="kanarie-box@contoso.example"))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """For all tests: none changes what is there, since nothing that they try is done."""
    refuse = Behaviour(replies={"RCPT": f"450 4.2.1 {SCRIPT}"})
    with (
        Sink(behaviour=refuse) as partner,
        running(_resources(partner.address), settings={"queue": {"retry": ["1h"]}}) as centre,
    ):
        yield World(centre)


def _page_routes() -> list[tuple[str, str]]:
    return [(method, route.path) for route in ROUTES for method in sorted(route.methods or ()) if method != "HEAD"]


def _call_routes() -> list[tuple[str, str]]:
    return [(one.case.method, f"/api/v1{one.case.path}") for one in ENDPOINTS]


EVERY = [*_page_routes(), *_call_routes()]
CHANGES = [(method, path) for method, path in EVERY if method in UNSAFE]


def _ids(case: tuple[str, str]) -> str:
    return " ".join(case)


def _refused(world: World, **words: str) -> list[tuple[str, str]]:
    """(subject, why) of what is on record as refused, the newest first."""
    given = [word for name, value in words.items() for word in (f"--{name}", value)]
    events = world.centre.gateway.cli("audit", "--outcome", "refused", "--limit", "1000", *given, json=True).data
    return [(event["subject"], event["detail"].get("why", "")) for event in events if event["action"] == "request"]


def test_there_are_routes_to_be_tried() -> None:
    assert len(CHANGES) > 30
    assert {"/login", "/api/v1/queue/actions", "/api/v1/organizations/{organization}"} <= {path for _, path in CHANGES}


def test_no_change_without_the_token_of_its_session(world: World) -> None:
    mine, other = world.owner, world.tenant
    forgeries: list[tuple[str, dict[str, str], dict[str, str]]] = [
        ("no token", {}, {}),
        ("another session's", {"csrf": other.csrf}, {"X-CSRF-Token": other.csrf}),
        ("from another site", {"csrf": mine.csrf}, {"X-CSRF-Token": mine.csrf, "Sec-Fetch-Site": "cross-site"}),
        ("from a neighbour", {"csrf": mine.csrf}, {"Sec-Fetch-Site": "", "Origin": "https://mx1.contoso.example"}),
        ("from nowhere", {"csrf": mine.csrf}, {"Sec-Fetch-Site": "", "X-HTTP-Method-Override": "GET"}),
    ]
    before = world.centre.call("/api/v1/resources", world.centre.token(name="forgery"))[2]
    tried = []
    for method, path in CHANGES:
        target = world.filled(path)
        for what, form, headers in forgeries:
            given: Any = form if not path.startswith("/api/") else None
            answer = mine.ask(target, method, given, headers)
            assert answer.status == 403, (method, path, what, answer.text)
            tried.append(f"{method} {target}")
    assert mine.ask("/account").status == 200, "the session goes on"
    after = world.centre.call("/api/v1/resources", world.centre.token(name="after"))[2]
    assert after == before
    kept = [subject for subject, _ in _refused(world)]
    assert [one for one in tried if unquote(one) not in kept] == []


def _variants(path: str) -> list[str]:
    return [path, f"{path}?organization={THEIRS}", f"{path}?format=csv", f"{path}?format=json&organization={THEIRS}"]


def _canaries_in(text: str, sent: str) -> list[str]:
    return [one for one in CANARIES if one in text and one not in sent]


@pytest.mark.parametrize("case", EVERY, ids=_ids)
def test_a_tenant_sees_and_changes_nothing_of_another(world: World, case: tuple[str, str]) -> None:
    method, path = case
    if path in OWN or path.startswith("/static"):
        pytest.skip("for everybody")
    target = world.filled(path)
    form: Any = {"csrf": world.tenant.csrf} if method in UNSAFE and not path.startswith("/api/") else None
    body = {} if method in {"POST", "PUT", "PATCH"} else None
    for one in _variants(target) if method == "GET" else [target]:
        if path.startswith("/api/"):
            status, headers, told = world.centre.call(one, world.token, method, body, {"If-Match": "*"})
            text = json.dumps(told) + str(headers)
        else:
            answer = world.tenant.ask(one, method, form)
            status, text = answer.status, answer.text
        assert _canaries_in(text, one) == []
        assert status < 500
        if "{organization}" in path or "{message}" in path or "{identity" in path or path.endswith("{id:path}"):
            unheard = status == 422 and "unknown key" in text  # the path takes no such parameter
            assert unheard or status in ({403, 404} if "items" not in text else {200}), text


@pytest.mark.parametrize("case", [one for one in _page_routes() if one[0] == "GET" and one[1] not in OWN], ids=_ids)
def test_no_page_of_a_tenants_own_shows_what_is_anothers(world: World, case: tuple[str, str]) -> None:
    """Below its own organization with names of the other's, and with each in the query, on its own pages too."""
    names = {
        "organization": THEIRS, "organizations": THEIRS, "message": world.message, "session": world.message,
        "id": world.message, "q": world.message, "connector": "plain", "name": "plain", "domain": "contoso.example",
        "address": "kanarie-box@contoso.example", "sender": "kanarie-box@contoso.example", "to": "bob@partner.example",
        "recipient": "bob@partner.example", "partner": "partner.example", "selector": "s", "kind": "outbound_connector",
        "query": f"organization={THEIRS}", "from": THEIRS, "draft": "plain",
    }  # fmt: skip
    # Most pages are of no organization: asked once.
    for path in dict.fromkeys(world.filled(case[1], organization=organization) for organization in (MINE, THEIRS)):
        for query in ({}, *({one: value} for one, value in names.items()), names):
            target = f"{path}?{urlencode(query)}"
            answer = world.tenant.ask(target)
            assert answer.status < 500, (target, answer.text)
            assert _canaries_in(answer.text, unquote(target)) == [], (target, answer.text)


@pytest.mark.long
@pytest.mark.parametrize("role", [Role.OPERATOR, Role.AUDITOR])
def test_other_roles_of_a_tenant_see_and_change_no_more_of_another(world: World, role: Role) -> None:
    """Every page with a session of the role, every call with a token of its scopes."""
    words = ("--role", str(role), "--organization", MINE, "--password-stdin")
    world.centre.gateway.cli("user", "add", f"tina-{role}", *words, given=f"{PASSWORD}\n")
    person = Person(world.centre, f"tina-{role}")
    token = world.centre.token(*sorted(ROLES[role]), name=f"tenant-{role}", organizations=(MINE,))
    before = world.centre.call("/api/v1/resources", world.centre.token(name=f"before-{role}"))[2]
    seen = []
    for method, path in EVERY:
        if path in OWN or path.startswith("/static"):
            continue
        target = world.filled(path)
        if path.startswith("/api/"):
            body = {} if method in {"POST", "PUT", "PATCH"} else None
            status, headers, told = world.centre.call(target, token, method, body, {"If-Match": "*"})
            text = json.dumps(told) + str(headers)
        else:
            answer = person.ask(target, method, {"csrf": person.csrf} if method in UNSAFE else None)
            status, text = answer.status, answer.text
        if found := _canaries_in(text, target):
            seen.append((method, path, found))
        assert status < 500, (method, path, text)
        if "{organization}" in path and method in UNSAFE:
            assert status in {403, 404, 405, 422}, (method, path, status)
    assert seen == []
    assert world.centre.call("/api/v1/resources", world.centre.token(name=f"after-{role}"))[2] == before


def test_what_a_tenant_tried_is_on_record(world: World) -> None:
    tried: dict[str, list[str]] = {TENANT: [], "token tenant": []}
    for method, path in EVERY:
        if "{organization}" not in path or path.startswith("/reports/t/"):  # a link into the trace, whoever's it is
            continue
        target = world.filled(path)
        if path.startswith("/api/"):
            body = {} if method in {"POST", "PUT", "PATCH"} else None
            status = world.centre.call(target, world.token, method, body, {"If-Match": "*"})[0]
        else:
            form = {"csrf": world.tenant.csrf} if method in UNSAFE else None
            status = world.tenant.ask(target, method, form, {"X-CSRF-Token": world.tenant.csrf}).status
        assert status in {403, 404}, (method, target)
        tried["token tenant" if path.startswith("/api/") else TENANT].append(f"{method} {unquote(target)}")
    for who, subjects in tried.items():
        whys = dict(_refused(world, who=who))
        assert len(subjects) > 15
        assert [one for one in subjects if one not in whys] == []
        assert sum("cannot see" in why for why in whys.values()) > len(subjects) // 2, (
            "some are forbidden: the gateway's"
        )


def test_what_a_tenant_does_not_see_others_do(world: World) -> None:
    """Otherwise the test before could not fail."""
    seen = "".join(world.owner.ask(path).text for path in ("/connectors", "/trace", f"/trace/{world.message}"))
    everything = world.centre.call("/api/v1/resources", world.centre.token(name="everything"))[2]
    seen += json.dumps(everything)
    assert [one for one in CANARIES if one not in seen] == []
    assert "else.example" in world.tenant.ask("/connectors").text


def _state(world: World) -> list[Any]:
    """Whatever a tenant might have changed."""
    token = world.centre.token(name=f"state-{len(_states)}")
    paths = ("resources", "queue", "users", "certificates", "audit/events?action=token-add&who=tina")
    _states.append([world.centre.call(f"/api/v1/{path}", token)[2] for path in paths])
    return _states[-1]


_states: list[list[Any]] = []


def test_no_form_of_a_tenant_reaches_into_another(world: World) -> None:
    """What the path does not say, a form may: whatever fields there are name what is contoso's."""
    theirs = {
        "organization": THEIRS, "organizations": THEIRS, "name": "kanarie-made.example", "address": "x@contoso.example",
        "messages": world.message, "action": "drop", "why-drop": "x", "reason": "x", "do": "remove", "again": THEIRS,
        "scenario": "to-partner", "use": "domains", "recipient_domains": "made.example", "routing": "mx",
        "tls_settings": "encryption-only", "done": "scenario,name,use,routing,security,check", "mode": "enforce",
        "role": "owner", "reach": "all", "scopes": "owner", "password": PASSWORD, "enabled": "on",
        "sender": "ann@contoso.example", "recipient": "bob@partner.example", "session": "1", "partner": "kanarie",
        "query": f"organization={THEIRS}", "csrf": world.tenant.csrf,
    }  # fmt: skip
    before = _state(world)
    for method, path in CHANGES:
        if path in OWN or path.startswith(("/api/", "/check", "/account/")):
            continue
        for target, more in ((world.filled(path), {}), (world.filled(path, organization=MINE), {"which": "all"})):
            answer = world.tenant.ask(target, method, theirs | more)
            assert answer.status < 500, answer.text
            assert _canaries_in(answer.text, target) == [], answer.text
    for body in (
        {"action": "drop", "messages": [world.message], "reason": "x"},
        {"action": "hold", "organization": THEIRS},
    ):
        told = world.centre.call("/api/v1/queue/actions", world.token, "POST", body)[2]
        assert told.get("changed", 0) == 0, told
    assert _state(world) == before


def _same(text: str, world: World) -> str:
    """An answer without what was asked for, and without its time."""
    partners = ("bob@partner.example", "bob@nosuch.example")
    for one in (*partners, world.message, *_FAKE.values(), THEIRS, *_REAL):
        for written in (one, quote(one, safe=""), quote(quote(one, safe=""), safe="")):
            text = text.replace(written, "@")
    text = re.sub(
        r'<time.*?</time>|urn:uuid:[-0-9a-f]+|"made": ?"[^"]+"|<dt>Created</dt>.*?</dd>|value="[^"]*"|cookie: \S+'
        r'|"X-CSRF-Token": "[0-9a-f.]+"',
        "",
        text,
    )
    return re.sub(r"(?i)^(date|content-length): .*$", "", text, flags=re.MULTILINE)


_REAL = ("kanarie-box@contoso.example", "kanarie-rule", "contoso.example", "plain", "own")
_NO_ID = "0caf000000000000"
_FAKE = {"organization": "nosuchorg", "message": _NO_ID, "identity": _NO_ID, "id": _NO_ID, "name": "nosuchname"}


def test_a_tenant_cannot_tell_what_is_another_s_from_what_is_not_there(world: World) -> None:
    theirs = {"message": world.message, "recipient": "bob@partner.example", "connector": "plain", "q": world.message}
    nobody = {"message": _NO_ID, "recipient": "bob@nosuch.example", "connector": "nosuchname", "q": _NO_ID}
    compared = 0
    for method, path in EVERY:
        if method != "GET" or path in OWN or path.startswith("/static") or path.endswith(("/live", "/events")):
            continue
        asked = [f"{world.filled(path)}?{urlencode(theirs)}", f"{world.filled(path, **_FAKE)}?{urlencode(nobody)}"]
        for _ in range(3):  # a figure of the gateway may change between the two, and not each time
            real, fake = (_told(world, path, target) for target in asked)
            if real == fake:
                break
        assert real[:2] == fake[:2], path
        told, other = (answer[2].splitlines() for answer in (real, fake))
        assert [pair for pair in zip(told, other, strict=False) if pair[0] != pair[1]] == [], path
        assert len(told) == len(other), path
        compared += 1
    assert compared > 100


def _told(world: World, path: str, target: str) -> tuple[int, str | None, str]:
    """What the tenant is answered at a target of this route."""
    if path.startswith("/api/"):
        status, headers, told = world.centre.call(target, world.token)
        return status, headers.get("etag"), _same(json.dumps(told), world)
    answer = world.tenant.ask(target)
    return answer.status, answer.headers.get("location", "")[:6], _same(answer.text, world)


def test_a_tenant_cannot_write_into_another_by_a_document(world: World) -> None:
    document = {"organization": {THEIRS: {"accepted_domain": [{"name": "contoso.example"}]}}}
    for path, method in (("/api/v1/resources", "PATCH"), ("/api/v1/resources", "PUT")):
        status, _, told = world.centre.call(path, world.token, method, document, {"If-Match": "*"})
        assert status in {403, 404, 422}, told
        assert _canaries_in(json.dumps(told), "") == []
    drop = {"action": "drop", "all": True, "reason": "x"}
    status, _, told = world.centre.call("/api/v1/queue/actions", world.token, "POST", drop)
    assert (status, told["changed"]) == (200, 0), "all is all of one's own"
    assert world.centre.gateway.cli("queue", "list", json=True).data


def test_a_session_is_nobody_else_s(world: World) -> None:
    planted = f"__Host-gatepost={'A' * 43}"
    form = {"name": TENANT, "password": PASSWORD}
    answer = Person(world.centre).ask("/login", "POST", form, {"Cookie": planted})
    assert answer.status == 303
    fresh = answer.headers["set-cookie"].partition(";")[0]
    assert fresh != planted
    for cookie, status in ((planted, 303), (fresh, 200), (f"{planted}; {fresh}x", 303), (fresh.upper(), 303)):
        assert Person(world.centre).ask("/account", headers={"Cookie": cookie}).status == status
    mine = Person(world.centre, TENANT)
    again = mine.ask("/login", "POST", form | {"csrf": mine.csrf})
    assert mine.ask("/account").status == 303, "the old one has ended"
    kept = again.headers["set-cookie"].lower()
    assert all(word in kept for word in ("secure", "httponly", "samesite=lax", "path=/"))
    assert "domain" not in kept


def test_what_strangers_wrote_is_text_and_no_script(world: World, browser: Browser) -> None:
    pages = [path for method, path in _page_routes() if method == "GET" and "{version}" not in path]
    pages = [world.filled(path) for path in pages if path not in OWN]
    pages += ["/account", "/confirm", f"/connectors/{THEIRS}/outbound/{quote(f'kanarie-connector {SCRIPT}', safe='')}"]
    shown = set()
    with context(browser) as (opened, complaints):
        complaints.expected += ["Failed to load resource: the server responded with a status of"]
        name, _, value = world.owner.cookie.partition("=")
        opened.add_cookies([{"name": name, "value": value, "url": world.centre.url, "secure": True}])
        page = opened.new_page()
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        for path in dict.fromkeys(pages):
            if path.endswith("/events") or "evidence" in path or "notice" in path:
                continue  # no page: a stream, a file
            text = world.owner.ask(path).text
            if "SCRIPT" not in text and "hx-trigger" not in text:
                continue  # no word of theirs is in it, and it fetches none by itself: nothing to run
            page.goto(f"{world.centre.url}{path}", wait_until="load")
            assert page.locator("img[onerror], [onerror]").count() == 0, path
            if SCRIPT in page.locator("body").inner_text():
                shown.add(path)
    assert dialogs == []
    wanted = {"/connectors", "/trace", f"/trace/{world.message}"}
    assert wanted <= shown, "it is shown as it was written"


def test_no_cell_of_a_table_is_a_formula(world: World) -> None:
    formulas = 0
    for method, path in _page_routes():
        if method != "GET" or path in OWN or path.endswith("/events"):
            continue
        answer = world.owner.ask(f"{world.filled(path)}?format=csv")
        if answer.headers.get("content-type", "").startswith("text/csv"):
            assert re.fullmatch(r'attachment; filename="[\w.-]+"', answer.headers["content-disposition"])
            body = answer.text.partition("\n\n")[2]
            cells = [cell for row in csv.reader(io.StringIO(body)) for cell in row]
            assert [cell for cell in cells if cell[:1] in {"=", "+", "@", "\t", "\r"}] == [], path
            formulas += sum("HYPERLINK" in cell for cell in cells)
    assert formulas, "it was in one of them"


def test_the_log_has_no_secret(world: World) -> None:
    """Last of what was tried above, whatever its order: nothing that was sent is in the log."""
    log = wait_until(world.centre.gateway.log, "there is a log")
    for secret in (PASSWORD, world.token, world.owner.cookie.partition("=")[2], world.owner.csrf):
        assert secret not in log
