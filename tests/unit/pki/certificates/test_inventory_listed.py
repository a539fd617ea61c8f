from __future__ import annotations

import pytest

from gatepost.net.identity import ServerIdentity
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.entry import Origin, State
from gatepost.pki.certificates.inventory import Inventory, entry_from, listed
from gatepost.store.changes import ConfigStore
from gatepost.values import replace

AUTHORITY = Authority("Listed Root")
MX, NEWER = (ServerIdentity(*AUTHORITY.issue(["mx.a.example"])) for _ in range(2))


@pytest.fixture
def inventory(tmp_path):
    store = ConfigStore(tmp_path / "data" / "config.db")
    yield Inventory(store, None)
    store.close()


def pair(path, identity):
    chain, key = path / "chain.pem", path / "key.pem"
    chain.write_bytes(identity.chain_pem)
    key.write_bytes(identity.key_pem)
    key.chmod(0o600)
    return chain, key


def test_files_of_the_settings_are_listed_before_they_are_recorded(inventory, tmp_path):
    files = [pair(tmp_path, MX), (tmp_path / "none.pem", tmp_path / "none.key")]
    found = listed(inventory, files, now=5.0)
    (entry,) = found.entries.values()
    assert (entry.origin, entry.state, entry.added, entry.key_file) == (
        Origin.SETTINGS, State.CURRENT, 0.0, str(files[0][1])
    )  # fmt: skip
    assert found.chains == {entry.id: MX.chain_pem}
    assert found.version == 0
    assert found.trouble == (f"certificate chain {tmp_path / 'none.pem'}: No such file or directory",)


def test_what_is_recorded_counts(inventory, tmp_path):
    chain, key = pair(tmp_path, MX)
    held = {"origin": Origin.SETTINGS, "chain_file": str(chain), "key_file": str(key), "state": State.CURRENT}
    entry = replace(entry_from(MX, now=1.0), **held)
    inventory.record(entry, MX.chain_pem, note="found")
    assert listed(inventory, [(chain, key)], now=5.0).entries == {entry.id: entry}
    pair(tmp_path, NEWER)
    found = listed(inventory, [(chain, key)], now=5.0)
    assert found.entries == {entry.id: entry}
    assert f"did not take the place of {entry.id} yet" in found.trouble[0]
