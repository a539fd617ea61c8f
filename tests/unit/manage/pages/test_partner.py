"""The pages that check a partner. Nobody is looked at: a check finds what the test says, at once or not at all."""

from __future__ import annotations

import html
import re
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from gatepost.analysis.checks.partner_report import Finding, Mark, PartnerCheck, PolicyKind, Row, Stage
from gatepost.manage.access.principal import Scope
from gatepost.manage.access.records import Actor
from gatepost.manage.use_cases.jobs import Jobs
from gatepost.manage.use_cases.partner import CheckTarget
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.policy.decisions.facts import HopFacts

from .conftest import MARKUP, OWNER

PASSED = tuple(Finding(stage, Mark.PASS, "fine", "seen it", short="ok") for stage in list(Stage)[:-1])
BAD = Finding(Stage.CERTIFICATE, Mark.FAIL, f"it ended {MARKUP}", MARKUP, f"They must renew it. {MARKUP}", MARKUP)


def row(*findings, tls=None, **more):
    facts = HopFacts("mx.b.example", "192.0.2.1:25", tls=tls)
    return Row("mx.b.example", 10, "192.0.2.1:25", PolicyKind.DANE, findings, facts, **more)


def check(*rows, target="b.example", kind="partner", findings=()):
    return PartnerCheck(target, kind, 1_795_528_800.0, 0.84, findings, rows)


@pytest.fixture
def found(checked, monkeypatch):
    """found(check): what checks find from then on; an error ends them, None leaves them running."""
    monkeypatch.setattr("gatepost.manage.pages.partner._SHORT", 0.0)

    def find(result):
        checked("gatepost.manage.use_cases.partner.run_check", result)

    find(check(row(*PASSED)))
    return find


def begun(centre, target="b.example", who="owner", path="/check"):
    """The page of a check that was begun."""
    answer = centre.post(path, who, target=target)
    assert answer.status == 303, answer.words
    return answer.headers["location"]


def run_of(centre, path):
    return centre.gateway.kept(Jobs).find(path.rpartition("/")[2], OWNER, CheckTarget)


WRONG = [
    ("/check", "", "domain"),
    ("/check", "no domain", "domain"),
    ("/check", MARKUP, "domain"),
    ("/check", "x" * 5000, "domain"),
    ("/check", "b..example", "domain"),
    ("/check/host", "mx.b.example:0", "port"),
    ("/check/host", "mx.b.example:99999", "port"),
    ("/check/host", "\x00", ""),
    ("/check/host", "[::1", ""),
]


@pytest.mark.parametrize(("path", "text", "told"), WRONG)
def test_who_cannot_be_checked_is_said_in_the_form(centre, found, path, text, told):
    answer = centre.post(path, target=text)
    assert answer.status == 422
    assert told in answer.words.lower()
    assert "<script>" not in answer.text
    assert answer.value("target") == text.strip()
    assert centre.gateway.kept(Jobs).recent(OWNER, CheckTarget) == []


def test_the_form_is_filled_in_by_a_link(centre):
    page = centre.get("/check?target=%22%3E%3Cscript%3E")
    assert page.value("target") == '"><script>'
    assert "<script>" not in page.text.partition("<main")[2]
    assert "mx.partner.example:587" in centre.get("/check/host", "tenant").words


def test_a_link_checks_nobody(centre, found):
    centre.get("/check?target=b.example")
    assert centre.gateway.kept(Jobs).recent(OWNER, CheckTarget) == []


def test_a_check_that_is_done(centre, found, tls):
    found(check(row(*PASSED, tls=tls)))
    path = begun(centre, " Ann@B.Example ")
    page = centre.get(path, "reader")
    assert page.status == 200
    assert "The gateway would deliver mail, verified by DANE, TLSv1.3." in page.words
    assert "hx-sse:connect" not in page.text
    assert "b.example" in centre.get("/check").words
    record = centre.get(f"{path}?format=json").json
    assert (record["done"], record["id"], record["result"]["target"]) == (True, path.rpartition("/")[2], "b.example")
    (event,) = [one for one in centre.accounts.audit_events(OWNER) if one.action == "check-partner"]
    assert (event.subject, event.who) == ("b.example", "token owner")


