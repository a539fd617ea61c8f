from __future__ import annotations

import pytest

from gatepost.cli.chosen import choose_connector, choose_organization, chosen_organizations, instead, one_of
from gatepost.connectors.match import Directory
from gatepost.connectors.model import parse

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
    ("x", "", None, "there is no connector 'x'; there are: 'Bank', 'bank', 'lab'\n"),
    ("x", "", "inbound", "there is no inbound connector 'x'; there are: 'Bank'\n"),
    ("bank", "fabrikam", None, "there is no connector 'bank'; there are: 'lab'\n"),
    ("bank", "empty", None, "there is no connector 'bank'; there are: none\n"),
    ("bank", "x", None, "there is no organization 'x'; there are: 'contoso', 'fabrikam', 'empty'\n"),
]


@pytest.mark.parametrize(("name", "organization", "direction", "label"), FOUND)
def test_the_connector_that_is_meant(name, organization, direction, label):
    assert choose_connector(Directory(RESOURCES), name, organization, direction).label == label


@pytest.mark.parametrize(("name", "organization", "direction", "said"), REFUSED)
def test_what_is_not_clear_is_said_with_what_there_is(name, organization, direction, said, capsys):
    with pytest.raises(SystemExit) as ended:
        choose_connector(Directory(RESOURCES), name, organization, direction)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(said)


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


def test_no_organization_of_that_name(capsys):
    with pytest.raises(SystemExit):
        chosen_organizations(RESOURCES, "nobody")
    assert "there is no organization 'nobody'" in capsys.readouterr().err
