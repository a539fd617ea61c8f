from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gatepost.pki.certificates.site_key import check_site_key, site_vault
from gatepost.pki.certificates.vault import Vault, VaultError
from gatepost.store.changes import ConfigFile, ConfigStore


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ConfigStore]:
    """That of a site."""
    monkeypatch.setattr(ConfigFile, "is_shared", True)
    with closing(ConfigStore(tmp_path / "config.db")) as store:
        yield store


def test_one_node_may_have_any_key(tmp_path: Path) -> None:
    with closing(ConfigStore(tmp_path / "config.db")) as store:
        for key in (b"1" * 32, b"2" * 32):
            check_site_key(store, Vault(key))
        check_site_key(store, None)
        assert store.content("store/canary") is None


def test_nodes_of_a_site_have_the_key_of_the_first(store: ConfigStore) -> None:
    check_site_key(store, None)
    check_site_key(store, Vault(b"1" * 32))
    check_site_key(store, Vault(b"1" * 32))
    with pytest.raises(VaultError, match="another master key than this node has: copy the master key of a node that"):
        check_site_key(store, Vault(b"2" * 32))
    with pytest.raises(VaultError, match="this node has no master key"):
        check_site_key(store, None)


def test_the_vault_of_the_settings(store: ConfigStore, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"1" * 32)
    path.chmod(0o600)
    vault = site_vault(f"file:{path}", store)
    assert vault is not None
    assert Vault(b"1" * 32).open(vault.seal(b"x", "place"), "place") == b"x"
    with pytest.raises(VaultError, match="no master key"):
        site_vault("", store)
