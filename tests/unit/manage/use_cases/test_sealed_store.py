from __future__ import annotations

import pytest

from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.sealed_store import store_and_vault
from gatepost.store.changes import ConfigConflict


@pytest.mark.parametrize("keys", [True, False])
def test_without_a_master_key_there_is_no_vault(gateway, keys):
    with store_and_vault(gateway, keys=keys) as (store, vault):
        assert (store.version(), vault) == (0, None)


def test_the_vault_is_there_for_who_wants_keys_alone(sealed):
    with store_and_vault(sealed, keys=True) as (_, vault):
        assert vault.open(vault.seal(b"key", "here"), "here") == b"key"
    with store_and_vault(sealed, keys=False) as (_, vault):
        assert vault is None


@pytest.mark.parametrize("content", [None, b"", b"short"])
def test_a_master_key_that_cannot_be_read_stops_who_wants_keys(sealed, tmp_path, content):
    if content is None:
        (tmp_path / "master").unlink()
    else:
        (tmp_path / "master").write_bytes(content)
    with pytest.raises(Refusal) as refused, store_and_vault(sealed, keys=True):
        pass
    assert refused.value.kind is RefusalKind.INPUT
    assert refused.value.text.startswith("store.master_key: ")
    with store_and_vault(sealed, keys=False) as (store, _):
        assert store.version() == 1


def test_somebody_else_was_quicker(sealed):
    with pytest.raises(Refusal) as refused, store_and_vault(sealed, keys=False) as (store, _):
        store.apply({}, author="ann", expected=store.version() - 1)
    assert refused.value.kind is RefusalKind.CONFLICT
    assert "nothing was done" in refused.value.text
    assert isinstance(refused.value.__cause__, ConfigConflict)


def test_a_store_that_cannot_be_read(gateway):
    gateway.data.mkdir()
    (gateway.data / "config.db").write_bytes(b"no database, but long enough to be read as one " * 100)
    with pytest.raises(Refusal) as refused, store_and_vault(gateway, keys=False):
        pass
    assert refused.value.kind is RefusalKind.UNREADABLE


def test_the_store_is_closed_whatever_happens(sealed):
    with pytest.raises(ZeroDivisionError), store_and_vault(sealed, keys=True) as (store, _):
        raise ZeroDivisionError
    with pytest.raises(Exception, match="closed"):
        store.version()
