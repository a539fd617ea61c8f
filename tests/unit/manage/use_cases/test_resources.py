from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases import resource_cases as cases
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.history import history
from gatepost.manage.use_cases.name_lookup import DOMAIN, INBOUND, KINDS, MAILBOX, OUTBOUND, RULE
from gatepost.manage.use_cases.paging import ListSelection
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resource_actions import RevertResources, revert_resources
from gatepost.manage.use_cases.resources import (
    PartName,
    add_part,
    apply_document,
    organization,
    part,
    parts,
    put_part,
    remove_part,
    set_part,
)
from gatepost.pki.certificates.authority import Authority

from .calls import add_organization, document, put_organization, remove_organization, set_organization
from .calls import call as do

OWNER = Principal("ann", frozenset({Scope.OWNER}))
TENANT = Principal("liz", frozenset({Scope.READ, Scope.CONNECTORS}), frozenset({"fabrikam"}))
WISH = ChangeOptions("ann")
BASE = {
    "contoso": {
        "display_name": "Contoso",
        "accepted_domain": [{"name": "contoso.example"}],
        "mailbox": [{"address": "postmaster@contoso.example"}],
        "outbound_connector": [
            {"name": "bank", "recipient_domains": ["bank.example"]},
            {"name": "Lab", "is_transport_rule_scoped": True},
        ],
        "mail_flow_rule": [{"name": "secrets", "recipients": ["lab.example"], "route_via_connector": "lab"}],
    },
    "fabrikam": {
        "accepted_domain": [{"name": "fabrikam.example"}],
        "outbound_connector": [{"name": "bank", "recipient_domains": ["bank.example"]}],
    },
}
BANK = PartName(OUTBOUND, "contoso", "bank")
LAB = PartName(OUTBOUND, "contoso", "lab")
THEIRS = PartName(OUTBOUND, "fabrikam", "bank")


@pytest.fixture
def base(gateway):
    apply_document(gateway, OWNER, {"organization": BASE}, WISH)
    return gateway


def table(gateway, named):
    found = part(gateway, OWNER, named)
    return found.record.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)


def refusal(call, *arguments, **options):
    with pytest.raises(Refusal) as refused:
        call(*arguments, **options)
    return refused.value


# ------------------------------------------------------------------------------------------------ looking


def test_a_document_can_be_applied_again(base):
    version, found = document(base, OWNER)
    assert (version, sorted(found["organization"])) == (1, ["contoso", "fabrikam"])
    assert apply_document(base, OWNER, found, WISH).changes == []
    assert list(document(base, TENANT)[1]["organization"]) == ["fabrikam"]


def test_an_empty_gateway_has_an_empty_document(gateway):
    assert document(gateway, OWNER) == (0, {"organization": {}})
    assert parts(gateway, OWNER, OUTBOUND).rows == []


PAGES = [
    (OWNER, ListSelection(), 3, ["bank", "Lab", "bank"]),
    (OWNER, ListSelection(organization="contoso"), 2, ["bank", "Lab"]),
    (OWNER, ListSelection(q="LA"), 1, ["Lab"]),
    (OWNER, ListSelection(limit=1, offset=1), 3, ["Lab"]),
    (OWNER, ListSelection(limit=2, offset=9), 3, ["bank"]),
    (TENANT, ListSelection(), 1, ["bank"]),
]


@pytest.mark.parametrize(("who", "selection", "total", "names"), PAGES)
def test_parts_in_pages(base, who, selection, total, names):
    page = parts(base, who, OUTBOUND, selection)
    assert (page.version, page.total, page.offset) == (1, total, min(selection.offset, 2))
    assert [one.name for one in page.rows] == names


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_can_be_listed(base, kind):
    assert parts(base, OWNER, kind).total == sum(len(one.get(kind.key, ())) for one in BASE.values())