def test_words_of_strangers_are_text_everywhere(centre, found):
    found(check(row(*PASSED[:2], BAD, transcript=(f"< 220 {MARKUP}",)), findings=(BAD,)))
    path = begun(centre)
    for address in (path, f"{path}/report", "/check", f"{path}/events"):
        answer = centre.get(address)
        assert answer.status == 200
        assert "<script>alert" not in answer.text, address


def test_while_it_runs_a_page_follows_and_has_nothing_to_pass_on(centre, found):
    found(None)
    path = begun(centre)
    page = centre.get(path)
    assert f'hx-sse:connect="{path}/events"' in page.text
    assert '<meta http-equiv="refresh"' in page.text, "without a script"
    assert centre.get(f"{path}?format=json").json == {"id": path.rpartition("/")[2], "done": False, "result": None}
    refused = centre.get(f"{path}/report")
    assert (refused.status, "still running" in refused.words) == (409, True)
    run_of(centre, path).progress(check(row(PASSED[0], looking=Stage.EHLO)))
    page = centre.get(path)
    assert "checking…" in page.words
    assert "Download report" not in page.words
    assert "Looking" in centre.get("/check").words or "Running" in centre.get("/check").words


def test_a_check_that_ends_early_says_why_and_passes_nothing_on(centre, found):
    found(None)
    path = begun(centre)
    run = run_of(centre, path)
    run.progress(check(row(PASSED[0], looking=Stage.EHLO)))
    run.end(None, f"anchors: gone {MARKUP}")
    page = centre.get(path)
    assert f"The check did not finish. anchors: gone {MARKUP}" in page.words
    assert "checking…" not in page.words
    assert "<script>" not in page.text.partition("<main")[2]
    assert "No action is needed" not in page.words
    assert "Download report" not in page.words
    refused = centre.get(f"{path}/report")
    assert (refused.status, "did not finish" in refused.words) == (409, True)
    assert "Incomplete" in centre.get("/check").words


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Refusal(RefusalKind.INPUT, "anchors: no file"), "anchors: no file"),
        (ValueError("secret=hunter2"), "Something went wrong"),
    ],
)
def test_what_fails_is_told_without_what_is_none_of_their_business(centre, found, error, told):
    found(error)
    page = centre.get(begun(centre))
    assert (page.status, told in page.words) == (200, True)
    assert "hunter2" not in page.text


def test_too_many_at_once_wait_in_their_form(centre, found):
    found(None)
    begun(centre, "a.example")
    begun(centre, "b.example")
    answer = centre.post("/check", target="c.example")
    assert answer.status == 429
    assert "under way" in answer.words
    assert answer.value("target") == "c.example"
    begun(centre, "c.example", "reader")


# who sees it


def test_others_of_the_gateway_see_it_and_a_tenant_does_not(centre, found):
    path = begun(centre)
    assert centre.get(path, "reader").status == 200
    for address in (path, f"{path}/report", f"{path}/events", f"{path}?format=json"):
        assert centre.get(address, "tenant").status == 404
    assert "b.example" not in centre.get("/check", "tenant").words
    own = begun(centre, "c.example", "tenant")
    assert centre.get(own, "tenant").status == 200
    assert centre.get(own).status == 200


@pytest.mark.parametrize("run", ["x", "%00", "9" * 3000, "%2e%2e"])
def test_a_run_that_there_is_not(centre, run):
    for rest in ("", "/report", "/events"):
        answer = centre.get(f"/check/run/{run}{rest}")
        assert answer.status == 404


