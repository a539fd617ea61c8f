from __future__ import annotations

import shutil

import pytest

from gatepost.manage.remote import resources
from gatepost.manage.remote.resources import FetchedGateway
from gatepost.manage.use_cases import resources as here
from gatepost.manage.use_cases.change import Wish, outcome_record
from gatepost.manage.use_cases.gateway import Gateway
from gatepost.manage.use_cases.parts import DOMAIN, INBOUND, MAILBOX, OUTBOUND, RULE
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.resources import PartName
from gatepost.settings.loader import load

from .conftest import OWNER, plain


@pytest.fixture
def twin(api, tmp_path):
    """The same gateway once more, which is changed beside it."""
    shutil.copytree(api.gateway.data, tmp_path / "twin")
    file = tmp_path / "twin.toml"
    file.write_text('[server]\nhostname = "mx.gate.example"\ndata_dir = "twin"\n', encoding="utf-8")
    return Gateway(load(str(file), {}))


CHANGES = {
    "add a mailbox": ("add_part", PartName(MAILBOX, "", "New@Contoso.example"), ["aliases=n@contoso.example"]),
    "add a domain": ("add_part", PartName(DOMAIN, "fabrikam", "x.example"), ["type=internal-relay"]),
    "add with errors": ("add_part", PartName(OUTBOUND, "contoso", "x"), ["a=b", "tls_settings=tight", "enabled=so"]),
    "add twice": ("add_part", PartName(MAILBOX, "", "ann@contoso.example"), []),
    "whose": ("add_part", PartName(DOMAIN, "", "y.example"), []),
    "set": ("set_part", PartName(OUTBOUND, "", "BANK/out"), ["recipient_domains+=c.de", "tls_settings=", "comment=x"]),
    "rename": ("set_part", PartName(INBOUND, "", "bank in"), ["name=b", "require_tls=false"]),
    "set nothing": ("set_part", PartName(MAILBOX, "", "ann@contoso.example"), ["delivery=maildir"]),
    "set what is not there": ("set_part", PartName(MAILBOX, "", "an@contoso.example"), ["delivery=maildir"]),
    "remove": ("remove_part", PartName(RULE, "contoso", "secrets")),
    "remove what is needed": ("remove_part", PartName(DOMAIN, "contoso", "contoso.example")),
    "add an organization": ("add_organization", "woodgrove", ["display_name=Bank"]),
    "add an organization twice": ("add_organization", "contoso", []),
    "add an organization with errors": ("add_organization", "w", ["name=x", "message_expiration=never"]),
    "set an organization": ("set_organization", "contoso", ["message_expiration=2d", "display_name="]),
    "set no organization": ("set_organization", "contosso", ["display_name=x"]),
    "remove an organization": ("remove_organization", "fabrikam"),
    "remove no organization": ("remove_organization", "nobody"),
    "apply": ("apply_document", {"organization": {"fabrikam": {"display_name": "F"}}}),
    "apply with errors": ("apply_document", {"organization": {"fabrikam": {"colour": "red"}}, "x": 1}),
}  # fmt: skip


def done(change, *what):
    try:
        outcome = change(*what)
    except Refusal as refusal:
        return refusal.kind, refusal.text, [str(error) for error in refusal.errors]
    record = plain(outcome_record(outcome))
    if "blast_radius" in record:
        del record["blast_radius"]["until"]
    return record, outcome.warnings, outcome.standing, outcome.notes


@pytest.mark.parametrize("dry_run", [True, False], ids=["dry", "real"])
@pytest.mark.parametrize("what", CHANGES.values(), ids=CHANGES)
def test_a_change_from_afar_is_the_same(there, twin, what, dry_run):
    name, *arguments = what
    wish = Wish("ann", "why", dry_run, 1_795_000_000.0)
    expected = done(getattr(here, name), twin, OWNER, *arguments, wish)
    assert done(getattr(resources, name), there, *arguments, wish) == expected
    assert here.document(there.api.gateway, OWNER) == here.document(twin, OWNER)


def test_the_whole_document(there):
    assert resources.document(there) == here.document(there.api.gateway, OWNER)


def test_an_overtaken_change_is_made_again(there):
    def other():
        there.before = lambda: None
        here.set_organization(there.api.gateway, OWNER, "contoso", ["display_name=other"], Wish("eve"))

    there.before = other
    outcome = resources.set_part(
        there, PartName(OUTBOUND, "", "bank/out"), ["recipient_domains+=c.example"], Wish("ann")
    )
    assert outcome.version == 3
    assert here.organization(there.api.gateway, OWNER, "contoso").display_name == "other"


def test_a_change_that_is_always_overtaken_ends(there):
    counted = iter(range(100))

    def other():
        words = [f"display_name=other {next(counted)}"]
        here.set_organization(there.api.gateway, OWNER, "contoso", words, Wish("eve"))

    there.before = other
    with pytest.raises(Refusal, match="nothing was changed") as refused:
        resources.set_organization(there, "fabrikam", ["display_name=mine"], Wish("ann"))
    assert refused.value.kind is Kind.CONFLICT
    assert next(counted) == 5


def test_a_fetched_gateway_has_its_resources(there):
    found, expected = FetchedGateway(there).directory(), there.api.gateway.directory()
    assert (found.version, found.resources) == (expected.version, expected.resources)


def test_resources_of_a_newer_gateway(there, monkeypatch):
    tables = {"contoso": {"shape": "round"}}
    monkeypatch.setattr(there, "get", lambda _: type("Answer", (), {"etag": '"v3"', "value": {"organization": tables}}))
    with pytest.raises(Refusal, match="this version of the command") as refused:
        FetchedGateway(there)
    assert refused.value.kind is Kind.UNREADABLE


@pytest.mark.parametrize("kind", Kind)
def test_what_is_refused_there_ends_the_command_as_here(there, monkeypatch, kind):
    def refusing(*_, **__):
        raise Refusal(kind, "the configuration is at version 3, not 2")

    monkeypatch.setattr("gatepost.manage.use_cases.resources.apply_document", refusing)
    with pytest.raises(Refusal, match="at version 3") as refused:
        resources.apply_document(there, {}, Wish("ann"))
    assert refused.value.kind is kind
