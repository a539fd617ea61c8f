from __future__ import annotations

import pytest

from gatepost.net.identity import ServerIdentity
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.entry import Origin, State
from gatepost.pki.certificates.files import CertificateFileError, OtherCertificate
from gatepost.pki.certificates.inventory import CertificateUnknown, Inventory, entry_from
from gatepost.pki.certificates.presented import presented
from gatepost.pki.certificates.vault import Vault
from gatepost.store.changes import ConfigConflict
from gatepost.values import replace

AUTHORITY = Authority("Inventory Root")
MX, OLD, OTHER = (ServerIdentity(*AUTHORITY.issue([name])) for name in ("mx.a.example", "mx.a.example", "b.example"))
VAULT = Vault(bytes(range(32)))


@pytest.fixture
def inventory(store):
    return Inventory(store, VAULT)


def add(inventory, identity, *, state=State.NEXT, now=1000.0, **fields):
    entry = replace(entry_from(identity, now=now), state=state, **fields)
    inventory.add(entry, identity, author="ann")
    return entry


def test_a_key_is_stored_sealed_and_audited_without_it(inventory, store, tmp_path):
    entry = add(inventory, MX)
    assert inventory.entries() == (1, {entry.id: entry})
    assert inventory.identity(entry) == MX
    assert inventory.chain_pem(entry) == MX.chain_pem
    assert inventory.chains() == {entry.id: MX.chain_pem}
    (change,) = store.history("certificate")
    assert (change.author, change.name, change.after["state"]) == ("ann", entry.id, "next")
    store.close()
    for file in (tmp_path / "data").iterdir():
        assert b"PRIVATE KEY" not in file.read_bytes()


def test_entries_are_read_anew_when_somebody_changed_them_and_only_then(inventory, store, monkeypatch):
    add(inventory, MX)
    assert inventory.entries()[1] is inventory.entries()[1]
    with inventory.apart() as another:
        entry = add(another, OTHER)
    assert entry.id in inventory.entries()[1]
    own = add(inventory, OLD)
    version, entries = inventory.entries()
    assert (version, own.id in entries, len(entries)) == (3, True, 3)
    monkeypatch.setattr(store, "texts", lambda _kind: pytest.fail("nothing changed"))
    assert inventory.entries() == (version, entries)


def test_without_a_master_key_nothing_is_sealed_or_opened(store, inventory):
    bare = Inventory(store, None)
    with pytest.raises(CertificateFileError, match=r"set store\.master_key, or leave the key in its file"):
        add(bare, MX)
    assert bare.entries() == (0, {})
    entry = add(inventory, MX)
    with pytest.raises(CertificateFileError, match=r"its key is sealed, and store.master_key not set"):
        bare.identity(entry)
    with pytest.raises(CertificateFileError, match="not the one that it was sealed with"):
        Inventory(store, Vault(bytes(32))).identity(entry)


def test_a_key_that_stays_in_its_file(store, tmp_path):
    chain, key = tmp_path / "c.pem", tmp_path / "k.pem"
    chain.write_bytes(MX.chain_pem)
    key.write_bytes(MX.key_pem)
    key.chmod(0o600)
    inventory = Inventory(store, None)
    entry = add(inventory, MX, origin=Origin.FILES, chain_file=str(chain), key_file=str(key))
    assert inventory.identity(entry) == MX
    key.write_bytes(OTHER.key_pem)
    assert inventory.identity(entry) == MX  # half a renewal: what was read before stays
    chain.write_bytes(OTHER.chain_pem)
    assert inventory.identity(entry) == MX
    with pytest.raises(OtherCertificate, match="another certificate is in it than") as other:
        Inventory(store, None).identity(entry)
    assert other.value.identity == OTHER
    key.unlink()
    with pytest.raises(CertificateFileError, match="No such file"):
        Inventory(store, None).identity(entry)


def test_all_or_none_change_and_a_retired_key_is_gone(inventory, store):
    old, new = add(inventory, OLD, state=State.CURRENT), add(inventory, MX)
    with pytest.raises(ConfigConflict):
        inventory.change([replace(new, state=State.CURRENT)], author="ann", expected=1)
    inventory.change([replace(old, state=State.RETIRED), replace(new, state=State.CURRENT)], author="ann", expected=2)
    _, entries = inventory.entries()
    assert (entries[old.id].state, entries[new.id].state) == (State.RETIRED, State.CURRENT)
    with pytest.raises(CertificateFileError, match="its key is not in the store"):
        inventory.identity(entries[old.id])
    assert inventory.chain_pem(entries[old.id]) == OLD.chain_pem
    assert store.content(f"certificate/{old.id}/key") is None
    inventory.remove(entries[old.id], author="ann")
    with pytest.raises(CertificateFileError, match="its chain is not in the store"):
        inventory.chain_pem(old)


