from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gatepost.net.identity import IdentityError, ServerIdentity
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.clients import ClientIdentities, stored_client_identities
from gatepost.pki.certificates.entry import Purpose, State
from gatepost.pki.certificates.inventory import Inventory, entry_from
from gatepost.pki.certificates.vault import Vault
from gatepost.settings.loader import load
from gatepost.values import replace

AUTHORITY = Authority("Clients Root")
OLD, NEW = (ServerIdentity(*AUTHORITY.issue(["gate.contoso.example"])) for _ in range(2))
NOW = datetime.now(UTC).timestamp()
MASTER = bytes(range(32))
OURS = {"purpose": Purpose.CLIENT, "organization": "contoso", "label": "to-bank", "state": State.CURRENT}


def add(inventory, identity, **fields):
    entry = replace(entry_from(identity, now=NOW), **OURS | fields)
    inventory.add(entry, identity, author="ann")
    return entry


def test_the_current_one_by_its_label(store):
    inventory = Inventory(store, Vault(MASTER))
    clients = ClientIdentities(inventory)
    old = add(inventory, OLD, current_from=1.0)
    with pytest.raises(IdentityError, match=r"contoso has no current client certificate 'to-bank'; .* --label to-bank"):
        clients.find("contoso", "to-bank", NOW)  # nobody has looked since
    clients.refresh()
    assert clients.find("contoso", "to-bank", NOW) == OLD
    new = add(inventory, NEW, current_from=2.0)
    clients.refresh()
    assert clients.find("contoso", "to-bank", NOW) == NEW
    inventory.change([replace(one, state=State.DEPRECATED) for one in (old, new)], author="ann")
    clients.refresh()
    with pytest.raises(IdentityError, match="no current client certificate"):
        clients.find("contoso", "to-bank", NOW)


@pytest.mark.parametrize(
    ("fields", "organization", "label", "after", "why"),
    [
        ({}, "fabrikam", "to-bank", 0.0, "fabrikam has no current client certificate"),
        ({}, "contoso", "to-Bank", 0.0, "no current client certificate 'to-Bank'"),
        ({"purpose": Purpose.SERVER}, "contoso", "to-bank", 0.0, "no current"),
        ({}, "contoso", "to-bank", 91 * 86400.0, r"'to-bank' of contoso \(certificate \w{16}\) has expired"),
        ({}, "contoso", "to-bank", -86400.0, "is not valid yet"),
    ],
)
def test_what_is_not_presented(store, fields, organization, label, after, why):
    inventory = Inventory(store, Vault(MASTER))
    add(inventory, OLD, **fields)
    with pytest.raises(IdentityError, match=why):
        ClientIdentities(inventory).find(organization, label, NOW + after)


def test_the_command_that_adds_one_is_for_a_shell(store):
    with pytest.raises(IdentityError) as missing:
        ClientIdentities(Inventory(store, Vault(MASTER))).find("contoso", "to $(reboot)", NOW)
    assert str(missing.value).endswith("--organization contoso --label 'to $(reboot)'")


def test_one_whose_key_cannot_be_had_says_so(store):
    add(Inventory(store, Vault(MASTER)), OLD)
    with pytest.raises(IdentityError, match=r"its key is sealed, and store\.master_key not set"):
        ClientIdentities(Inventory(store, None)).find("contoso", "to-bank", NOW)


def test_from_a_store_that_is_not_open(store, tmp_path):
    add(Inventory(store, Vault(MASTER)), OLD)
    settings = tmp_path / "gatepost.toml"
    text = '[server]\nhostname = "mx.a.example"\ndata_dir = "data"\n[store]\nmaster_key = "{}"\n'
    settings.write_text(text.format("env:GATEPOST_TEST_MASTER"))
    found = load(str(settings), {})
    with pytest.raises(IdentityError, match="there is no such variable"):
        stored_client_identities(found, "contoso", "to-bank", NOW)
    (tmp_path / "master").write_bytes(MASTER)
    (tmp_path / "master").chmod(0o600)
    settings.write_text(text.format(f"file:{tmp_path / 'master'}"))
    assert stored_client_identities(load(str(settings), {}), "contoso", "to-bank", NOW) == OLD
