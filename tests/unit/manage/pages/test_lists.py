"""What every list has in common, as templates declare it."""

from __future__ import annotations

import csv
import io
import re
import time
from contextlib import closing

import pytest

from gatepost.manage.access.principal import Role
from gatepost.manage.access.records import Actor
from gatepost.manage.pages.rendering import environment
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.resources import apply_document
from gatepost.store.sending_usage import SenderUsage
from gatepost.times import day_text

from .conftest import BASE, OWNER, Person, certificate

_TABLE = re.compile(r"\{% call ui\.table\(.*?%\}", re.DOTALL)
# Tables that are no lists: facts of one thing, a few rows in a fixed order, or the numbers of a chart.
FACTS = {
    "accounts/_fields.html", "certificates/changeover.html", "certificates/parts.html", "certificates/presented.html",
    "certificates/table.html", "connectors/connector.html", "drills/drill.html", "explain/chapter.html",
    "explain/explain.html", "gallery.html", "history/revert.html", "overview/flows.html", "overview/overview.html",
    "partner/form.html", "reports/parts.html", "resources/edit.html", "resources/effects.html",
    "resources/fields.html", "trace/message.html",
}  # fmt: skip
_FAULTS = "reports/evidence.html", "Faults"  # what is wrong with the evidence log, the worst first


def sources():
    for name in environment().list_templates():
        source, _path, _is_current = environment().loader.get_source(environment(), name)
        for table in _TABLE.findall(source):
            yield name, table, source


def test_each_table_is_a_list_with_all_its_controls_or_known_to_be_none():
    lists = [item for item in sources() if item[0] not in FACTS and (item[0], _caption(item[1])) != _FAULTS]
    assert len(lists) > 25
    for name, table, source in lists:
        caption = name, _caption(table)
        assert "sort=" in table, caption
        if 'kind="heat"' in table:  # its columns are the days of a period
            continue
        assert "choosable=true" in table, caption
        assert "stacked=true" in table, caption
        assert re.search(r"ui\.sort(er|_field)\(", source), f"{caption}: headings are out of sight on a telephone"
    assert {name for name, table, _source in sources() if "sort=" not in table} <= FACTS | {_FAULTS[0]}


def _caption(table):
    return re.search(r'_\("([^"]*)"', table)[1] if '_("' in table else ""


def test_rows_that_can_be_ticked_can_be_ticked_all_at_once():
    ticked = {name: source for name, _table, source in sources() if 'class="tick"' in source}
    assert ticked.keys() == {"connectors/list.html", "quarantine/list.html", "queue/list.html"}
    assert [name for name, source in ticked.items() if "ui.bulk(" not in source] == []


def test_forms_that_sort_have_names_of_their_own(filled):
    for path in [*SORTED, "/reports/partners", "/reports/tls-rpt"]:
        identities = re.findall(r' id="([^"]+)"', filled.get(path).text)
        assert sorted(identities) == sorted(set(identities)), path


_HEADING = re.compile(r'<a class="sort" href="[^"]*sort=-?([a-z0-9_-]+)')
_ROW = re.compile(r'<th scope="row"[^>]*>(.*?)</th>', re.DOTALL)
_LOADED_LATER = {"/dkim": "look=yes"}
_OPENS_WITH = ("destination", "name", "domain", "sender")  # the column of a row's heading, of most lists
SORTED = {
    "/domains": {"name", "type", "status", "mta-sts"},
    "/mailboxes": {"name", "delivery", "aliases", "forwards-to"},
    "/rules": {"name", "status", "priority", "conditions", "actions"},
    "/organizations": {
        "name", "display_name", "domains", "mailboxes", "inbound_connectors", "outbound_connectors", "rules",
    },
    "/users": {"name", "role", "status", "login", "last"},
    "/tokens": {"name", "by", "expires", "last"},
    "/certificates": {"name", "state", "until", "issuer", "key", "sha256"},
    "/certificates/requests": {"id", "purpose", "names", "key", "created", "file"},
    "/certificates/history": {"time", "user", "object", "names", "change", "version"},
    "/dkim": {"domain", "selector", "state", "algorithm", "signs", "private"},
    "/domains/publish": {"domain", "organization", "mta-sts", "keys"},
    "/limits": {"sender", "messages", "recipients", "share"},
    "/audit": {"time", "user", "address", "action", "subject", "organization", "outcome"},
    "/history": {"version", "time", "user", "organization", "change", "reason"},
    "/quarantine": {"time", "sender", "subject", "by", "expires"},
    "/queue/destinations": {"destination", "count", "active", "deferred", "held", "oldest", "last_error"},
}  # fmt: skip


