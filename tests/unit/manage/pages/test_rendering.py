from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from jinja2 import UndefinedError, nodes
from starlette.requests import Request
from support import source_trees

from gatepost.manage.access.principal import ROLES, Principal, Role
from gatepost.manage.pages import rendering, signed_cookies
from gatepost.manage.pages.rendering import Frame, environment, event, fragment, link, render, see_changed, see_other
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.times import named_zone

ANN = Principal("ann <b>", ROLES[Role.ADMINISTRATOR])
TENANT = Principal("tim", ROLES[Role.AUDITOR], frozenset({"fabrikam", "contoso"}))
ERROR = {
    "heading": "This page does not exist",
    "text": "<script>alert(1)</script>",
    "advice": "Go back.",
    "errors": (),
    "is_of_form": False,
}


def asked(path="/connectors", *, query="", principal=None, gateway=None, scheme="https", **headers):
    app = SimpleNamespace(state=SimpleNamespace(**({"gateway": gateway} if gateway else {})))
    return Request(
        {
            "type": "http",
            "method": "GET",
            "scheme": scheme,
            "server": ("gate.example", 443),
            "path": path,
            "query_string": query.encode(),
            "headers": [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()],
            "state": {"principal": principal, "csrf": "token"} if principal else {},
            "app": app,
        }
    )


class Organizations:
    settings = SimpleNamespace(
        admin=SimpleNamespace(time_zone="UTC"), server=SimpleNamespace(hostname="mx.gate.example")
    )

    def __init__(self, *names):
        self.names = names

    def directory(self):
        if not self.names:
            raise Refusal(RefusalKind.UNREADABLE, "no store")
        organizations = tuple(SimpleNamespace(name=name) for name in self.names)
        return SimpleNamespace(resources=SimpleNamespace(organizations=organizations))


def test_a_page_is_escaped_and_never_cached():
    answer = render(asked(principal=ANN), "error.html", 404, **ERROR)
    text = answer.body.decode()
    assert answer.status_code == 404
    assert answer.headers["cache-control"] == "no-store"
    assert text.startswith("<!doctype html>")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "ann &lt;b&gt;" in text
    assert "X-CSRF-Token&#34;" in text or '"X-CSRF-Token": "token"' in text


def test_a_page_holds_no_script_style_or_handler_of_its_own():
    text = render(asked(principal=ANN), "error.html", **ERROR).body.decode()
    assert " style=" not in text
    assert "<style" not in text
    assert " onclick" not in text
    attributes = [part.split(">")[0] for part in text.split("<script")[1:]]
    assert [each for each in attributes if "src=" not in each] == [' type="application/json" id="texts"'], "data"


def test_times_of_a_sentence_are_in_the_zone_of_the_page():
    detail = "It ends at 2026-11-24 16:12Z."
    template = environment().from_string("{{ detail|ours }}")
    frame = SimpleNamespace(zone=SimpleNamespace(zone=named_zone("Asia/Kolkata")))
    assert template.render(detail=detail, frame=frame) == "It ends at 2026-11-24 21:42+05:30."
    assert template.render(detail=detail) == detail


def test_before_somebody_is_logged_in_nothing_is_shown_around_a_page():
    text = render(asked(), "error.html", **ERROR).body.decode()
    assert 'class="bare"' in text
    assert "Connectors" not in text


def test_a_name_that_is_not_there_is_an_error():
    with pytest.raises(UndefinedError):
        render(asked(principal=ANN), "error.html", heading="x")


def test_the_current_page_is_marked():
    text = render(asked("/connectors/bank-out", principal=ANN), "error.html", **ERROR).body.decode()
    assert '<a href="/connectors" aria-current="true">' in text
    assert text.count("aria-current") == 1
    assert (
        '<a href="/queue" aria-current="page">'
        in render(asked("/queue", principal=ANN), "error.html", **ERROR).body.decode()
    )


@pytest.mark.parametrize(
    ("headers", "partial"),
    [
        ({}, False),
        ({"hx_request": "true"}, False),
        ({"hx_request": "true", "hx_request_type": "full"}, False),
        ({"hx_request_type": "partial"}, False),
        ({"hx_request": "true", "hx_request_type": "partial"}, True),
    ],
)
def test_htmx_gets_the_block_it_asks_for(headers, partial):
    request = asked(principal=ANN, **headers)
    given = {"connectors": [], "tasks": [], "events": [], "days": [], "errors": {}, "live": ""}
    answer = render(request, "gallery.html", block="rows", **given)
    assert answer.body.decode().startswith('<p id="rows" ' if partial else "<!doctype html>")
    assert "HX-Request" in answer.headers["vary"]