def test_a_token_that_may_not_read_checks_nobody(centre, found):
    centre.tokens["blind"] = centre.accounts.add_token("blind", [Scope.QUEUE], actor=Actor("", ""))
    assert centre.post("/check", "blind", target="b.example").status == 403
    assert centre.gateway.kept(Jobs).recent(OWNER, CheckTarget) == []


def test_a_tenant_is_not_sent_to_ports_that_are_none_of_mail(centre, found):
    for target in ("127.0.0.1:22", "mx.b.example:8443", "127.0.0.1:1"):
        answer = centre.post("/check/host", "tenant", target=target)
        assert answer.status == 422, "contoso's smart host, too"
        assert "is none of mail" in answer.words
    assert begun(centre, "127.0.0.1:1", "owner", "/check/host")


# what is passed on


@pytest.mark.parametrize(
    ("target", "path", "name"),
    [
        ("b.example", "/check", "check-b.example.html"),
        ("bücher.example", "/check", "check-xn--bcher-kva.example.html"),
        ("[2001:db8::1]:25", "/check/host", "check-2001-db8--1.html"),
    ],
)
def test_the_report_is_one_file_that_loads_nothing(centre, found, target, path, name):
    answer = centre.get(f"{begun(centre, target, path=path)}/report")
    assert answer.status == 200
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert "Checked from mx.gate.example on 2026-11-24 14:00:00Z" in answer.words
    assert not re.search(r"(?:src|href)=|@import|url\(", answer.text)


def letter(page):
    (address,) = re.findall(r'href="(mailto:[^"]*)"', page.text)
    parts = urlsplit(html.unescape(address))
    return unquote(parts.path), parse_qs(parts.query)


def test_a_letter_to_the_postmaster_has_what_is_theirs(centre, found):
    theirs = Finding(Stage.TLS, Mark.FAIL, "no STARTTLS & more", "", "They must offer it?subject=x", "none")
    found(check(row(PASSED[0], theirs)))
    to, query = letter(centre.get(begun(centre)))
    assert to == "postmaster@b.example"
    assert set(query) == {"subject", "body"}, "what was found adds no field"
    assert query["subject"] == ["TLS of b.example"]
    (body,) = query["body"]
    assert body.startswith("Dear postmaster of b.example,")
    assert body.endswith("The full report is attached.")


def test_a_letter_is_of_one_language(centre, found):
    theirs = Finding(Stage.TLS, Mark.FAIL, "not offered after STARTTLS", "", "switch on STARTTLS", "none")
    found(check(row(PASSED[0], theirs)))
    _, query = letter(centre.get(begun(centre), accept_language="sv"))
    (body,) = query["body"]
    assert "* erbjuds inte efter STARTTLS (mx.b.example (192.0.2.1:25))\n  slå på STARTTLS\n" in body


def test_a_letter_is_no_longer_than_a_link_may_be(centre, found):
    long = [Finding(Stage.TLS, Mark.FAIL, f"{number} {'ü' * 500}", "", "They must.", "x") for number in range(40)]
    found(check(row(PASSED[0], *long)))
    page = centre.get(begun(centre))
    (address,) = re.findall(r'href="(mailto:[^"]*)"', page.text)
    assert len(address) < 12_000
    _, query = letter(page)
    (body,) = query["body"]
    assert len(body) < 1850
    assert body.endswith("\n\nThe full report is attached."), "what was found is cut, and the end is not"


def test_to_a_host_no_letter_is_written(centre, found):
    found(check(row(*PASSED), target="mx.b.example", kind="host"))
    page = centre.get(begun(centre, "mx.b.example", path="/check/host"))
    assert "mailto:" not in page.text
    assert "Download report" in page.words


def test_a_stream_ends_with_the_check(centre, found):
    text = centre.get(f"{begun(centre)}/events").text
    assert text.endswith("event: done\ndata: \n\n")
    assert "b.example" in text or "mx.b.example" in text
