"""Words of a command change the resources of another gateway as those of this machine's."""

from __future__ import annotations

import shutil

import pytest

from gatepost.manage.cli.edit import (
    ChangeArguments,
    PreparedChange,
    changed,
    part_added,
    part_removed,
    part_set,
    patch_of,
)
from gatepost.manage.remote.address import Address
from gatepost.manage.remote.client import RemoteClient
from gatepost.manage.use_cases import resource_cases as cases
from gatepost.manage.use_cases.client import LocalClient
from gatepost.manage.use_cases.context import Gateway
from gatepost.manage.use_cases.name_lookup import DOMAIN, INBOUND, MAILBOX, OUTBOUND, RULE, choose_organization
from gatepost.manage.use_cases.part_record import own_table
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resources import PartName, seen
from gatepost.policy.connectors.records import Organization
from gatepost.settings.loader import load

from .conftest import OWNER

ASKED = ChangeArguments(dry_run=False, since="2026-11-18", note="why")


@pytest.fixture
def local(api, tmp_path):
    """The same gateway once more, which is changed beside it."""
    shutil.copytree(api.gateway.data, tmp_path / "twin")
    file = tmp_path / "twin.toml"
    file.write_text('[server]\nhostname = "mx.gate.example"\ndata_dir = "twin"\n', encoding="utf-8")
    return LocalClient(Gateway(load(str(file), {})), OWNER)


@pytest.fixture
def remote(there):
    made = RemoteClient(Address("https://gate.example:443", "gate.example", 443, "gp_x"))
    made._connection = there
    return made


def own(name, *words):
    """Other fields of an organization itself."""

    def make(resources):
        patch, errors = patch_of(Organization, own_table(choose_organization(resources, name)), words)
        request = cases.SetOrganization(organization=name, document=patch, **ASKED.fields)
        return PreparedChange(cases.set_organization, request, errors)

    return make


def request(case, kind, **fields):
    return lambda _: PreparedChange(case, kind(**fields, **ASKED.fields))


def apply(document):
    return request(cases.apply_resources, cases.ApplyResources, document=document)


CHANGES = {
    "add a mailbox": part_added(ASKED, PartName(MAILBOX, "", "New@Contoso.example"), ["aliases=n@contoso.example"]),
    "add a domain": part_added(ASKED, PartName(DOMAIN, "fabrikam", "x.example"), ["type=internal-relay"]),
    "add with errors": part_added(
        ASKED, PartName(OUTBOUND, "contoso", "x"), ["a=b", "tls_settings=tight", "enabled=so"]
    ),
    "add twice": part_added(ASKED, PartName(MAILBOX, "", "ann@contoso.example"), []),
    "add with another name": part_added(ASKED, PartName(OUTBOUND, "contoso", "x"), ["name=y"]),
    "whose": part_added(ASKED, PartName(DOMAIN, "", "y.example"), []),
    "set": part_set(
        ASKED, PartName(OUTBOUND, "", "BANK/out"), ["recipient_domains+=c.de", "tls_settings=", "comment=x"]
    ),
    "rename": part_set(ASKED, PartName(INBOUND, "", "bank in"), ["name=b", "require_tls=false"]),
    "set nothing": part_set(ASKED, PartName(MAILBOX, "", "ann@contoso.example"), ["delivery=maildir"]),
    "set what is not there": part_set(ASKED, PartName(MAILBOX, "", "an@contoso.example"), ["delivery=maildir"]),
    "remove": part_removed(ASKED, PartName(RULE, "contoso", "secrets")),
    "remove what is needed": part_removed(ASKED, PartName(DOMAIN, "contoso", "contoso.example")),
    "add an organization": request(
        cases.add_organization, cases.AddOrganization, document={"name": "woodgrove", "display_name": "Bank"}
    ),
    "add an organization twice": request(cases.add_organization, cases.AddOrganization, document={"name": "contoso"}),
    "set an organization": own("contoso", "message_expiration=2d", "display_name="),
    "set an organization with errors": own("contoso", "message_expiration=never", "colour=red"),
    "set no organization": own("contosso", "display_name=x"),
    "remove an organization": request(cases.remove_organization, cases.RemoveOrganization, organization="fabrikam"),
    "remove no organization": request(cases.remove_organization, cases.RemoveOrganization, organization="nobody"),
    "apply": apply({"organization": {"fabrikam": {"display_name": "F"}}}),
    "apply with errors": apply({"organization": {"fabrikam": {"colour": "red"}}, "x": 1}),
}


