from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.paging import ListSelection
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.use_cases.resource_views import (
    DomainRow,
    MailboxSelection,
    domain_rows,
    mailbox_rows,
    organization_rows,
)
from gatepost.manage.use_cases.resources import ALL, apply_document, seen

OWNER = Principal("ann", frozenset({Scope.OWNER}))
TENANT = Principal("liz", frozenset({Scope.READ}), frozenset({"fabrikam"}))
BASE = {
    "contoso": {
        "display_name": "Contoso",
        "accepted_domain": [{"name": "contoso.example"}, {"name": "contoso.test", "type": "internal-relay"}],
        "mailbox": [
            {"address": "Ann@contoso.example", "aliases": ["a@contoso.example"]},
            {"address": "b@contoso.example"},
        ],
    },
    "fabrikam": {"accepted_domain": [{"name": "fabrikam.example"}], "mailbox": [{"address": "c@fabrikam.example"}]},
}


@pytest.fixture
def base(gateway):
    apply_document(gateway, OWNER, {"organization": BASE}, ChangeOptions("ann"))
    return gateway


def test_organizations_and_how_much_they_have(base):
    page = organization_rows(seen(base, OWNER))
    assert page.total == 2
    assert page.rows[0] == ("contoso", "Contoso", 2, 2, 0, 0, 0, 0)
    assert [row.name for row in organization_rows(seen(base, TENANT)).rows] == ["fabrikam"]
    assert [row.name for row in organization_rows(seen(base, OWNER), ListSelection(q="FAB")).rows] == ["fabrikam"]


def test_domains_and_who_is_in_them(base):
    assert domain_rows(seen(base, OWNER)).rows == [
        DomainRow("contoso.example", "authoritative", "contoso", 2, "verified"),
        DomainRow("contoso.test", "internal-relay", "contoso", 0, "verified"),
        DomainRow("fabrikam.example", "authoritative", "fabrikam", 1, "verified"),
    ]
    assert domain_rows(seen(base, OWNER), ListSelection(limit=1, offset=2)).rows == [
        DomainRow("fabrikam.example", "authoritative", "fabrikam", 1, "verified")
    ]
    assert domain_rows(seen(base, TENANT)).total == 1
    with pytest.raises(Refusal, match="there is no organization 'contoso'"):
        domain_rows(seen(base, TENANT), ListSelection("contoso"))


SELECTIONS = [
    (OWNER, ALL, ["Ann@contoso.example", "b@contoso.example", "c@fabrikam.example"]),
    (OWNER, MailboxSelection(domain="Contoso.example"), ["Ann@contoso.example", "b@contoso.example"]),
    (OWNER, MailboxSelection(domain="contoso.example", q="ann"), ["Ann@contoso.example"]),
    (OWNER, MailboxSelection("fabrikam"), ["c@fabrikam.example"]),
    (TENANT, MailboxSelection(), ["c@fabrikam.example"]),
    (TENANT, MailboxSelection(domain="contoso.example"), []),
]


@pytest.mark.parametrize(("who", "selection", "addresses"), SELECTIONS)
def test_mailboxes_that_are_wanted(base, who, selection, addresses):
    assert [row.address for row in mailbox_rows(seen(base, who), selection).rows] == addresses


def test_a_mailbox_says_where_its_mail_goes(base):
    row = mailbox_rows(seen(base, OWNER)).rows[0]
    assert (row.delivery, row.aliases, row.forwarding_smtp_address) == ("maildir", ("a@contoso.example",), "")
