from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.selection import Selection, connector_for, elsewhere, names_domain, select_outbound

Build = Callable[[str], Directory]


def accepted(organization: str, *names: str) -> str:
    return "".join(f'[[organization.{organization}.accepted_domain]]\nname = "{name}"\n' for name in names)


def outbound(name: str, fields: str) -> str:
    return f'[[organization.o.outbound_connector]]\nname = "{name}"\n{fields}\n'


EXACT = outbound("exact", 'recipient_domains = ["sales.o.example"]')
WILD = outbound("wild", 'recipient_domains = ["*.o.example"]')
WIDER = outbound("wider", 'recipient_domains = ["*.example"]')
ALL = outbound("all", 'recipient_domains = ["*"]')
HOME = outbound("home", 'connector_type = "on-premises"\nall_accepted_domains = true')
CENTRAL = outbound("central", 'connector_type = "on-premises"\nroute_all_messages_via_on_premises = true')
SALES = accepted("o", "sales.o.example")


@pytest.mark.parametrize(
    ("text", "domain", "name", "reason"),
    [
        # O6: exact, then the longest wildcard, then all accepted domains, then "*"
        (
            ALL + HOME + WIDER + WILD + EXACT,
            "sales.o.example",
            "exact",
            "connector 'exact' of o matches recipient domain sales.o.example exactly",
        ),
        (
            ALL + HOME + WIDER + WILD,
            "sales.o.example",
            "wild",
            "connector 'wild' of o matches recipient domain sales.o.example by '*.o.example'",
        ),
        (ALL + HOME + WIDER, "sales.o.example", "wider", "by '*.example'"),
        (ALL + HOME, "sales.o.example", "home", "takes all accepted domains, and sales.o.example is one"),
        (HOME, "sales.o.example", "home", "takes all accepted domains"),
        (ALL + HOME, "elsewhere.test", "all", "matches recipient domain elsewhere.test by '*'"),
        (HOME, "elsewhere.test", "", "no outbound connector of o matches recipient domain elsewhere.test"),
        ("", "elsewhere.test", "", "no outbound connector of o"),
        (WILD, "o.example", "wild", "by '*.o.example'"),
        (EXACT.replace('"exact"', '"exact"\nenabled = false'), "sales.o.example", "", "no outbound connector"),
        (CENTRAL + EXACT, "sales.o.example", "central", "takes all messages first"),
    ],
)
def test_which_outbound_connector_takes_a_domain(
    directory: Build, text: str, domain: str, name: str, reason: str
) -> None:
    selection = select(directory(SALES + text), domain)
    assert (selection.connector.name if selection.connector else "") == name
    assert len(selection.reasons) == 1
    assert reason in selection.reasons[0]


def select(index: Directory, domain: str, **fields: Any) -> Selection:
    organization = index.organization("o")
    assert organization is not None
    return select_outbound(index, organization, domain, **fields)


@pytest.mark.parametrize("domain", ["Sales.o.example", "bücher.example"])
def test_a_domain_in_another_form_is_not_sent_to_without_its_connector(directory: Build, domain: str) -> None:
    built = directory(SALES + EXACT)
    with pytest.raises(ValueError, match="not in lower-case A-labels"):
        select_outbound(built, built.organizations[0], domain)
    assert select_outbound(built, built.organizations[0], "[IPv6:2001:db8::1]").connector is None


def test_a_priority_goes_before_specificity_and_says_so(directory: Build) -> None:
    selection = select(directory(SALES + ALL + "priority = 7\n" + EXACT + WILD), "sales.o.example")
    assert selection.connector is not None
    assert selection.connector.name == "all"
    assert selection.reasons[1] == "its priority 7 goes before the more specific connector 'exact' of o"
    assert selection.passed_over == (
        (
            "connector 'exact' of o",
            "matches recipient domain sales.o.example exactly, but priority 7 of 'all' goes before its 100",
        ),
        (
            "connector 'wild' of o",
            "matches recipient domain sales.o.example by '*.o.example', but priority 7 of 'all' goes before its 100",
        ),
    )


TWIN = outbound("twin", 'recipient_domains = ["sales.o.example", "*.o.example"]')


@pytest.mark.parametrize(
    ("text", "passed_over"),
    [
        (EXACT, {}),
        (EXACT + ALL, {"all": "matches recipient domain sales.o.example by '*', but 'exact' is more specific"}),
        (
            HOME + EXACT,
            {"home": "takes all accepted domains, and sales.o.example is one, but 'exact' is more specific"},
        ),
        (
            WILD.replace('"wild"', '"zed"') + EXACT,
            {"zed": "matches recipient domain sales.o.example by '*.o.example', but 'exact' is more specific"},
        ),
        (TWIN, {}),
        (EXACT + TWIN, {"twin": "matches recipient domain sales.o.example exactly, but 'exact' comes first"}),
        (CENTRAL + EXACT + TWIN, {"exact": "connector 'central' of o takes all messages first", "twin": "takes all"}),
        (CENTRAL, {}),
        ("".join(ALL.replace('"all"', f'"all{n:02}"') for n in range(30)), {f"all{n:02}": "" for n in range(1, 21)}),
    ],
)
def test_who_was_passed_over_and_why(directory: Build, text: str, passed_over: dict[str, str]) -> None:
    selection = select(directory(SALES + text), "sales.o.example")
    found = dict(selection.passed_over)
    assert list(found) == [f"connector {name!r} of o" for name in passed_over]
    for why, expected in zip(found.values(), passed_over.values(), strict=True):
        assert expected in why


