from __future__ import annotations

import pytest

from gatepost.cli.part import DOMAIN, INBOUND, MAILBOX, OUTBOUND, RULE, choose_part
from gatepost.connectors.fields import keys
from gatepost.connectors.model import Organization, parse

RESOURCES = parse(
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


@pytest.mark.parametrize("kind", [DOMAIN, MAILBOX, INBOUND, OUTBOUND, RULE], ids=lambda kind: kind.key)
def test_a_kind_is_a_list_of_organizations(kind):
    assert keys(Organization)[kind.key].alias == kind.key
    assert kind.identity in keys(kind.model)
    assert kind.of(RESOURCES.organization("empty")) == ()


FORMS = [
    (DOMAIN, "Contoso.Example.", "contoso.example"),
    (DOMAIN, "*.Contoso.Example", "*.contoso.example"),
    (DOMAIN, "bücher.example", "xn--bcher-kva.example"),
    (DOMAIN, "no domain", "no domain"),
    (MAILBOX, "Ann@Contoso.Example", "ann@contoso.example"),
    (MAILBOX, "Ann", "ann"),
    (OUTBOUND, "Bank-Out", "bank-out"),
    (RULE, "", ""),
]


@pytest.mark.parametrize(("kind", "text", "form"), FORMS)
def test_names_compare_in_one_form(kind, text, form):
    assert kind.one_form(text) == form


FOUND = [
    (DOMAIN, "CONTOSO.example", "", "accepted domain 'contoso.example' of contoso", 0),
    (DOMAIN, "bücher.example", "contoso", "accepted domain 'xn--bcher-kva.example' of contoso", 1),
    (MAILBOX, "ann@Contoso.example", "", "mailbox 'Ann@contoso.example' of contoso", 0),
    (RULE, "secrets", "contoso", "mail flow rule 'Secrets' of contoso", 0),
    (RULE, "more", "", "mail flow rule 'more' of contoso", 1),
]


@pytest.mark.parametrize(("kind", "name", "organization", "label", "place"), FOUND)
def test_what_is_meant(kind, name, organization, label, place):
    part = choose_part(RESOURCES, kind, name, organization)
    assert (part.label, part.place) == (label, place)


NOT_FOUND = [
    (
        RESOURCES,
        RULE,
        "secrets",
        "",
        "'secrets' could be each of: mail flow rule 'Secrets' of contoso; mail flow rule ",
    ),
    (RESOURCES, RULE, "secret", "", "there is no mail flow rule 'secret'; there are: 'Secrets', 'more', 'secrets'"),
    (RESOURCES, RULE, "secret", "empty", "there is no mail flow rule 'secret'; there are: none"),
    (RESOURCES, RULE, "x", "Contoso", "there is no organization 'Contoso'; there are: 'contoso', 'fabrikam', 'empty'"),
    (parse({}), RULE, "x", "contoso", "there is no organization 'contoso'; there are: none"),
    (MANY, DOMAIN, "d7.exampel", "", "there is no accepted domain 'd7.exampel'; the nearest of 40: 'd7.example', "),
    (MANY, DOMAIN, "zzz", "", "there is no accepted domain 'zzz'; the nearest of 40: none"),
]


@pytest.mark.parametrize(("resources", "kind", "name", "organization", "said"), NOT_FOUND)
def test_what_is_not_there_is_said_with_what_is(resources, kind, name, organization, said, capsys):
    with pytest.raises(SystemExit) as ended:
        choose_part(resources, kind, name, organization)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(said)
