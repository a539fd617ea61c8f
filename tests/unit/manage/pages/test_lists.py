"""What every list has in common, as templates declare it."""

from __future__ import annotations

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

LISTS = sorted(
    name
    for name in environment().list_templates()
    if name.endswith(("/list.html", "domains/index.html", "queue/destinations.html", "trace/search.html"))
    or name in {"accounts/users.html", "accounts/tokens.html", "accounts/audit.html", "certificates/history.html"}
)


@pytest.mark.parametrize("name", LISTS)
def test_the_columns_of_a_list_may_be_chosen(name):
    source, _path, _is_current = environment().loader.get_source(environment(), name)
    tables = re.findall(r"\{% call ui\.table\(.*?%\}", source, re.DOTALL)
    assert tables
    assert [table for table in tables if "choosable=true" not in table] == []


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


def rows(answer):
    """What each row of the list begins with."""
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in _ROW.findall(answer.text)]
