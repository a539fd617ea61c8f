"""Checks over REST. Nobody is looked at: a check finds what the test says, at once or not at all."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gatepost.analysis.checks.partner_report import Finding, Mark, PartnerCheck, PolicyKind, Row, Stage
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.rest.endpoint import RestEndpoint
from gatepost.manage.use_cases import partner, publication
from gatepost.manage.use_cases.catalogue import declared_in
from gatepost.manage.use_cases.dns_checks import DnsCheck, DnsChecks, SectionKey
from gatepost.manage.use_cases.jobs import Jobs
from gatepost.manage.use_cases.partner import CheckTarget
from gatepost.manage.use_cases.refusal import BusyRefusal, Refusal, RefusalKind
from gatepost.store.changes import ConfigStore

from .conftest import OWNER

READER = Principal("rob", frozenset({Scope.READ}))
TENANT = Principal("tim", frozenset({Scope.READ, Scope.CONNECTORS}), frozenset({"contoso"}))
HOSTILE = '<b>"\x1b'
FOUND = PartnerCheck(
    "b.example", "partner", 1.0, 2.0, (Finding(Stage.DNS, Mark.FAIL, HOSTILE, HOSTILE, HOSTILE, HOSTILE),),
    (Row("mx.b.example", 10, "192.0.2.1:25", PolicyKind.DANE, ()),),
)  # fmt: skip
RESOURCES = {
    "contoso": {
        "accepted_domain": [{"name": "contoso.example"}, {"name": "*.branch.example", "type": "internal-relay"}],
        "outbound_connector": [{"name": "hq", "recipient_domains": ["*"], "smart_hosts": ["10.0.0.5:2525"]}],
    },
    "fabrikam": {"accepted_domain": [{"name": "fabrikam.example"}]},
}


@pytest.fixture
def rest(api_of, gateway):
    store = ConfigStore(gateway.data / "config.db")
    store.apply({"organization": RESOURCES}, author="ann")
    store.close()
    return api_of(*(RestEndpoint(one) for one in declared_in(partner, publication) if one.path))


@pytest.fixture
def finds(checked):
    """finds(result): what checks find from then on; an error ends them, None leaves them running."""

    def find(result):
        checked("gatepost.manage.use_cases.partner.run_check", result)

    find(FOUND)
    return find


def begin(rest, domain="b.example", query="?wait=0"):
    return rest.call("POST", f"/checks/partner{query}", {"domain": domain})


def test_a_check_that_is_done(rest, finds):
    answer = begin(rest, " Ann@B.Example ")
    assert answer.status == 201
    found = answer.json
    assert (found["target"], found["kind"], found["done"], found["trouble"]) == ("b.example", "partner", True, "")
    assert found["result"]["target"] == "b.example"
    assert found["result"]["findings"][0]["text"] == HOSTILE
    assert answer.headers["location"] == f"/api/v1/checks/{found['id']}"
    rest.who = READER
    assert rest.call("GET", f"/checks/{found['id']}").json == found
    (event,) = rest.accounts.audit_events(OWNER)
    assert (event.action, str(event.outcome), event.subject) == ("check-partner", "done", "b.example")


def test_a_check_that_runs_is_waited_for_as_long_as_is_asked(rest, finds):
    finds(None)
    found = begin(rest).json
    assert (found["done"], found["result"]) == (False, None)
    run = rest.gateway.kept(Jobs).find(found["id"], OWNER, CheckTarget)
    run.progress(FOUND)
    shown = rest.call("GET", f"/checks/{found['id']}?wait=0").json
    assert (shown["done"], shown["result"]["target"]) == (False, "b.example")
    run.end(None, "anchors: gone")
    shown = rest.call("GET", f"/checks/{found['id']}?wait=25").json
    assert (shown["done"], shown["trouble"]) == (True, "anchors: gone")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Refusal(RefusalKind.INPUT, "anchors: no file"), "anchors: no file"),
        (ValueError("secret=hunter2"), "Something went wrong"),
    ],
)
def test_a_check_that_fails_is_one_that_was_made(rest, finds, error, told):
    finds(error)
    answer = begin(rest)
    assert answer.status == 201
    assert told in answer.json["trouble"]
    assert b"hunter2" not in answer.body


@pytest.mark.parametrize("wait", ["-1", "26", "x", "nan", "inf", "1e9"])
def test_how_long_is_bounded(rest, finds, wait):
    assert begin(rest, query=f"?wait={wait}").paths == ["query.wait"]
    assert rest.gateway.kept(Jobs).recent(OWNER, CheckTarget) == []


WRONG = [
    ("partner", {"domain": ""}, "domain"),
    ("partner", {"domain": "no domain"}, "domain"),
    ("partner", {"domain": "x" * 1001}, "domain"),
    ("partner", {"domain": 7}, "domain"),
    ("partner", {}, "domain"),
    ("partner", {"domain": "b.example", "host": "x"}, "host"),
    ("host", {"host": "mx.b.example:0"}, "host"),
    ("host", {"host": "mx.b.example:99999"}, "host"),
    ("host", {"host": "[::1"}, "host"),
    ("host", {"host": "\x00"}, "host"),
]


@pytest.mark.parametrize(("kind", "body", "path"), WRONG)
def test_who_cannot_be_checked_is_said_by_field(rest, finds, kind, body, path):
    answer = rest.call("POST", f"/checks/{kind}", body)
    assert (answer.problem, answer.paths) == ("invalid", [path])
    assert rest.gateway.kept(Jobs).recent(OWNER, CheckTarget) == []


def test_too_many_are_told_to_wait(rest, finds):
    finds(None)
    assert [begin(rest, f"{name}.example").status for name in "ab"] == [201, 201]
    answer = begin(rest, "c.example")
    assert (answer.status, answer.problem) == (429, "throttled")
    assert int(answer.headers["retry-after"]) > 0
    rest.who = READER
    assert begin(rest, "c.example").status == 201, "few of one, so that others come to it"


# who sees it


def test_a_tenant_finds_its_own(rest, finds):
    other = begin(rest).json["id"]
    rest.who = TENANT
    assert rest.call("GET", f"/checks/{other}").problem == "missing"
    own = begin(rest, "c.example").json["id"]
    assert rest.call("GET", f"/checks/{own}").status == 200
    rest.who = Principal("tom", frozenset({Scope.READ}), frozenset({"fabrikam"}))
    assert rest.call("GET", f"/checks/{own}").problem == "missing"
    rest.who = Principal("q", frozenset({Scope.QUEUE}))
    assert rest.call("GET", f"/checks/{own}").problem == "forbidden"
    assert begin(rest).problem == "forbidden"


@pytest.mark.parametrize("number", ["x", "%00", "9" * 3000])
def test_a_check_that_there_is_not(rest, number):
    assert rest.call("GET", f"/checks/{number}").problem == "missing"


def test_other_ports_are_for_smart_hosts_of_ones_own(rest, finds):
    rest.who = TENANT
    answer = rest.call("POST", "/checks/host?wait=0", {"host": "10.0.0.5:2525"})
    assert (answer.status, answer.json["kind"], answer.json["target"]) == (201, "host", "10.0.0.5:2525")
    for host in ("10.0.0.5:22", "10.0.0.6:2525", "localhost:8443"):
        assert rest.call("POST", "/checks/host?wait=0", {"host": host}).paths == ["host"]
    rest.who = Principal("tom", frozenset({Scope.READ}), frozenset({"fabrikam"}))
    assert rest.call("POST", "/checks/host?wait=0", {"host": "10.0.0.5:2525"}).paths == ["host"]


# what a domain is to publish

AT = "/organizations/contoso/domains/contoso.example/publication"


def test_what_a_domain_is_to_publish(rest):
    for who in (OWNER, READER, TENANT):
        rest.who = who
        found = rest.call("GET", AT).json
        assert (found["organization"], found["domain"], found["hosts"]) == (
            "contoso",
            "contoso.example",
            ["mx.gate.example"],
        )
        assert "contoso.example. IN MX 10 mx.gate.example." in found["zone"]
        assert {"mx", "mta-sts", "tls-rpt", "dkim", "spf"} <= {one["key"] for one in found["sections"]}
        for section in found["sections"]:
            assert bool(section["none"]) is not bool(section["records"])
    pattern = rest.call("GET", AT.replace("contoso.example/", "*.branch.example/")).json
    assert pattern["domain"] == "*.branch.example"


@pytest.mark.parametrize(
    ("organization", "domain"),
    [("contoso", "other.example"), ("contoso", "%00"), ("fabrikam", "contoso.example"), ("nobody", "contoso.example")],
)
def test_a_domain_that_there_is_not(rest, organization, domain):
    for rest_of in ("", "/seen"):
        path = f"/organizations/{organization}/domains/{domain}/publication{rest_of}"
        assert rest.call("GET", path).problem == "missing"


def test_what_is_of_others_is_not_there(rest):
    rest.who = TENANT
    for rest_of in ("", "/seen"):
        path = f"/organizations/fabrikam/domains/fabrikam.example/publication{rest_of}"
        assert rest.call("GET", path).problem == "missing"


def test_what_the_dns_says(rest):
    said = {
        SectionKey.MX: (
            Finding(Stage.DNS, Mark.PASS, "one is there"),
            Finding(Stage.DNS, Mark.FAIL, HOSTILE, HOSTILE, HOSTILE),
        )
    }
    asked = []

    def run(found, _principal):
        asked.append(found.domain)
        return DnsCheck(7.0, found.zone, said)

    rest.gateway.instances._made[DnsChecks] = SimpleNamespace(run=run)
    found = rest.call("GET", f"{AT}/seen").json
    assert (found["at"], found["verdict"], asked) == (7.0, "fail", ["contoso.example"])
    (section,) = found["sections"]
    assert (section["key"], section["verdict"]) == ("mx", "fail")
    assert [one["text"] for one in section["findings"]] == ["one is there", HOSTILE]


@pytest.mark.parametrize(
    ("refusal", "problem", "status"),
    [(BusyRefusal("not now"), "throttled", 429), (Refusal(RefusalKind.UNREADABLE, "not now"), "unreadable", 503)],
)
def test_a_look_that_cannot_be_made(rest, refusal, problem, status):
    def run(*_):
        raise refusal

    rest.gateway.instances._made[DnsChecks] = SimpleNamespace(run=run)
    answer = rest.call("GET", f"{AT}/seen")
    assert (answer.problem, answer.status) == (problem, status)
    assert ("retry-after" in answer.headers) is (status == 429)
