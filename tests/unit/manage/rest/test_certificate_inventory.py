"""The inventory over REST, on a store with a master key; nothing answers where the DNS server should be."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from cryptography import x509
from tests.unit.manage.calls import add_entry, run

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.rest.endpoint import RestEndpoint
from gatepost.manage.use_cases import (
    acme_renewal,
    certificate_removal,
    certificate_requests,
    certificate_table,
    certificates,
    changeover,
)
from gatepost.manage.use_cases.catalogue import declared_in
from gatepost.manage.use_cases.certificate_import import watch_directory
from gatepost.manage.use_cases.inventory import inventory_of
from gatepost.pki.certificates.entry import Purpose, State
from gatepost.values import replace

from .conftest import NAME, OWNER, ROOT

READER = Principal("rob", frozenset({Scope.READ}))
TENANT = Principal("tim", frozenset(Scope) - {Scope.OWNER}, frozenset({"contoso"}))
REQUESTS = "/certificate_requests"
MODULES = (certificates, certificate_requests, certificate_removal, certificate_table, changeover, acme_renewal)
ENDPOINTS = [RestEndpoint(one) for one in declared_in(*MODULES) if one.path]


@pytest.fixture
def gateway(sealed):
    with sealed.config() as store:
        store.apply({"organization": {"contoso": {"accepted_domain": [{"name": "contoso.example"}]}}}, author="ann")
    return sealed


@pytest.fixture
def rest(api_of):
    return api_of(*ENDPOINTS)


def added(rest, *names, **more):
    return add_entry(rest.gateway, ROOT, *names, **more)


def ask(rest, query="", **body):
    return rest.call("POST", f"{REQUESTS}{query}", {"names": [NAME], **body})


def audit_events(rest):
    return [(one.action, str(one.outcome), one.subject) for one in reversed(rest.accounts.audit_events(OWNER))]


# who may ask

GATEWAYS = [
    ("GET", "/certificate_inventory", None),
    ("GET", "/certificate_history", None),
    ("POST", REQUESTS, {"names": [NAME]}),
    ("GET", f"{REQUESTS}/0123456789abcdef", None),
    ("DELETE", f"{REQUESTS}/0123456789abcdef", None),
    ("DELETE", "/certificate_directories/etc/keys", None),
    ("GET", "/certificate_table", None),
    ("GET", "/acme", None),
    ("POST", "/certificate_changeovers/look", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), GATEWAYS)
def test_they_are_the_gateways(rest, method, path, body):
    for who in (TENANT, Principal("q", frozenset({Scope.QUEUE}))):
        rest.who = who
        assert rest.call(method, path, body).problem == "forbidden"
    rest.who = READER
    if method != "GET":
        assert rest.call(method, path, body).problem == "forbidden"
    assert rest.call("GET", "/certificate_inventory").json["requests"] == []


# all there is


def test_nothing_yet(rest):
    assert rest.call("GET", "/certificate_inventory").json == {
        "version": 1, "certificates": [], "requests": [], "directories": [], "trouble": [],
    }  # fmt: skip
    assert rest.call("GET", "/certificate_history").json["items"] == []
    table = rest.call("GET", "/certificate_table").json
    assert (table["certificates"], table["files"], table["changed"]) == (0, [], None)
    found = rest.call("POST", "/certificate_changeovers/look", {}).json
    assert (found["items"], found["certificates"], found["at"] > 0) == ([], [], True)


def test_everything_at_once(rest, tmp_path):
    rest.who = READER
    server, client = added(rest), added(rest, "c.example", client=True, organization="contoso", label="to-bank")
    rest.who = OWNER
    number = ask(rest, names=["other.gate.example"]).json["request"]["id"]
    (tmp_path / "keys").mkdir()
    run(rest.gateway, watch_directory, directory=str(tmp_path / "keys"))
    rest.who = READER
    found = rest.call("GET", "/certificate_inventory").json
    assert {(one["id"], one["purpose"], one["organization"]) for one in found["certificates"]} == {
        (server.id, "server", ""), (client.id, "client", "contoso"),
    }  # fmt: skip
    assert [one["id"] for one in found["requests"]] == [number]
    assert found["directories"] == [str(tmp_path / "keys")]
    assert found["version"] > 1


def test_a_store_of_another_version(rest):
    with rest.gateway.config() as store:
        store.apply({"certificate": {"0" * 16: {"leaf": "of a later version"}}}, author="test")
    for method, path in (
        ("GET", "/certificate_inventory"),
        ("GET", "/certificate_table"),
        ("POST", "/certificate_changeovers/look"),
    ):
        answer = rest.call(method, path, {} if method == "POST" else None)
        assert answer.problem == "unreadable", path
        assert "stored in a form that this version does not know" in answer.json["detail"]


def test_a_database_that_is_none(rest):
    for file in rest.gateway.data.glob("config.db*"):
        file.unlink()  # a connection that is kept is one of the old file
    (rest.gateway.data / "config.db").write_bytes(b"this is not a database at all, however long it may be" * 100)
    for path in ("/certificate_inventory", "/certificate_history", "/certificate_table"):
        assert rest.call("GET", path).problem == "unreadable"


def test_history_comes_in_pages_the_newest_first(rest):
    ids = [added(rest, f"h{number}.example").id for number in range(5)]
    found, url = [], "/certificate_history?limit=2"
    while url:
        answer = rest.call("GET", url)
        assert len(answer.json["items"]) <= 2
        found += answer.json["items"]
        url = (answer.json["next"] or "").removeprefix("/api/v1")
    assert [one["id"] for one in found] == ids[::-1]
    assert {(one["kind"], one["change"], one["author"]) for one in found} == {
        ("certificate", "added as current", "ann")
    }
    assert rest.call("GET", "/certificate_history?limit=0").paths == ["query.limit"]


# requests


def test_a_key_is_made_and_stays(rest):
    answer = ask(rest, names=[NAME, "mail.gate.example"], key="ec-p384", must_staple=True, label=" mail ")
    assert answer.status == 201
    made = answer.json["request"]
    assert answer.headers["location"] == f"/api/v1{REQUESTS}/{made['id']}"
    assert (made["names"], made["key"], made["must_staple"], made["label"], made["key_file"]) == (
        [NAME, "mail.gate.example"], "ec-p384", True, "mail", "",
    )  # fmt: skip
    csr = x509.load_pem_x509_csr(answer.json["csr"].encode())
    assert csr.is_signature_valid
    assert b"PRIVATE" not in answer.body
    rest.who = READER
    shown = rest.call("GET", f"{REQUESTS}/{made['id'].upper()}").json
    assert shown == answer.json
    assert audit_events(rest)[-1] == ("certificate-request", "done", made["id"])


def test_a_dry_run_makes_none(rest):
    assert ask(rest, "?dry_run=true").status == 200
    assert rest.call("GET", "/certificate_inventory").json["requests"] == []


WRONG = [
    ({"names": []}, ["names"]),
    ({"names": ["no domain"]}, ["names"]),
    ({"names": ["<script>"]}, ["names"]),
    ({"names": ["x" * 256]}, ["names[0]"]),
    ({"names": ["a.example"] * 101}, ["names"]),
    ({"names": "a.example"}, ["names"]),
    ({"key": "dsa"}, ["key"]),
    ({"key": "k" * 21}, ["key"]),
    ({"client": True}, ["organization", "label"]),
    ({"organization": "contoso"}, ["organization"]),
    ({"label": "l" * 101}, ["label"]),
    ({"must_staple": "yes"}, ["must_staple"]),
    ({"novel": 1}, ["novel"]),
]


@pytest.mark.parametrize(("body", "paths"), WRONG)
def test_what_is_wrong_is_said_by_field(rest, body, paths):
    answer = ask(rest, **body)
    assert (answer.problem, answer.paths) == ("invalid", paths)
    assert rest.call("GET", "/certificate_inventory").json["requests"] == []
    assert audit_events(rest)[-1][:2] == ("certificate-request", "refused")


def test_an_organization_that_there_is_not(rest):
    answer = ask(rest, client=True, organization="nobody", label="x")
    assert answer.problem == "missing"
    assert ask(rest, client=True, organization="contoso", label="to-bank").status == 201


@pytest.mark.parametrize("number", ["0123456789abcdef", "x", "%00", "9" * 3000])
def test_a_request_that_there_is_not(rest, number):
    for method in ("GET", "DELETE"):
        assert rest.call(method, f"{REQUESTS}/{number}").problem == "missing"


def test_a_request_is_forgotten_with_its_key(rest):
    made = ask(rest).json["request"]["id"]
    assert rest.call("DELETE", f"{REQUESTS}/{made}?dry_run=true").status == 200
    answer = rest.call("DELETE", f"{REQUESTS}/{made}?note=too%20late")
    assert made in answer.json["text"]
    assert rest.call("GET", f"{REQUESTS}/{made}").problem == "missing"
    assert rest.call("DELETE", f"{REQUESTS}/{made}").problem == "missing"
    newest = rest.call("GET", "/certificate_history?limit=1").json["items"][0]
    assert (newest["kind"], newest["change"], newest["note"]) == ("request", "removed", "too late")
    assert rest.call("DELETE", f"{REQUESTS}/{made}?note={'n' * 1001}").status == 422


def test_a_directory_is_watched_no_longer(rest, tmp_path):
    folder = tmp_path / "keys of ours"
    folder.mkdir()
    run(rest.gateway, watch_directory, directory=str(folder))
    path = f"/certificate_directories/{folder}"
    assert rest.call("DELETE", f"{path}?dry_run=true").status == 200
    assert rest.call("DELETE", path).status == 200
    assert rest.call("DELETE", path).problem == "missing"
    assert folder.is_dir(), "what is in it stays"


# the table, ACME


def test_the_table_as_files(rest):
    one = added(rest, current=True)
    rest.who = READER
    found = rest.call("GET", "/certificate_table?base_url=https://www.gate.example/tls").json
    assert (found["certificates"], bool(found["version"])) == (1, True)
    files = {one["name"]: base64.b64decode(one["content"]) for one in found["files"]}
    assert len(files) == len(found["files"]) > 2
    assert any(
        one.leaf.sha256.upper() in content.decode("utf-8", "replace").replace(":", "").upper()
        for content in files.values()
    )
    assert any(b"https://www.gate.example/tls/" in content for content in files.values())
    assert not [name for name, content in files.items() if b"PRIVATE" in content or "/" in name]


@pytest.mark.parametrize(
    "url", ["ftp://x.example", "x", "https://", "https://x.example/?q=1", "https://x.example/#a", "javascript:1"]
)
def test_an_address_that_cannot_serve_files(rest, url):
    answer = rest.call("GET", f"/certificate_table?base_url={quote(url)}")
    assert answer.problem == "invalid"
    assert answer.paths == ["query.base_url"]


def test_acme_that_is_off_is_said_to_be(rest):
    answer = rest.call("GET", "/acme")
    assert (answer.problem, "ACME is off" in answer.json["detail"]) == ("invalid", True)


# where changeovers stand


def test_where_changeovers_stand(rest):
    old, new = added(rest, current=True), added(rest)
    answer = rest.call("POST", "/certificate_changeovers/look", {})
    (item,) = answer.json["items"]
    assert item["certificate"]["id"] == new.id
    assert [one["id"] for one in item["replaces"]] == [old.id]
    assert (item["gates"]["light"], item["traffic"], item["roll_back_until"]) == ("unknown", None, None)
    assert {one["id"] for one in answer.json["certificates"]} == {old.id, new.id}
    assert audit_events(rest)[-1][:2] == ("certificate-look", "done")
    (event,) = rest.accounts.audit_events(OWNER)[:1]
    assert event.detail["looked_at"] == [new.id]


def test_one_that_is_named(rest):
    one = added(rest, current=True)
    (item,) = rest.call("POST", "/certificate_changeovers/look", {"certificate": one.id[:6]}).json["items"]
    assert item["certificate"]["id"] == one.id
    for wrong in ("0123456789", "abc", "x" * 200):
        assert rest.call("POST", "/certificate_changeovers/look", {"certificate": wrong}).problem == "missing"
    assert rest.call("POST", "/certificate_changeovers/look", {"certificate": "x" * 201}).problem == "invalid"


def test_of_what_is_retired_there_are_no_gates(rest, entry):
    one = entry("old", state=State.RETIRED, held="<b>", forced="<b>", told=("a",))
    with inventory_of(rest.gateway, keys=False) as inventory:
        inventory.record(one, b"", note="as found")
    (item,) = rest.call("POST", "/certificate_changeovers/look", {"certificate": one.id}).json["items"]
    assert (item["gates"], item["held"], item["forced"], item["told"]) == (None, "<b>", "<b>", ["a"])
    assert item["next"] == ["nothing: its key was destroyed"]


def test_a_client_identity_whose_place_is_taken(rest, entry):
    old = entry("old", purpose=Purpose.CLIENT, organization="contoso", label="l", state=State.CURRENT)
    new = replace(entry("new"), purpose=Purpose.CLIENT, organization="contoso", label="l")
    with inventory_of(rest.gateway, keys=False) as inventory:
        for one in (old, new):
            inventory.record(one, b"", note="as found")
    (item,) = rest.call("POST", "/certificate_changeovers/look", {"certificate": new.id}).json["items"]
    assert [one["id"] for one in item["replaces"]] == [old.id]
    assert item["certificate"]["organization"] == "contoso"


def test_only_so_many_changes_are_looked_through(rest, monkeypatch):
    for number in range(4):
        added(rest, f"h{number}.example")
    monkeypatch.setattr(certificates, "_NEWEST", 2)
    page = rest.call("GET", "/certificate_history?limit=1").json
    rest_of_it = rest.call("GET", page["next"].removeprefix("/api/v1").replace("limit=1", "limit=9")).json
    assert (len(page["items"]), len(rest_of_it["items"]), rest_of_it["next"]) == (1, 1, None)