@pytest.fixture
def filled(sealing, queued, quarantined):
    """A centre with at least two rows in each list, and its owner."""
    centre = sealing
    rules = [{"name": name, "senders": ["*"], "require_tls": True} for name in ("Beta", "alpha")]
    boxes = [{"address": f"{name}@contoso.example", "recipients_per_day": 9} for name in ("zoe", "Amy")]
    domains = [*BASE["contoso"]["accepted_domain"], {"name": "aaa.example"}]
    changed = BASE["contoso"] | {"mail_flow_rule": rules, "mailbox": boxes, "accepted_domain": domains}
    apply_document(centre.gateway, OWNER, {"organization": BASE | {"contoso": changed}}, ChangeOptions("root"))
    for name in ("b.example", "a.example"):
        certificate(centre, name, current=True)
    queued(centre.gateway.data, {"contoso": ["a@one.example"]}, {"contoso": ["b@two.example", "c@two.example"]})
    quarantined(centre.gateway.data, *({"contoso": [f"{name}@contoso.example"], "subject": name} for name in "ba"))
    for domain in ("contoso.example", "aaa.example"):
        assert centre.post("/dkim/new", domain=domain, selector="s1", algorithm="ed25519-sha256").status == 303
        assert centre.post("/certificates/requests/new", names=f"mx.{domain}", key="ec-p256").status == 303
    with closing(centre.gateway.storage.sending_usage()) as table:
        day = day_text(time.time())
        table.add([SenderUsage(day, "contoso", f"user {box['address']}", messages=1, recipients=2) for box in boxes])
    centre.accounts.add_user("tim", Role.AUDITOR, "correct horse battery", actor=Actor("root", ""))
    owner = centre.accounts.add_user("ann", Role.OWNER, "correct horse battery", actor=Actor("root", ""))
    return Person(centre, centre.accounts.start_session(owner, "127.0.0.1", "Firefox", proved=time.time()))


def test_a_list_is_sorted_by_its_headings(filled):
    for path, keys in SORTED.items():
        assert set(_HEADING.findall(filled.get(path).text)) == keys, path
        for key in keys:
            there, back = filled.get(f"{path}?sort={key}"), filled.get(f"{path}?sort=-{key}")
            assert (there.status, back.status) == (200, 200), (path, key)
            assert 'aria-sort="ascending"' in there.text
            assert 'aria-sort="descending"' in back.text
            assert sorted(rows(there)) == sorted(rows(back)), (path, key)
        first = next((name for name in _OPENS_WITH if name in keys), "")
        if not first or path == "/quarantine":
            continue
        names, reverse = rows(filled.get(f"{path}?sort={first}")), rows(filled.get(f"{path}?sort=-{first}"))
        assert len(names) > 1, path
        assert names == sorted(names, key=str.casefold) == reverse[::-1], path
        assert filled.get(f"{path}?sort=nonsense").status == 200


def test_times_of_csv_are_rfc_3339_in_each_list(filled):
    """A column of times that `exports.TIMES` does not name would be seconds since 1970."""
    times = set()
    for path in [*SORTED, "/queue", "/trace", "/alarms", "/connectors", "/certificates/acme"]:
        for row in csv.DictReader(io.StringIO(filled.get(f"{path}?format=csv").text.removeprefix("\ufeff"))):
            assert {name for name, text in row.items() if re.fullmatch(r"\d{10}(\.\d+)?", text)} == set(), path
            times |= {(path, name) for name, text in row.items() if re.fullmatch(r"\d{4}-.*T.*\d{3}Z", text)}
    assert {("/audit", "at"), ("/queue", "received"), ("/tokens", "created"), ("/certificates", "not_after")} <= times


def rows(answer):
    """What each row of the list begins with, without how long ago that was."""
    texts = [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in _ROW.findall(answer.text)]
    return [re.sub(r" (\d+ \w+ ago|now)$", "", text) for text in texts]
