"""The pages of the reports, from numbers that are given: no trace is counted, so that nothing is waited for."""

from __future__ import annotations

import csv
import html
import io
import re
import time
from contextlib import closing
from urllib.parse import parse_qsl, urlsplit

import pytest

from gatepost.analysis.reports.pictures import Blocked, PictureCounter, Sums
from gatepost.analysis.reports.tls import Direction, Ready
from gatepost.manage.pages.report_tables import TABLES
from gatepost.manage.use_cases.jobs import BackgroundResult
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.reports import ReportCounts
from gatepost.store.evidence_files import evidence_directory
from gatepost.store.interface import StoreFailure
from gatepost.values import replace

from .conftest import MARKUP, Centre

PAGES = ("", "/incoming", "/partners", "/key-exchange", "/connectors", "/domains", "/blocked", "/print")
CLEAR = {"achieved": "none", "tls_version": "", "tls_group": "", "suite": ""}
IN = {"event": "RECEIVE", "direction": "incoming", "achieved": "encrypted"}
DOMAIN = "lab.example"


def day(back=0):
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() - back * 86_400))


class Counts:
    """In place of what counts the trace: the same kinds of rows on the last of the days that are asked for."""

    def __init__(self, kinds=(), change=lambda pictures: pictures):
        self.kinds, self.change, self.asked, self.error, self.known = kinds, change, [], None, True

    def of(self, user, question, wait):
        self.asked.append((question, wait))
        if self.error:
            raise self.error
        if not self.known:
            return None
        counter = PictureCounter(question.wanted, question.first, question.last)
        counter.add(question.last, dict(self.kinds))
        return BackgroundResult(self.change(counter.pictures()), time.time(), renewing=False)


@pytest.fixture(scope="module")
def centre(tmp_path_factory):
    """One for all tests: they only look."""
    with closing(Centre(tmp_path_factory.mktemp("reports"))) as made:
        yield made


@pytest.fixture
def counted(whole_day, centre):
    """counted({kind: rows}, change): a centre whose trace was counted so."""

    def count(kinds=(), change=lambda pictures: pictures):
        centre.gateway.instances._made[ReportCounts] = Counts(dict(kinds), change)
        return centre

    return count


@pytest.fixture
def busy(counted, hop_kind):
    """Mail both ways, of two organizations, with a partner whose name is not a domain."""
    other = {"organization": "fabrikam", "partner": "only.fabrikam.example"}
    return counted(
        {
            hop_kind(): 10**12,
            hop_kind(**CLEAR): 1,
            hop_kind(**other): 5,
            hop_kind(partner=MARKUP, suite=MARKUP, tls_group=MARKUP, connector=MARKUP): 3,
            hop_kind(partner=MARKUP, event="DEFER", result_type=MARKUP, sources=f'["{"<b>"}"]'): 2,
            hop_kind(**IN, suite=MARKUP): 7,
        }
    )


@pytest.mark.parametrize("page", PAGES)
def test_without_mail_every_page_is_there(counted, page):
    answer = counted().get(f"/reports{page}")
    assert answer.status == 200
    assert len(answer.text) < 100_000


@pytest.mark.parametrize("page", PAGES)
def test_names_of_strangers_are_text(busy, page):
    answer = busy.get(f"/reports{page}")
    assert answer.status == 200
    assert "<script>alert" not in answer.text
    assert len(answer.text) < 100_000


def test_huge_numbers_and_one_in_clear(busy):
    words = busy.get("/reports").words
    assert "1,000,000,000,009" in words or "1,000,000,000,008" in words
    assert "protection=cleartext" in busy.get("/reports").text


@pytest.mark.parametrize("page", PAGES)
def test_a_tenant_has_its_own_counted_alone(busy, page):
    answer = busy.get(f"/reports{page}", "tenant")
    assert answer.status == 200
    assert "lab.example" not in answer.text
    ((question, _),) = busy.gateway.kept(ReportCounts).asked
    assert question.wanted.organizations == frozenset({"fabrikam"})
    assert busy.get(f"/reports{page}?organization=contoso", "tenant").status == 404
    assert len(busy.gateway.kept(ReportCounts).asked) == 1, "nothing is counted for what is not there"