def test_what_was_seen_of_one_is_remembered_until_it_is_retired(inventory, store):
    entry = add(inventory, MX)
    assert inventory.seen(entry) == b""
    inventory.remember(entry, b"x")
    assert (inventory.seen(entry), store.version()) == (b"x", 1)
    inventory.change([replace(entry, state=State.RETIRED)], author="ann")
    assert inventory.seen(entry) == b""


def test_certificates_are_found_by_what_people_see(inventory):
    mx, other = add(inventory, MX, label="mail"), add(inventory, OTHER)
    for number in (mx.id, mx.leaf.sha256.upper(), mx.leaf.sha256[:8], "mail"):
        assert inventory.find(number) == mx
    assert inventory.find(":".join(other.leaf.sha256[at : at + 2] for at in range(0, 64, 2)).upper()) == other
    assert inventory.find(other.id[:4]) == other
    named = add(inventory, OLD, label=other.id[:4])
    assert inventory.find(other.id[:4]) == named  # what people wrote goes before what happens to begin so
    for nobody in ("", "zz", "MAIL", mx.id[:3]):
        with pytest.raises(CertificateUnknown, match="found: none"):
            inventory.find(nobody)


def test_what_is_presented(inventory):
    assert presented(inventory, [OTHER]) == [OTHER]
    first = add(inventory, OLD, state=State.CURRENT, current_from=1.0)
    assert presented(inventory, [OTHER]) == [OLD, OTHER]
    second = add(inventory, MX, state=State.CURRENT, current_from=2.0)
    assert presented(inventory, []) == [MX, OLD]
    inventory.change([replace(first, state=State.DEPRECATED)], author="ann")
    assert presented(inventory, []) == [MX]
    file = replace(entry_from(OTHER, now=1.0), origin=Origin.SETTINGS, state=State.DEPRECATED, key_file="k")
    inventory.add(file, OTHER, author="gatepost")
    assert presented(inventory, [OTHER]) == [MX]
    inventory.change([replace(file, state=State.CURRENT)], author="ann")
    assert presented(inventory, [OTHER]) == [MX, OTHER]
    inventory.change([replace(second, state=State.DEPRECATED), file], author="ann")
    assert presented(inventory, [OTHER]) == [OTHER]  # nothing is current, and no certificate would be no STARTTLS


def test_one_whose_key_cannot_be_had_does_not_stop_the_others(store, inventory, caplog):
    add(inventory, MX, state=State.CURRENT)
    assert presented(Inventory(store, None), [OTHER]) == [OTHER]
    assert "store.master_key not set" in caplog.text


def test_nothing_is_sealed_with_another_master_key(inventory, store):
    """Such as that of a shell whose variable is not the gateway's: it would make what the gateway cannot present."""
    entry, other = add(inventory, MX, state=State.CURRENT), Inventory(store, Vault(bytes(32)))
    with pytest.raises(CertificateFileError, match=f"not the one that the keys of {entry.id} were sealed with: put"):
        add(other, OTHER)
    assert list(inventory.entries()[1]) == [entry.id]
    inventory.remove(entry, author="ann")  # the way out when it is lost
    assert other.identity(add(other, OTHER)) == OTHER
    store.apply(
        {}, author="ann", content={f"certificate/{entry.id}/key": b"sealed in a form that this version does not know"}
    )
    assert other.identity(add(other, OLD)) == OLD  # one that opens is enough


def test_a_retired_key_is_gone_however_it_is_retired(inventory, store):
    old, older = add(inventory, OLD), add(inventory, OTHER)
    entry = replace(entry_from(MX, now=1.0), state=State.CURRENT)
    inventory.add(entry, MX, author="ann", others=[replace(old, state=State.RETIRED)], gone=[older])
    assert set(inventory.entries()[1]) == {entry.id, old.id}
    assert [store.content(f"certificate/{one.id}/key") for one in (old, older)] == [None, None]
    assert store.content(f"certificate/{older.id}/chain") is None
    with pytest.raises(ConfigConflict):
        inventory.add(replace(entry, label="x"), MX, author="ann", expected=1)
    with pytest.raises(ConfigConflict):
        inventory.remove(entry, author="ann", expected=1)
    found = replace(entry_from(OTHER, now=1.0), origin=Origin.FILES, chain_file="c", key_file="k")
    inventory.record(found, OTHER.chain_pem, [replace(entry, state=State.RETIRED)], note="renewed")
    assert store.content(f"certificate/{entry.id}/key") is None
