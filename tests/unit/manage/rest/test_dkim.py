"""DKIM keys over REST, on a store with a master key."""

from __future__ import annotations

import pytest
import tomlkit

from gatepost.analysis.checks.dkim_record import DkimObservation, RecordCheck
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.rest.routes import ENDPOINTS
from gatepost.manage.use_cases import dkim
from gatepost.manage.use_cases.context import Gateway
from gatepost.manage.use_cases.dns_checks import DnsChecks
from gatepost.pki.certificates.dkim_keys import made_key
from gatepost.policy.connectors.values import DkimAlgorithm
from gatepost.settings.loader import load

ANY = [("if-match", "*")]
KEYS = "/organizations/contoso/domains/contoso.example/dkim_keys"
NAME = "s1._domainkey.contoso.example"
ED = {"selector": "s1", "algorithm": "ed25519-sha256"}
PEM = made_key(DkimAlgorithm.ED25519_SHA256).decode()


@pytest.fixture
def gateway(tmp_path):
    (tmp_path / "master").touch(0o600)
    (tmp_path / "master").write_bytes(bytes(range(32)))
    document = {
        "server": {"hostname": "mx.gate.example", "data_dir": "data"},
        "store": {"master_key": f"file:{tmp_path / 'master'}"},
        "dns": {"nameservers": ["127.0.0.1:1"], "timeout": 0.1},
    }
    (tmp_path / "gatepost.toml").write_text(tomlkit.dumps(document), encoding="utf-8")
    made = Gateway(load(str(tmp_path / "gatepost.toml"), {}))
    with made.config() as store:
        table = {"accepted_domain": [{"name": "contoso.example"}]}
        store.apply({"organization": {"contoso": table}}, author="root")
    return made


@pytest.fixture
def rest(api_of):
    return api_of(*ENDPOINTS)


@pytest.fixture
def seen(monkeypatch):
    found = [RecordCheck(DkimObservation.MISSING, "nothing there")]

    async def dns_check(*_):
        return found[0]

    monkeypatch.setattr(dkim, "seen_record", dns_check)
    return found


def listed(rest, query=""):
    return rest.call("GET", f"/dkim_keys{query}").json["items"]


def actions(rest):
    who = Principal("olga", frozenset({Scope.OWNER}))
    return [(one.action, str(one.outcome)) for one in rest.accounts.audit_events(who)]


def test_a_key_is_made_and_let_sign(rest, seen):
    tried = rest.call("POST", f"{KEYS}?dry_run=true", ED)
    assert (tried.status, tried.json["name"]) == (200, NAME)
    assert listed(rest) == []
    made = rest.call("POST", f"{KEYS}?note=new", ED, headers=ANY)
    assert made.status == 201
    assert made.headers["location"] == f"/api/v1/organizations/contoso/dkim_keys/{NAME}"
    assert made.json["zone"].startswith(f"{NAME}. IN TXT")
    assert rest.call("POST", KEYS, ED, headers=ANY).problem == "conflict"

    refused = rest.call("POST", f"{KEYS}/rotate", {}, headers=ANY)
    assert (refused.problem, refused.paths) == ("conflict", [NAME])
    assert refused.json["options"] == ["force"]
    assert "--" not in refused.json["detail"]
    (row,) = listed(rest, "?check=true")
    assert (row["record"], row["why"], row["state"]) == ("missing", "nothing there", "next")
    assert row["since"]
    seen[0] = RecordCheck(DkimObservation.PUBLISHED)
    assert rest.call("POST", f"{KEYS}/rotate", {"selector": "s1"}, headers=ANY).status == 200
    assert listed(rest, "?state=current")[0]["name"] == NAME
    assert actions(rest) == [
        *(("dkim-rotate", "done"), ("dkim-rotate", "refused")),
        *(("dkim-add", "refused"), ("dkim-add", "done")),
    ]


def test_a_private_key_goes_in_and_never_out(rest):
    rest.call("POST", KEYS, ED | {"key": PEM, "current": True}, headers=ANY)
    answer = rest.call("GET", "/dkim_keys?limit=1")
    assert answer.json["items"][0]["private_key"] == "sealed"
    assert "options" not in answer.json
    place = f"{KEYS}/s1/private_key"
    again = rest.call("POST", f"{place}?dry_run=true", {"key": PEM})
    assert again.json == {"name": NAME, "dry_run": True}
    assert rest.call("POST", place, {"key": PEM}).status == 200
    wrong = rest.call("POST", place, {"key": made_key(DkimAlgorithm.ED25519_SHA256).decode()})
    assert (wrong.problem, wrong.paths) == ("invalid", ["key"])
    assert rest.call("POST", f"{KEYS}/x/private_key", {"key": PEM}).problem == "missing"
    assert PEM.splitlines()[1].encode() not in answer.body + again.body + wrong.body
    assert actions(rest) == [
        *(("dkim-import", "refused"), ("dkim-import", "refused"), ("dkim-import", "done")),
        ("dkim-add", "done"),
    ]


def test_pages_and_filters(rest):
    for selector in "abc":
        rest.call("POST", KEYS, ED | {"selector": selector}, headers=ANY)
    page = rest.call("GET", "/dkim_keys?limit=2").json
    assert [one["selector"] for one in page["items"]] == ["a", "b"]
    assert [one["selector"] for one in rest.call("GET", page["next"].removeprefix("/api/v1")).json["items"]] == ["c"]
    assert [one["selector"] for one in listed(rest, "?selector=b&domain=contoso.example&q=CON")] == ["b"]
    assert rest.call("GET", "/dkim_keys?organization=nobody").problem == "missing"


def test_who_may_not(rest):
    rest.call("POST", KEYS, ED, headers=ANY)
    rest.who = Principal("bob", frozenset({Scope.READ}))
    assert rest.call("POST", KEYS, ED, headers=ANY).problem == "forbidden"
    rest.who = Principal("eve", frozenset({Scope.READ, Scope.CONNECTORS}), frozenset({"fabrikam"}))
    assert rest.call("POST", f"{KEYS}/rotate", {}, headers=ANY).problem == "missing"
    assert listed(rest) == []


def test_what_is_not_said_or_wrong(rest):
    assert rest.call("POST", KEYS, ED).problem == "unguarded"
    assert rest.call("POST", KEYS, ED | {"algorithm": "none"}, headers=ANY).paths == ["algorithm"]
    assert rest.call("POST", f"{KEYS}/rotate", {}, headers=ANY).problem == "invalid"


def test_too_many_looks_at_a_time(rest, monkeypatch):
    rest.call("POST", KEYS, ED, headers=ANY)
    monkeypatch.setattr("gatepost.manage.use_cases.dns_checks._PATIENCE", 0.01)
    held = [rest.gateway.kept(DnsChecks).slot(Principal(name, frozenset())) for name in "abcd"]
    for one in held:
        one.__enter__()
    assert rest.call("GET", "/dkim_keys?check=true").problem == "throttled"
    for one in held:
        one.__exit__(None, None, None)