def test_days_and_organization_are_what_is_counted(busy):
    busy.get(f"/reports?since={day(3)}&until={day(1)}&organization=contoso")
    ((question, wait),) = busy.gateway.kept(ReportCounts).asked
    assert (question.first, question.last, question.wanted.organization) == (day(3), day(1), "contoso")
    assert wait < 0.1, "a page does not wait for a count"


@pytest.mark.parametrize(
    "query",
    ["since=x", "since=2026-02-30", "since=2026-03-02&until=2026-03-01", "since=1970-01-01", "until=9999-12-31"],
)
def test_days_that_are_none(busy, query):
    for page in PAGES:
        assert busy.get(f"/reports{page}?{query}").status == 422
    assert busy.gateway.kept(ReportCounts).asked == []


def test_the_longest_time_there_is(busy):
    for page in PAGES:
        assert busy.get(f"/reports{page}?since={day(399)}&until={day()}").status == 200
    assert busy.get("/reports?since=0001-01-01&until=0001-01-02").status == 200
    assert busy.get("/reports?since=9998-12-31&until=9998-12-31").status == 200


def test_while_it_is_counted_a_page_says_so_and_asks_again(busy):
    busy.gateway.kept(ReportCounts).known = False
    for page in PAGES:
        answer = busy.get(f"/reports{page}")
        assert answer.status == 200
        assert "hx-get" in answer.text
        assert "lab.example" not in answer.text
    refused = busy.get("/reports?table=partners&format=csv")
    assert (refused.status, "still counting" in refused.words) == (503, True)
    assert busy.gateway.kept(ReportCounts).asked[-1][1] > 10, "a file waits"


def test_a_trace_that_cannot_be_counted(busy):
    busy.gateway.kept(ReportCounts).error = Refusal(RefusalKind.UNREADABLE, "The message trace could not be counted.")
    for page in PAGES:
        assert busy.get(f"/reports{page}").status == 503
    assert busy.get("/reports?table=partners&format=json").status == 503


# files


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_a_file(busy, name):
    records = busy.get(f"/reports?table={name}&format=json").json
    answer = busy.get(f"/reports?table={name}&format=csv")
    assert answer.headers["content-disposition"] == f'attachment; filename="gatepost-{name}.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == len(records)
    assert [list(row) for row in rows] == [list(record) for record in records]


def test_a_file_for_a_spreadsheet_computes_nothing(counted, hop_kind):
    centre = counted({hop_kind(partner="=1+1"): 1})
    (row,) = csv.DictReader(io.StringIO(centre.get("/reports?table=partners&format=csv").text))
    assert row["partner"] == "'=1+1"


@pytest.mark.parametrize(
    ("query", "status"), [("table=x&format=csv", 404), ("format=csv", 404), ("table=ready&format=x", 422)]
)
def test_a_file_that_there_is_not(busy, query, status):
    answer = busy.get(f"/reports?{query}")
    assert answer.status == status
    assert any(text in answer.words for text in ("Tables:", "choose csv or json"))


# the ways from a number to the trace


def to_trace(centre, path, who="owner"):
    answer = centre.get(f"/reports/t/{path}", who)
    if answer.status != 303:
        return answer.status
    parts = urlsplit(answer.headers["location"])
    return parts.path, dict(parse_qsl(parts.query))


def test_a_short_address_leads_to_the_trace(centre):
    assert to_trace(centre, "-/lab.example/o20261124") == (
        "/trace", {"since": "2026-11-24T00:00Z", "until": "2026-11-25T00:00Z", "recipient": "@lab.example"}
    )  # fmt: skip
    assert to_trace(centre, "contoso/lab.example/i20261124.7") == (
        "/trace",
        {
            "since": "2026-11-24T00:00Z",
            "until": "2026-12-01T00:00Z",
            "organization": "contoso",
            "sender": "@lab.example",
        },
    )
    assert to_trace(centre, "-/x%26y%3D1/o20261124")[1]["recipient"] == "@x&y=1", "a name adds no filter"