def test_what_belongs_to_others_is_not_there(base):
    assert part(base, TENANT, PartName(OUTBOUND, "", "BANK")).organization.name == "fabrikam"
    assert organization(base, TENANT, "fabrikam").name == "fabrikam"
    there = "there is no organization 'contoso'; there are: 'fabrikam'"
    calls = [
        (organization, base, TENANT, "contoso"),
        (part, base, TENANT, BANK),
        (parts, base, TENANT, OUTBOUND, ListSelection("contoso")),
        (add_part, base, TENANT, PartName(MAILBOX, "contoso", "x@contoso.example"), {}, WISH),
        (set_part, base, TENANT, BANK, {"comment": "x"}, WISH),
        (put_part, base, TENANT, BANK, {"recipient_domains": ["x.example"]}, WISH),
        (remove_part, base, TENANT, BANK, WISH),
        (apply_document, base, TENANT, {"organization": {"fabrikam": {}, "contoso": {}}}, WISH),
    ]
    for call, *arguments in calls:
        refused = refusal(call, *arguments)
        assert (refused.kind, refused.text) == (RefusalKind.MISSING, there), call.__name__
    for call, *arguments in [
        (set_organization, base, TENANT, "contoso", {"display_name": "x"}, WISH),
        (put_organization, base, TENANT, "contoso", {}, WISH),
    ]:
        refused = refusal(call, *arguments)
        assert (refused.kind, refused.text) == (RefusalKind.MISSING, "There is no organization 'contoso'."), (
            call.__name__
        )
    assert base.directory().version == 1


def test_tenants_make_and_remove_no_organization(base):
    for call, *arguments in [
        (put_organization, base, TENANT, "new", {}, WISH),
        (apply_document, base, TENANT, {"organization": {"new": {}}}, WISH),
    ]:
        assert refusal(call, *arguments).kind is RefusalKind.MISSING
    for call, *arguments in [
        (add_organization, base, TENANT, "new", {}, WISH),
        (add_organization, base, TENANT, "contoso", {}, WISH),
        (remove_organization, base, TENANT, "fabrikam", WISH),
        (remove_organization, base, TENANT, "contoso", WISH),
    ]:
        assert refusal(call, *arguments).kind is RefusalKind.FORBIDDEN
    assert base.directory().version == 1


# ------------------------------------------------------------------------------------------------ changing


def test_fields_are_values_by_key(base):
    fields = {"comment": "x", "recipient_domains": ["bank.example", "New.example"]}
    outcome = set_part(base, OWNER, BANK, fields, WISH)
    assert (outcome.version, len(outcome.changes)) == (2, 2)
    assert table(base, BANK) == {
        "name": "bank",
        "comment": "x",
        "recipient_domains": ["bank.example", "new.example"],
    }
    assert table(base, THEIRS) == {"name": "bank", "recipient_domains": ["bank.example"]}


def test_a_value_of_none_is_the_default_again(base):
    unused = {"comment": "x", "enabled": False, "client_certificate": {"label": "a"}}
    set_part(base, OWNER, BANK, unused, WISH)
    set_part(base, OWNER, BANK, {"comment": None, "enabled": None, "client_certificate": {"label": None}}, WISH)
    assert table(base, BANK) == {"name": "bank", "recipient_domains": ["bank.example"]}


@pytest.mark.parametrize(
    ("fields", "path", "why"),
    [
        ({"trust_anchors": "/nowhere/roots.pem"}, "trust_anchors", "/nowhere/roots.pem: No such file or directory"),
        (
            {"client_certificate": {"label": "a"}},
            "client_certificate.label",
            "contoso has no current client certificate 'a'",
        ),
        (
            {"client_certificate": {"chain": "/nowhere/chain.pem", "key": "/nowhere/key.pem"}},
            "client_certificate",
            "/nowhere/chain.pem: No such file or directory",
        ),
    ],
)
def test_what_a_resource_names_must_be_there_when_it_is_saved_and_enabled(base, fields, path, why):
    with pytest.raises(Refusal) as refused:
        set_part(base, OWNER, BANK, fields, WISH)
    assert [(error.path, error.message.startswith(why)) for error in refused.value.errors] == [(path, True)]
    set_part(base, OWNER, BANK, fields | {"enabled": False}, WISH)
    with pytest.raises(Refusal, match="nothing was changed"):
        set_part(base, OWNER, BANK, {"enabled": True}, WISH)


def test_what_has_vanished_keeps_nobody_from_changing_something_else(base, tmp_path):
    anchors = tmp_path / "anchors.pem"
    anchors.write_bytes(Authority("Partner").certificate_pem)
    set_part(base, OWNER, BANK, {"trust_anchors": str(anchors)}, WISH)
    anchors.unlink()
    set_part(base, OWNER, BANK, {"comment": "still here"}, WISH)
    assert table(base, BANK)["comment"] == "still here"


WRONG = [
    ({"tls_settings": "strong", "priority": "1", "tls_domian": "x"}, ["priority", "tls_domian", "tls_settings"]),
    ({"client_certificate": {"label": "x", "chain": "/c"}}, ["client_certificate.chain"]),
]