def test_of_the_same_place_and_priority_the_first_by_name(directory: Build) -> None:
    selection = select(directory(SALES + WILD.replace('"wild"', '"zed"') + WILD), "sales.o.example")
    assert selection.connector is not None
    assert selection.connector.name == "wild"
    assert [why for _, why in selection.passed_over] == [
        "matches recipient domain sales.o.example by '*.o.example', but 'wild' comes first by its name"
    ]


SENT_BACK = "takes all messages first, but this one came from on-premises and is not sent back"


@pytest.mark.parametrize(
    ("text", "domain", "name", "passed_over"),
    [
        (CENTRAL + WILD, "sales.o.example", "wild", [SENT_BACK]),
        (CENTRAL, "elsewhere.test", "", [SENT_BACK]),
        # "*" is all mail again; a domain that it names is the organization's own and can be nowhere else
        (CENTRAL + 'recipient_domains = ["*"]\n', "elsewhere.test", "", [SENT_BACK]),
        (CENTRAL + 'recipient_domains = ["*"]\n' + ALL, "elsewhere.test", "all", [SENT_BACK]),
        (CENTRAL + 'recipient_domains = ["*.o.example"]\n', "sales.o.example", "central", []),
        (CENTRAL + "all_accepted_domains = true\n", "sales.o.example", "central", []),
    ],
)
def test_o8_mail_that_came_from_on_premises_is_not_sent_back(
    directory: Build, text: str, domain: str, name: str, passed_over: list[str]
) -> None:
    selection = select(directory(SALES + text), domain, from_on_premises=True)
    assert (selection.connector.name if selection.connector else "") == name
    assert [why for _, why in selection.passed_over] == passed_over


@pytest.mark.parametrize("scope", [EXACT, ALL])
def test_o7_a_rule_scoped_connector_takes_no_domain(directory: Build, scope: str) -> None:
    selection = select(directory(SALES + scope + "is_transport_rule_scoped = true\n"), "sales.o.example")
    assert selection.connector is None
    assert selection.passed_over == ()


def test_an_organization_of_another_version_is_not_known(directory: Build) -> None:
    stranger = directory("[organization.gone]").organization("gone")
    assert stranger is not None
    selection = select_outbound(directory(SALES), stranger, "a.example")
    assert selection == Selection(None, ("organization gone is not known",))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (EXACT, True),
        (WIDER, True),
        (ALL + HOME + CENTRAL, False),
        (EXACT.replace('"exact"', '"exact"\nenabled = false'), False),
        ("", False),
    ],
)
def test_a_connector_names_a_domain(directory: Build, text: str, named: bool) -> None:
    index = directory(SALES + text)
    assert names_domain(index, "o", "sales.o.example") is named
    assert not names_domain(index, "gone", "sales.o.example")


@pytest.mark.parametrize("text", [EXACT + ALL + HOME + SALES, ALL + CENTRAL, HOME + SALES, ALL, EXACT, SALES])
@pytest.mark.parametrize("domain", ["sales.o.example", "x.example"])
def test_the_connector_alone_is_the_one_that_is_selected(directory: Build, text: str, domain: str) -> None:
    known = directory(f"[organization.o]\n{text}")
    (organization,) = known.organizations
    index = known.outbound("o")
    assert index is not None
    found = connector_for(index, domain, accepted=known.accepts("o", domain))
    assert found is select_outbound(known, organization, domain).connector


CASES = [
    # fields of the connector, other connectors, domain, the note's end ("" for none)
    ({}, [], "b.example", ""),
    ({}, [{"name": "first", "recipient_domains": ["*"], "priority": 1}], "b.example", "'first' of contoso matches"),
    ({}, [{"name": "all", "recipient_domains": ["*"]}], "b.example", ""),
    ({}, [], "c.example", "no outbound connector of contoso matches recipient domain c.example"),
    ({"recipient_domains": ["*"]}, [], "fabrikam.example", "another organization accepts the domain and decides"),
    ({"recipient_domains": ["fabrikam.example"]}, [], "fabrikam.example", ""),
    ({"enabled": False}, [], "b.example", ""),
    ({"is_transport_rule_scoped": True}, [], "b.example", ""),
]


@pytest.mark.parametrize(("fields", "others", "domain", "why"), CASES)
def test_where_the_mail_of_a_domain_goes(
    fields: dict[str, Any], others: list[dict[str, Any]], domain: str, why: str
) -> None:
    own = {"name": "out", "recipient_domains": ["b.example"]} | fields
    secret = {"name": "secret", "recipient_domains": ["*"]}
    fabrikam = {"accepted_domain": [{"name": "fabrikam.example"}], "outbound_connector": [secret]}
    document = {"organization": {"contoso": {"outbound_connector": [own, *others]}, "fabrikam": fabrikam}}
    directory = Directory(parse(document))
    contoso = directory.organization("contoso")
    assert contoso is not None
    note = elsewhere(directory, contoso, contoso.outbound_connectors[0], domain)
    assert why in note
    assert "secret" not in note
    assert note.startswith(f"mail to {domain} does not go by this connector: " if why else "")
    assert bool(note) is bool(why)
