from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.clock import Clock

from gatepost.node import srs_keys
from gatepost.node.srs_keys import SIGNING_SECONDS, SrsKeySource
from gatepost.protocols.smtp.grammar import parse_address
from gatepost.settings.model import Settings
from gatepost.store.interface import StoreFailure
from gatepost.store.srs_keys import SRS_KEYS_FILE, change_srs_keys, load_srs_keys, new_key
from gatepost.store.storage import Storage


@pytest.fixture
def clock() -> Clock:
    return Clock(5.0)


@pytest.fixture
def source(tmp_path: Path, clock: Clock) -> Iterator[SrsKeySource]:
    settings = Settings(server={"hostname": "mx.contoso.example", "data_dir": str(tmp_path)})
    source = SrsKeySource(settings, Storage.of(settings).configuration(), clock)
    yield source
    source.close()


def rotate(folder: Path) -> None:
    change_srs_keys(folder, lambda keys: keys.with_new(new_key()))


def take(source: SrsKeySource) -> bool:
    outdated = source.is_outdated()
    keys = source.newer()
    assert keys is None or outdated  # else nobody would ask
    if keys is not None:
        source.take(keys)
    return keys is not None


def test_a_new_key_verifies_at_once_and_signs_when_all_know_it(
    source: SrsKeySource, clock: Clock, tmp_path: Path
) -> None:
    assert not take(source)
    (old,) = source.current.keys
    rotate(tmp_path)
    new = load_srs_keys(tmp_path).keys[0]
    assert take(source)
    assert source.current.keys == (old, new)
    elsewhere = load_srs_keys(tmp_path)  # of a worker that signs with it already
    address = elsewhere.rewritten(parse_address("mallory@elsewhere.example"), "contoso.example", 9)
    assert address
    assert source.current.original(address.partition("@")[0], 9).local_part == "mallory"
    clock.now += SIGNING_SECONDS - 1
    assert not take(source)
    clock.now += 1
    assert take(source)
    assert source.current.keys == (new, old)


def test_a_key_that_was_removed_signs_no_more_at_once(source: SrsKeySource, tmp_path: Path) -> None:
    (old,) = source.current.names
    rotate(tmp_path)
    change_srs_keys(tmp_path, lambda keys: keys.without(old))
    assert take(source)
    assert source.current == load_srs_keys(tmp_path)


def test_keys_that_cannot_be_read_leave_those_before(
    source: SrsKeySource, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = source.current
    (tmp_path / SRS_KEYS_FILE).parent.mkdir(exist_ok=True)
    (tmp_path / SRS_KEYS_FILE).write_text("broken\n")
    assert not take(source)
    assert not take(source)
    assert source.current == before
    assert len(caplog.messages) == 1, "it is said once"
    assert "those before stay in force" in caplog.text


def test_each_outage_is_told_of(
    source: SrsKeySource, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unavailable(*_: object) -> None:
        raise StoreFailure("away")

    for _ in range(3):
        with monkeypatch.context() as away:
            away.setattr(source, "_look", unavailable)
            assert [source.newer(), source.newer()] == [None, None]
        assert source.newer() is None
    assert len(caplog.messages) == 3


def test_keys_that_could_not_be_read_are_read_again(
    source: SrsKeySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotate(tmp_path)

    def unavailable(*_: object) -> None:
        raise StoreFailure("away")

    with monkeypatch.context() as away:
        away.setattr(srs_keys, "srs_keys_of", unavailable)
        assert not take(source)
    assert take(source)


def test_who_knows_all_keys_and_signs_with_the_newest_asks_no_more(
    source: SrsKeySource, clock: Clock, tmp_path: Path
) -> None:
    assert not take(source)  # the first look sees the file that the start made
    assert not source.is_outdated()
    rotate(tmp_path)
    assert take(source)
    assert source.is_outdated()  # the new key does not sign yet
    clock.now += SIGNING_SECONDS
    assert take(source)
    assert not source.is_outdated()
    (tmp_path / SRS_KEYS_FILE).unlink()
    assert source.is_outdated()
