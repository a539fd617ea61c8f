from __future__ import annotations

import pytest

from gatepost.manage.pages.resource_kinds import KIND_PAGES
from gatepost.manage.pages.resource_paths import FOLDERS
from gatepost.manage.use_cases.name_lookup import DOMAIN, HOOK, KINDS, MAILBOX, OUTBOUND, RULE, Part, status_of
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.record_base import keys

PAGES = {page.kind.key: page for page in KIND_PAGES}


def part(kind, **fields):
    """A part of contoso, as it is parsed."""
    more = {}
    if kind is RULE:
        more["outbound_connector"] = [{"name": "out", "recipient_domains": ["b.example"]}]
    document = {"accepted_domain": [{"name": "contoso.example"}], **more}
    document[kind.key] = [*document.get(kind.key, []), fields]
    organization = parse({"organization": {"contoso": document}}).organizations[0]
    return Part(kind, organization, kind.of(organization)[-1])


def cells(one):
    return {heading: cell(one) for heading, cell in PAGES[one.kind.key].cells}


def test_every_kind_with_a_folder_has_a_page():
    assert set(PAGES) == set(FOLDERS) - {"dkim_key"}, "whose pages are admin.dkim's"
    assert set(PAGES) <= set(KINDS)


@pytest.mark.parametrize("page", KIND_PAGES, ids=lambda page: page.kind.key)
def test_a_page_speaks_of_fields_that_there_are(page):
    known = keys(page.kind.model)
    assert set(page.first) <= set(known)
    assert page.columns == ("organization", *known)
    assert page.has_status is ("enabled" in known)
    article = "an" if page.kind.label[0] in "aeioAEIO" else "a"
    assert page.add == f"Add {article} {page.kind.label}"
    assert page.none == f"No {page.kind.label} yet"
    assert page.saved == f"The {page.kind.label}"
    assert page.folder == FOLDERS[page.kind.key]
    assert f"/{page.folder}" in [path for _, path in page.tabs]


# fields of a mail flow rule -> which mail, what happens
RULES = [
    ({}, "all mail", "stop"),
    ({"senders": ["a.example"]}, "from a.example", "stop"),
    ({"recipients": ["a.example", "b.example", "c.example", "d.example", "e.example"]}, None, "stop"),
    ({"header_name": "X-Secret"}, "with X-Secret", "stop"),
    ({"header_name": "X", "header_contains": ["yes", "1"]}, "with X, that contains yes, 1", "stop"),
    ({"route_via_connector": "out"}, "all mail", "route via out, stop"),
    ({"require_tls": True}, "all mail", "require TLS, stop"),
]


@pytest.mark.parametrize(("fields", "mail", "happens"), RULES)
def test_what_a_rule_does_in_words(fields, mail, happens):
    wanted = {"require_tls": True} if not {"require_tls", "route_via_connector"} & set(fields) else {}
    found = cells(part(RULE, name="r", stop_rule_processing=True, **fields, **wanted))
    expected = happens if not wanted else happens.replace("stop", "require TLS, stop")
    assert found["Actions"] == expected
    assert found["Conditions"] == (mail or "to a.example, b.example, c.example and 2 more")


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, ""),
        ({"forwarding_smtp_address": "x@any.test"}, "x@any.test"),
        (
            {"forwarding_smtp_address": "x@any.test", "deliver_to_mailbox_and_forward": True},
            "x@any.test and kept",
        ),
    ],
)
def test_where_a_mailbox_sends_its_mail(fields, shown):
    assert cells(part(MAILBOX, address="ann@contoso.example", **fields))["Forwards to"] == shown


def test_cells_are_text():
    for one in (
        part(DOMAIN, name="b.example"),
        part(MAILBOX, address="ann@contoso.example", aliases=["a@contoso.example", "b@contoso.example"]),
        part(HOOK, name="scan", type="clamav", address="127.0.0.1:3310"),
    ):
        assert {type(text) for text in cells(one).values()} == {str}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, "enabled"),
        ({"mode": "rehearse"}, "rehearsal"),
        ({"enabled": False}, "disabled"),
        ({"enabled": False, "mode": "rehearse"}, "disabled"),
    ],
)
def test_a_status(fields, status):
    assert status_of(part(OUTBOUND, name="o", recipient_domains=["b.example"], **fields).record) == status


def test_rows_are_sorted_by_name_by_status_and_by_each_column():
    for one, statuses in (
        (part(MAILBOX, address="ann@contoso.example"), set()),
        (part(HOOK, name="scan", type="clamav", address="127.0.0.1:3310", mode="rehearse"), {"rehearsal"}),
    ):
        page = PAGES[one.kind.key]
        sorts = page.sorts
        assert sorts["name"](one) == one.name
        assert {sorts[key](one) for key in sorts.keys() & {"status"}} == statuses
        assert {key: sorts[key](one) for key in sorts.keys() - {"name", "status"}} == {
            heading.lower().replace(" ", "-"): cell(one) for heading, cell in page.cells
        }