def done(client, make, *, dry_run):
    try:
        outcome = changed(client, make, dry_run=dry_run)
    except Refusal as refusal:
        return refusal.kind, refusal.text, [str(error) for error in refusal.errors]
    if outcome.blast_radius:
        del outcome.blast_radius["until"]
    return outcome


@pytest.mark.parametrize("dry_run", [True, False], ids=["dry", "real"])
@pytest.mark.parametrize("make", CHANGES.values(), ids=CHANGES)
def test_a_change_from_afar_is_the_same(remote, local, make, dry_run):
    assert done(remote, make, dry_run=dry_run) == done(local, make, dry_run=dry_run)
    export = cases.export_resources, cases.ExportResources()
    assert remote.call(*export) == local.call(*export)


def display_name(client, text):
    request = cases.SetOrganization(organization="contoso", document={"display_name": text})
    client.call(cases.set_organization, request)


@pytest.mark.parametrize("where", ["remote", "local"])
def test_an_overtaken_change_is_made_again(there, remote, monkeypatch, where):
    client = remote if where == "remote" else LocalClient(there.api.gateway, OWNER)
    make, times = CHANGES["set"], iter(range(1))

    def overtaken(resources):
        made = make(resources)
        for number in times:
            display_name(LocalClient(there.api.gateway, OWNER), f"other {number}")
        return made

    outcome = changed(client, overtaken)
    assert outcome.version == 3
    assert seen(there.api.gateway, OWNER).organization("contoso").display_name == "other 0"


def test_a_change_that_is_always_overtaken_ends(there, remote):
    make, times = CHANGES["set"], iter(range(100))

    def overtaken(resources):
        made = make(resources)
        display_name(LocalClient(there.api.gateway, OWNER), f"other {next(times)}")
        return made

    with pytest.raises(Refusal, match="nothing was changed") as refused:
        changed(remote, overtaken)
    assert refused.value.kind is RefusalKind.CONFLICT
    assert next(times) == 5


def test_resources_are_fetched(remote, there):
    found, expected = remote.directory(), there.api.gateway.directory()
    assert (found.version, found.resources) == (expected.version, expected.resources)


def test_resources_of_a_newer_gateway(remote, there, monkeypatch):
    tables = {"contoso": {"shape": "round"}}
    monkeypatch.setattr(there, "get", lambda _: type("Answer", (), {"etag": '"v3"', "value": {"organization": tables}}))
    with pytest.raises(Refusal, match="this version of the command") as refused:
        remote.directory()
    assert refused.value.kind is RefusalKind.UNREADABLE


@pytest.mark.parametrize("kind", RefusalKind)
def test_what_is_refused_there_ends_the_command_as_here(remote, monkeypatch, kind):
    def refusing(*_, **__):
        raise Refusal(kind, "the configuration is at version 3, not 2")

    monkeypatch.setattr("gatepost.manage.use_cases.resource_cases.apply_document", refusing)
    with pytest.raises(Refusal, match="at version 3") as refused:
        remote.call(cases.apply_resources, cases.ApplyResources(document={}))
    assert refused.value.kind is kind


def test_a_time_of_toml_is_no_text(remote, local):
    import datetime as dt  # noqa: PLC0415 - here alone

    document = {"organization": {"fabrikam": {"display_name": dt.date(2026, 11, 28)}}}
    for client in (remote, local):
        with pytest.raises(Refusal) as refused:
            client.call(cases.apply_resources, cases.ApplyResources(document=document))
        assert refused.value.kind is RefusalKind.INPUT