@pytest.mark.parametrize(("fields", "paths"), WRONG)
def test_errors_are_told_by_field(base, fields, paths):
    for call, named in ((set_part, BANK), (add_part, PartName(OUTBOUND, "contoso", "new"))):
        refused = refusal(call, base, OWNER, named, fields, WISH)
        assert refused.kind is RefusalKind.INPUT
        assert {error.path for error in refused.errors} >= set(paths)


def test_a_part_is_added_to_the_organization_it_must_be_of(base):
    add_part(base, OWNER, PartName(MAILBOX, "", "liz@fabrikam.example"), {}, WISH)
    assert part(base, OWNER, PartName(MAILBOX, "", "liz@fabrikam.example")).organization.name == "fabrikam"
    assert "say whose it is" in refusal(add_part, base, OWNER, PartName(INBOUND, "", "in"), {}, WISH).text
    add_part(base, TENANT, PartName(INBOUND, "", "in"), {"sender_domains": ["bank.example"]}, WISH)
    assert part(base, OWNER, PartName(INBOUND, "", "in")).organization.name == "fabrikam"
    text = refusal(add_part, base, OWNER, PartName(MAILBOX, "", "x@else.example"), {}, WISH).text
    assert text == "no organization accepts else.example; add it first: gatepost domain add else.example"


def test_what_is_there_is_not_added(base):
    refused = refusal(add_part, base, OWNER, PartName(OUTBOUND, "contoso", "BANK"), {}, WISH)
    assert (refused.kind, "already has the outbound connector 'BANK'" in refused.text) == (RefusalKind.BLOCKED, True)
    assert "already" in refusal(add_organization, base, OWNER, "contoso", {}, WISH).text
    named = refusal(add_part, base, OWNER, PartName(OUTBOUND, "contoso", "x"), {"name": "y"}, WISH)
    assert str(named.errors[0]).startswith("name: is given twice")


def test_put_makes_a_part_what_its_table_says(base):
    set_part(base, OWNER, BANK, {"comment": "x"}, WISH)
    wanted = {"recipient_domains": ["other.example"]}
    put_part(base, OWNER, PartName(OUTBOUND, "contoso", "BANK"), wanted, WISH)
    assert table(base, BANK) == {"name": "bank", **wanted}
    assert put_part(base, OWNER, BANK, wanted, WISH).changes == []
    put_part(base, OWNER, PartName(OUTBOUND, "contoso", "new"), wanted | {"name": "new"}, WISH)
    assert table(base, PartName(OUTBOUND, "contoso", "new")) == {"name": "new", **wanted}


def test_rules_follow_the_new_name_of_a_connector(base):
    outcome = set_part(base, OWNER, LAB, {"name": "laboratory"}, WISH)
    assert len(outcome.changes) == 2
    assert part(base, OWNER, PartName(RULE, "", "secrets")).record.route_via_connector == "laboratory"


def test_what_is_needed_is_not_removed(base):
    refused = refusal(remove_part, base, OWNER, LAB, WISH)
    assert refused.kind is RefusalKind.BLOCKED
    assert refused.text.splitlines() == [
        "outbound connector 'Lab' of contoso cannot be removed, it is needed by:",
        "  mail flow rule 'secrets' of contoso: route_via_connector",
        "Change or remove these first; nothing was changed",
    ]
    needed = refusal(remove_part, base, OWNER, PartName(DOMAIN, "", "contoso.example"), WISH)
    assert (needed.kind, "needed by" in needed.text) == (RefusalKind.BLOCKED, True)
    remove_part(base, OWNER, PartName(RULE, "", "secrets"), WISH)
    remove_part(base, OWNER, LAB, WISH)
    assert "mail_flow_rule" not in document(base, OWNER)[1]["organization"]["contoso"]


def test_organizations_come_change_and_go(base):
    add_organization(base, OWNER, "new", {"display_name": "New"}, WISH)
    set_organization(base, OWNER, "new", {"display_name": "Newer"}, WISH)
    assert organization(base, OWNER, "new").display_name == "Newer"
    for fields, path in (({"name": "x"}, "name"), ({"mailbox": []}, "mailbox"), ({"displayname": "x"}, "displayname")):
        refused = refusal(set_organization, base, OWNER, "new", fields, WISH)
        assert [error.path for error in refused.errors] == [path]
    outcome = remove_organization(base, OWNER, "new", ChangeOptions("ann", dry_run=True))
    assert str(outcome.changes[0]) == '- organization.new: "Newer"'
    assert remove_organization(base, OWNER, "new", WISH).version == 4
    assert refusal(remove_organization, base, OWNER, "new", WISH).kind is RefusalKind.MISSING