@pytest.mark.parametrize(
    "day",
    [
        "x20261124", "o", "o2026", "o20260230", "o20261124.x", "o20261124.0", "o20261124.-3", "o99991231",
        "o99981231.9", "%00", f"o{'9' * 5000}", f"o20261124.{'9' * 5000}", "o20261124.7.7", "o20261124.1e3",
    ],
)  # fmt: skip
def test_a_day_that_is_none_is_not_there(centre, day):
    assert to_trace(centre, f"-/lab.example/{day}") == 404


def test_a_day_leads_to_no_more_than_a_report_has(centre):
    _, query = to_trace(centre, "-/lab.example/o20240101.9999")
    assert (query["since"], query["until"]) == ("2024-01-01T00:00Z", "2025-02-04T00:00Z")


def test_cells_lead_there_where_the_name_is_one(counted, hop_kind):
    names = ("lab.example", "xn--bcher-kva.example", "under_score.example", "..", "", "a" * 41, "<b>", "a/../b")
    centre = counted({hop_kind(partner=name): 1 for name in names})
    text = centre.get(f"/reports/domains?since={day(1)}").text
    code = day().replace("-", "")
    assert f'href="t/-/lab.example/o{code}"' in text
    assert text.count('href="t/') == 2
    assert 'href="t/-/xn--bcher-kva.example/' in text


def test_the_way_is_one_of_two(counted, hop_kind):
    centre = counted({hop_kind(**IN, partner="in.example"): 1, hop_kind(partner="out.example"): 1})
    for way, shown, hidden in (("inbound", "in.", "out."), ("outbound", "out.", "in."), ("sideways", "out.", "in.")):
        text = centre.get(f"/reports/domains?way={way}").text
        assert f"@{shown}example" in text.replace("%40", "@"), way
        assert f"@{hidden}example" not in text.replace("%40", "@"), way


# partners that could be forced


def ready_(partner, demand, *names):
    return Ready(partner, partner == "i.example", 12, demand, names)


READY = [
    (
        ready_("i.example", "restrict_domains_to_certificate", "mx.i.example"),
        {"scenario": "from-partner", "sender_domains": "i.example", "require_tls": "on",
         "restrict_domains_to_certificate": "on", "tls_sender_certificate_name": "mx.i.example"},
    ),
    (
        ready_("i.example", "require_tls"),
        {"scenario": "from-partner", "sender_domains": "i.example", "require_tls": "on"},
    ),
    (
        ready_("o.example", "domain-validation", "a.o.example", "b.o.example"),
        {"scenario": "to-partner", "use": "domains", "recipient_domains": "o.example", "routing": "mx",
         "tls_settings": "domain-validation", "tls_domain": "*.o.example"},
    ),
    (
        ready_("o.example", "domain-validation", "only.o.example"),
        {"scenario": "to-partner", "use": "domains", "recipient_domains": "o.example", "routing": "mx",
         "tls_settings": "domain-validation", "tls_domain": "only.o.example"},
    ),
    *(
        (
            ready_("o.example", "domain-validation", *names),
            {"scenario": "to-partner", "use": "domains", "recipient_domains": "o.example", "routing": "mx",
             "tls_settings": "domain-validation"},
        )
        for names in ((), ("a.example", "b.example"), ("a.o.example", "b.p.example"), ("localhost", "other"))
    ),
]  # fmt: skip


