from __future__ import annotations

import pytest

from gatepost.manage.use_cases.name_lookup import (
    DOMAIN,
    MAILBOX,
    RULE,
    choose_connector,
    choose_organization,
    choose_part,
    chosen_organizations,
    instead,
    one_of,
)
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.policy.connectors.model import parse

RESOURCES = parse(
    {
        "organization": {
            "contoso": {
                "accepted_domain": [{"name": "contoso.example"}],
                "inbound_connector": [{"name": "Bank", "sender_domains": ["bank.example"]}],
                "outbound_connector": [
                    {"name": "bank", "recipient_domains": ["bank.example"]},
                    {"name": "lab", "recipient_domains": ["lab.example"]},
                ],
            },
            "fabrikam": {"outbound_connector": [{"name": "lab", "recipient_domains": ["lab.example"]}]},
            "empty": {},
        }
    }
)
FOUND = [
    ("bank", "", "inbound", "inbound connector 'Bank' of contoso"),
    ("BANK", "contoso", "outbound", "outbound connector 'bank' of contoso"),
    ("lab", "fabrikam", None, "outbound connector 'lab' of fabrikam"),
]
REFUSED = [
    (
        "bank",
        "",
        None,
        "'bank' could be each of: inbound connector 'Bank' of contoso; outbound connector 'bank' of contoso",
    ),
    ("lab", "", "outbound", "'lab' could be each of: "),
    ("x", "", None, "there is no connector 'x'; there are: 'Bank', 'bank', 'lab'"),
    ("x", "", "inbound", "there is no inbound connector 'x'; there are: 'Bank'"),
    ("bank", "fabrikam", None, "there is no connector 'bank'; there are: 'lab'"),
    ("bank", "empty", None, "there is no connector 'bank'; there are: none"),
    ("bank", "x", None, "there is no organization 'x'; there are: 'contoso', 'fabrikam', 'empty'"),
]


@pytest.mark.parametrize(("name", "organization", "direction", "label"), FOUND)
def test_the_connector_that_is_meant(name, organization, direction, label):
    assert choose_connector(RESOURCES, name, organization, direction).label == label


@pytest.mark.parametrize(("name", "organization", "direction", "said"), REFUSED)
def test_what_is_not_clear_is_said_with_what_there_is(name, organization, direction, said):
    with pytest.raises(Refusal) as refused:
        choose_connector(RESOURCES, name, organization, direction)
    assert refused.value.kind is (RefusalKind.INPUT if "could be" in said else RefusalKind.MISSING)
    assert refused.value.text.startswith(said)


def test_an_organization_is_chosen_by_its_name():
    assert choose_organization(RESOURCES, "empty").name == "empty"


def test_lists_for_people_are_short():
    names = [f"c{number}" for number in range(40)]
    assert instead("x", names[:20]).count(", ") == 19
    assert instead("c7", names) == "the nearest of 40: 'c7', 'c37', 'c27', 'c17', 'c9'"
    assert instead("zzz", names) == "the nearest of 40: none"
    assert instead("x", ["lab", "lab"]) == "there are: 'lab'"
    assert one_of("x", names[:20]).count("; ") == 19
    assert one_of("x", names).endswith("; c19 and 20 more")


@pytest.mark.parametrize(("name", "expected"), [("", ["contoso", "empty", "fabrikam"]), ("empty", ["empty"])])
def test_all_organizations_or_the_one_that_is_named(name, expected):
    assert sorted(one.name for one in chosen_organizations(RESOURCES, name)) == expected


def test_no_organization_of_that_name():
    with pytest.raises(Refusal, match="there is no organization 'nobody'"):
        chosen_organizations(RESOURCES, "nobody")


PARTS = parse(
    {
        "organization": {
            "contoso": {
                "accepted_domain": [{"name": "contoso.example"}, {"name": "xn--bcher-kva.example"}],
                "mailbox": [{"address": "Ann@contoso.example"}],
                "mail_flow_rule": [{"name": "Secrets", "require_tls": True}, {"name": "more", "require_tls": True}],
            },
            "fabrikam": {"mail_flow_rule": [{"name": "secrets", "require_tls": True}]},
            "empty": {},
        }
    }
)
MANY = parse({"organization": {"contoso": {"accepted_domain": [{"name": f"d{n}.example"} for n in range(40)]}}})
FOUND_PARTS = [
    (DOMAIN, "CONTOSO.example", "", "accepted domain 'contoso.example' of contoso", 0),
    (DOMAIN, "bücher.example", "contoso", "accepted domain 'xn--bcher-kva.example' of contoso", 1),
    (MAILBOX, "ann@Contoso.example", "", "mailbox 'Ann@contoso.example' of contoso", 0),
    (RULE, "secrets", "contoso", "mail flow rule 'Secrets' of contoso", 0),
    (RULE, "more", "", "mail flow rule 'more' of contoso", 1),
]


@pytest.mark.parametrize(("kind", "name", "organization", "label", "place"), FOUND_PARTS)
def test_the_part_that_is_meant(kind, name, organization, label, place):
    part = choose_part(PARTS, kind, name, organization)
    assert (part.label, part.place) == (label, place)


NO_PARTS = [
    (
        PARTS,
        RULE,
        "secrets",
        "",
        "'secrets' could be each of: mail flow rule 'Secrets' of contoso; mail flow rule ",
    ),
    (PARTS, RULE, "secret", "", "there is no mail flow rule 'secret'; there are: 'Secrets', 'more', 'secrets'"),
    (PARTS, RULE, "secret", "empty", "there is no mail flow rule 'secret'; there are: none"),
    (PARTS, RULE, "x", "Contoso", "there is no organization 'Contoso'; there are: 'contoso', 'fabrikam', 'empty'"),
    (parse({}), RULE, "x", "contoso", "there is no organization 'contoso'; there are: none"),
    (MANY, DOMAIN, "d7.exampel", "", "there is no accepted domain 'd7.exampel'; the nearest of 40: 'd7.example', "),
    (MANY, DOMAIN, "zzz", "", "there is no accepted domain 'zzz'; the nearest of 40: none"),
]


@pytest.mark.parametrize(("resources", "kind", "name", "organization", "said"), NO_PARTS)
def test_a_part_that_is_not_there_is_said_with_what_is(resources, kind, name, organization, said):
    with pytest.raises(Refusal) as refused:
        choose_part(resources, kind, name, organization)
    assert refused.value.kind is (RefusalKind.INPUT if "could be" in said else RefusalKind.MISSING)
    assert refused.value.text.startswith(said)