def test_a_page_without_a_block_is_always_whole():
    answer = render(asked(hx_request="true", hx_request_type="partial"), "error.html", **ERROR)
    assert answer.body.decode().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("principal", "gateway", "query", "shown", "chosen"),
    [
        (TENANT, None, "", ["contoso", "fabrikam"], ""),
        (TENANT, None, "organization=contoso", ["contoso", "fabrikam"], "contoso"),
        (TENANT, Organizations("bank", "contoso"), "organization=bank", ["contoso", "fabrikam"], ""),
        (ANN, Organizations("b", "a"), "organization=b", ["a", "b"], "b"),
        (ANN, Organizations("b", "a"), "organization=c", ["a", "b"], ""),
        (ANN, Organizations(), "organization=c", [], ""),
        (ANN, None, "", [], ""),
    ],
)
def test_only_an_organization_one_sees_can_be_chosen(principal, gateway, query, shown, chosen):
    frame = rendering._frame(asked(principal=principal, gateway=gateway, query=query))
    assert (list(frame.organizations), frame.organization) == (shown, chosen)


def test_on_paper_a_page_names_the_gateway_and_the_time():
    text = render(asked(principal=ANN, gateway=Organizations("a")), "error.html", **ERROR).body.decode()
    assert '<p class="on-paper">mx.gate.example <time' in text


def test_of_many_organizations_one_is_typed():
    many = Organizations(*(f"o{number}" for number in range(101)))
    text = render(asked(principal=ANN, gateway=many), "error.html", **ERROR).body.decode()
    assert 'name="organization"' in text
    assert "o100" not in text


def test_links_keep_the_chosen_organization():
    frame = Frame(
        "/trace", ANN, organization="contoso", query=(("organization", "contoso"), ("to", "a@b"), ("to", "c"))
    )
    assert frame.link("/queue") == "/queue?organization=contoso"
    assert frame.here(page=2) == "/trace?organization=contoso&to=a%40b&to=c&page=2"
    assert frame.here(organization="", to=None) == "/trace"
    assert Frame("/login").navigation == ()


def test_no_link_leads_to_a_host_that_was_asked_for_as_a_path():
    text = render(asked("//evil.example/x", principal=TENANT), "error.html", **ERROR).body.decode()
    assert 'href="/evil.example/x?organization=contoso"' in text
    assert "//evil.example" not in text


def test_a_link_leaves_out_what_is_empty():
    assert link("/trace", to="a b&c", page=0, since="", until=None) == "/trace?to=a+b%26c&page=0"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_after_a_form_the_next_page_says_it_once(scheme):
    answer = see_other(asked(principal=ANN, scheme=scheme), "/connectors", "Saved <b>.", "warn")
    assert (answer.status_code, answer.headers["location"]) == (303, "/connectors")
    cookie = answer.headers["set-cookie"]
    assert ("Secure" in cookie) is (scheme == "https")
    value = cookie.partition(";")[0]
    shown = render(asked(principal=ANN, cookie=value), "error.html", **ERROR)
    assert "notice warn" in shown.body.decode()
    assert "Saved &lt;b&gt;." in shown.body.decode()
    assert f"{signed_cookies.COOKIE}=" in shown.headers["set-cookie"]
    part = render(
        asked(principal=ANN, cookie=value, hx_request="true", hx_request_type="partial"),
        "gallery.html",
        block="rows",
    )
    assert "set-cookie" not in part.headers


@pytest.mark.parametrize(
    ("status", "wrong", "answered"),
    [
        (0, {}, 200),
        (0, {"errors": [SimpleNamespace(path="name", message="no")]}, 422),
        (0, {"error": "no"}, 422),
        (409, {"error": "no"}, 409),
    ],
)
def test_a_page_that_shows_errors_says_so_to_programs(status, wrong, answered):
    context = ERROR | {"heading": "Form"} | wrong
    assert render(asked(principal=ANN), "error.html", status, **context).status_code == answered


def test_warnings_of_a_change_follow_what_is_said():
    answer = see_changed(asked(principal=ANN), "/connectors", "Saved.", ["nothing leads there", "It waits."])
    said = signed_cookies.read(
        {signed_cookies.COOKIE: answer.headers["set-cookie"].partition("=")[2].partition(";")[0]}, ANN.name
    )
    assert (said.level, said.text) == ("warn", "Saved. Nothing leads there. It waits.")
    answer = see_changed(asked(principal=ANN), "/connectors", "Saved.", ())
    said = signed_cookies.read(
        {signed_cookies.COOKIE: answer.headers["set-cookie"].partition("=")[2].partition(";")[0]}, ANN.name
    )
    assert (said.level, said.text) == ("pass", "Saved.")