@pytest.mark.parametrize("again", ["add", "put", "apply", "replace"])
def test_the_name_of_a_removed_organization_is_no_other_ones(base, again):
    """Else whoever gets it next reads what is kept of the first: here the history, which goes by the name."""
    add_organization(base, OWNER, "acme", {"display_name": "The first"}, WISH)
    removal = remove_organization(base, OWNER, "acme", WISH).version
    second = Principal("sue", frozenset({Scope.CONNECTORS, Scope.READ}), frozenset({"acme"}))
    assert "The first" in str(history(base, second)), "what must not be shown to another"

    def use(name):
        table, whole = {"display_name": "The second"}, document(base, OWNER)[1]["organization"]
        match again:
            case "add":
                return add_organization(base, OWNER, name, table, WISH)
            case "put":
                return put_organization(base, OWNER, name, table, WISH)
            case "apply":
                return apply_document(base, OWNER, {"organization": {name: table}}, WISH)
        request = cases.ReplaceResources(document={"organization": whole | {name: table}})
        return do(base, OWNER, cases.replace_resources, request, WISH)

    refused = refusal(use, "acme")
    assert refused.kind is RefusalKind.INPUT
    (error,) = refused.errors
    assert error.path == ("name" if again == "add" else "organization.acme.name")
    assert f"revert this organization to version {removal - 1} (`gatepost history revert`)" in error.message
    assert "acme" not in document(base, OWNER)[1]["organization"]
    use("acme-2")
    request = RevertResources(version=removal - 1, organization="acme")
    do(base, OWNER, revert_resources, request, WISH)
    assert organization(base, OWNER, "acme").display_name == "The first"
    put_organization(base, OWNER, "acme", {"display_name": "Still the first"}, WISH)


def test_put_makes_an_organization_what_its_table_says(base):
    put_organization(base, TENANT, "fabrikam", {"accepted_domain": [{"name": "new.example"}]}, WISH)
    pending = {"name": "new.example", "verified": False}
    assert document(base, TENANT)[1] == {"organization": {"fabrikam": {"accepted_domain": [pending]}}}
    assert document(base, OWNER)[1]["organization"]["contoso"]["display_name"] == "Contoso"


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"organization": []}, None),
        ({"organisation": {}}, "organisation"),
        ({"organization": {"contoso": None}}, "organization.contoso"),
        ({"organization": {"contoso": {"mailbox": [{"address": "x"}]}}}, "organization.contoso.mailbox[0] 'x'.address"),
    ],
)
def test_a_document_that_is_wrong_changes_nothing(base, given, path):
    refused = refusal(apply_document, base, OWNER, given, WISH)
    assert refused.kind is RefusalKind.INPUT
    assert [error.path for error in refused.errors] == ([path] if path else [])
    assert base.directory().version == 1


def test_a_document_may_add_to_what_is_there(base):
    """What quickstart made is there still after an import, and a part that both have is that of the document."""
    before = document(base, OWNER)[1]["organization"]["contoso"]
    bank = before["outbound_connector"][0]
    fresh = {"name": "new", "recipient_domains": ["new.example"]}
    changed = {**bank, "name": bank["name"].upper(), "comment": "imported"}
    given = {"organization": {"contoso": {"outbound_connector": [fresh, changed]}}}
    apply_document(base, OWNER, given, WISH, adds=True)
    after = document(base, OWNER)[1]["organization"]["contoso"]
    assert {key: after[key] for key in before if key != "outbound_connector"} == {
        key: before[key] for key in before if key != "outbound_connector"
    }
    assert after["outbound_connector"] == [changed, *before["outbound_connector"][1:], fresh]


def test_a_document_that_adds_is_checked_as_any(base):
    for wrong in (7, {"outbound_connector": 7}, {"outbound_connector": [{"comment": "no name"}, 7]}):
        refused = refusal(apply_document, base, OWNER, {"organization": {"contoso": wrong}}, WISH, adds=True)
        assert refused.kind is RefusalKind.INPUT
    apply_document(base, OWNER, {"organization": {"another": {}}}, WISH, adds=True)
    assert set(document(base, OWNER)[1]["organization"]) >= {"contoso", "another"}