@pytest.mark.parametrize(("ready", "answers"), READY)
def test_the_wizard_begins_with_what_is_known(counted, hop_kind, ready, answers):
    centre = counted({hop_kind(): 1}, lambda pictures: replace(pictures, ready=(ready,)))
    text = centre.get("/reports/partners?organization=contoso").text
    (href,) = re.findall(r'href="(/connectors/new\?step[^"]*)"', text)
    asked = dict(parse_qsl(urlsplit(html.unescape(href)).query))
    assert asked == {"step": "name", "organization": "contoso", "name": ready.partner, **answers}
    assert centre.get(html.unescape(href)).status == 200


def test_very_many_make_no_very_large_page(counted, hop_kind):
    names = [f"mail-{number}.partner.example" for number in range(1000)]
    many = tuple(Sums(name, Direction.OUTBOUND, (1, 1, 1, 1, 1), 1, 1, (("a", 1),)) for name in names)
    blocked = tuple(Blocked(name, ("dane",), 1, 1, (("a", 1),) * 9, day()) for name in names)
    ready = tuple(
        Ready(name, inbound=False, messages=10, demand="domain-validation", names=(name,) * 5) for name in names
    )
    change = {"partners": many, "connectors": many, "blocked": blocked, "ready": ready}
    change["never_tls"] = tuple((name, 1) for name in names)
    centre = counted({hop_kind(): 1}, lambda pictures: replace(pictures, **change))
    for page in ("", "/partners", "/connectors", "/blocked"):
        assert len(centre.get(f"/reports{page}").text) < 100_000, page
    assert len(centre.get("/reports?table=blocked&format=json").json) == 1000


# blocked, live


@pytest.fixture
def waiting(tmp_path, queued, hop_kind):
    queued(
        tmp_path / "data",
        {"contoso": ["a@lab.example", "b@lab.example"]},
        {"contoso": ["a@lab.example"], "fabrikam": ["c@other.example"]},
    )
    blocked = tuple(
        Blocked(name, ("dane",), 9, 0, (("a", 9),), day()) for name in ("lab.example", "other.example", "gone.example")
    )
    kinds = {hop_kind(organization=name): 1 for name in ("contoso", "fabrikam")}
    counts = Counts(kinds, lambda pictures: replace(pictures, blocked=blocked))
    with closing(Centre(tmp_path)) as made:
        made.gateway.instances._made[ReportCounts] = counts
        yield made


def waits(centre, who="owner", query=""):
    """What the table says of each domain."""
    text = centre.get(f"/reports/blocked{query}", who).text
    rows = re.findall(r'<tr><th scope="row" data-label="Domain">.*?</tr>', text, re.DOTALL)
    cells = [re.search(r'data-label="Waiting now">(?:<a[^>]*>)?(\d+)', row)[1] for row in rows]
    return list(map(int, cells))


def test_how_much_waits_now_is_said_of_each_domain(waiting):
    assert waits(waiting) == [2, 1, 0]
    assert waits(waiting, query="?organization=contoso") == [2, 1, 0], "of whose messages, as on the page of the queue"
    assert waits(waiting, query="?organization=fabrikam") == [0, 0, 0]
    assert waits(waiting, "tenant") == [0, 1, 0]
    assert "every 10s" in waiting.get("/reports/blocked").text


def test_a_queue_that_cannot_be_read_is_no_queue_without_mail(waiting, monkeypatch):
    def broken(*_):
        raise Refusal(RefusalKind.UNREADABLE, str(StoreFailure("the queue is damaged")))

    monkeypatch.setattr("gatepost.manage.use_cases.queue.entries", broken)
    assert waiting.get("/reports/blocked").status == 503


# on paper


def test_on_paper_it_says_who_made_it(busy):
    page = busy.get("/reports/print", "reader")
    assert "mx.gate.example" in page.words
    assert "<script" not in page.text.partition("<main")[2]


def test_keys_of_the_evidence_are_for_who_sees_the_gateway(busy, logs):
    logs.keep_key(evidence_directory(busy.gateway.data))
    assert logs.signer.key in busy.get("/reports/print", "reader").words
    assert logs.signer.key not in busy.get("/reports/print", "tenant").text