def test_htmx_is_sent_to_the_next_page_too():
    answer = see_other(asked(principal=ANN, hx_request="true"), "/connectors")
    assert (answer.status_code, answer.headers["hx-redirect"]) == (200, "/connectors")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("html", "name", "sent"),
    [
        ("<p>x</p>", "", b"data: <p>x</p>\n\n"),
        ("<p>\nx\r\n</p>", "", b"data: <p>\ndata: x\ndata: </p>\n\n"),
        ("", "done", b"event: done\ndata: \n\n"),
    ],
)
def test_an_event_has_its_lines(html, name, sent):
    assert event(html, name) == sent


def test_a_fragment_is_one_block():
    task = {"key": "tls", "level": "fail", "title": "<TLS>"}
    text = fragment(asked(principal=ANN), "progress.html", "tasks", tasks=[task])
    assert text.startswith('<li class="task fail" id="task-tls">')
    assert "&lt;TLS&gt;" in text


def test_every_template_compiles():
    for name in environment().list_templates(extensions=["html"]):
        environment().get_template(name)


@pytest.fixture(scope="module")
def templates():
    """Each template by its name, parsed."""
    source = {name: environment().loader.get_source(environment(), name)[0] for name in environment().list_templates()}
    return {name: environment().parse(text) for name, text in source.items()}


def test_templates_import_macros_that_exist(templates):
    made = {
        name: {macro.name for macro in tree.find_all(nodes.Macro)}
        | {target.name for target in tree.find_all(nodes.Name) if target.ctx == "store"}
        for name, tree in templates.items()
    }
    taken = set()
    for name, tree in templates.items():
        whole = {"ui": "macros.html"} | {each.target: each.template.value for each in tree.find_all(nodes.Import)}
        for asked in tree.find_all(nodes.Getattr):
            if isinstance(asked.node, nodes.Name) and asked.node.name in whole:
                taken.add((name, whole[asked.node.name], asked.attr))
        for imported in tree.find_all(nodes.FromImport):
            taken |= {(name, imported.template.value, macro) for macro in imported.names}
    assert len(taken) > 500
    assert sorted(each for each in taken if each[2] not in made[each[1]]) == []


def test_templates_ask_attributes_that_the_source_knows(templates):
    """Of which type is not known here: a name that nothing has was renamed, or dropped as if nothing asked it."""
    known = {
        "index0",
        *(name for kind in (str, bytes, dict, list, tuple, Counter, SimpleNamespace) for name in dir(kind)),
    }
    for file in Path(rendering.__file__).parents[2].rglob("*.py"):
        for node in source_trees.nodes(file):
            match node:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.keyword(arg=str(name)):
                    known.add(name)
                case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                    known.add(name)
                case ast.Constant(value=str(name)):
                    known.update([name])
    for tree in templates.values():
        known |= {macro.name for macro in tree.find_all(nodes.Macro)}
    asked = {(name, node.attr) for name, tree in templates.items() for node in tree.find_all(nodes.Getattr)}
    assert len(asked) > 1000
    assert sorted(each for each in asked if each[1] not in known) == []


def test_a_link_to_the_same_page_is_as_escaped_as_its_address():
    request = asked("/connectors/a/../b", principal=TENANT)
    request.scope["raw_path"] = b"/connectors/a%2F..%2Fb"
    text = render(request, "error.html", **ERROR).body.decode()
    assert "/connectors/a%2F..%2Fb?organization=contoso" in text
    assert "a/../b" not in text


@pytest.mark.parametrize(
    "written",
    [
        'field("a", "A", autocomplete="username", data_more="1")',
        'textarea("a", "A", autocomplete="username", data_more="1")',
        'select("a", "A", [("", "None")], autocomplete="username", data_more="1")',
        'checkbox("a", "A", autocomplete="username", data_more="1")',
        'filter_field("a", "A", "", autocomplete="username", data_more="1")',
    ],
)
def test_what_a_form_says_of_its_fields_reaches_the_browser(written):
    """Otherwise no password manager fills in a log-in, and no field says how long it may be."""
    frame = Frame("/login", csrf="token")
    ui = environment().get_template("macros.html").make_module({"frame": frame, "now": 0.0})
    text = environment().from_string(f"{{{{ ui.{written} }}}}").render(ui=ui, frame=frame, now=0.0)
    assert 'autocomplete="username"' in text
    assert 'data-more="1"' in text
