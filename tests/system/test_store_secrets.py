"""Keys and other secrets of a site that has its configuration in PostgreSQL: sealed with one key, seen by all nodes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from support.postgres import Postgres

from gatepost.node.roles import login_secret
from gatepost.node.site_secrets import prepare_site, srs_keys_of, ticket_secrets_of
from gatepost.pki.acme.challenges import PATH, Proof, Proofs, token_answer
from gatepost.pki.certificates.dkim_keys import DkimKeys, content_name, made_key
from gatepost.pki.certificates.files import CertificateFileError, load_identities
from gatepost.pki.certificates.inventory import Inventory, entry_from
from gatepost.pki.certificates.site_key import site_vault
from gatepost.pki.certificates.vault import VaultError
from gatepost.pki.site.site import Site
from gatepost.pki.site.store import SiteStore
from gatepost.policy.connectors.values import DkimAlgorithm
from gatepost.settings.acme import Acme
from gatepost.settings.model import Settings
from gatepost.store.interface import StoreBusy
from gatepost.store.srs_keys import SRS_KEYS_FILE
from gatepost.store.storage import Storage
from gatepost.store.ticket_secrets import TICKETS
from gatepost.testing.pki import Pki

TOKEN = "t" * 43


class SharedSite:
    """Nodes of one site, each with settings of its own."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self._folder = folder

    def key(self, content: bytes) -> str:
        """A master key in a file, as the settings name it."""
        path = self._folder / f"{content[:1].hex()}.key"
        path.write_bytes(content)
        path.chmod(0o600)
        return f"file:{path}"

    def settings(self, node: str, master_key: str = "") -> Settings:
        """Of a node."""
        data = self._folder / node
        data.mkdir(mode=0o700, exist_ok=True)
        server = {"hostname": f"{node}.contoso.example", "data_dir": str(data)}
        settings = Settings(server=server)
        store = settings.store.replaced(url=self.url, master_key=master_key)
        return settings.replaced(store=store)


@pytest.fixture
def site(postgres: Postgres, tmp_path: Path) -> Iterator[SharedSite]:
    site = SharedSite(postgres.database(), tmp_path)
    yield site
    Storage(site.url, tmp_path).disconnect()


def test_a_node_with_another_master_key_or_none_does_not_start(site: SharedSite) -> None:
    prepare_site(site.settings("a"))  # no node has a key yet
    prepare_site(site.settings("b", site.key(b"1" * 32)))
    prepare_site(site.settings("c", site.key(b"1" * 32)))
    with pytest.raises(CertificateFileError, match="another master key than this node has: copy the master key of a"):
        prepare_site(site.settings("d", site.key(b"2" * 32)))
    with pytest.raises(CertificateFileError, match="this node has no master key, and the keys of its site are sealed"):
        prepare_site(site.settings("a"))


def test_of_two_keys_at_once_one_wins(site: SharedSite) -> None:
    failures: list[VaultError] = []

    def check(node: str, key: bytes) -> None:
        settings = site.settings(node, site.key(key))
        with closing(Storage.of(settings).configuration()) as store:
            try:
                site_vault(settings.store.master_key, store)
            except VaultError as error:
                failures.append(error)

    threads = [threading.Thread(target=check, args=pair) for pair in (("a", b"1" * 32), ("b", b"2" * 32))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(failures) == 1


def test_nodes_make_ticket_keys_of_one_secret_a_day(site: SharedSite) -> None:
    def secrets(node: str, key: str, days: tuple[int, ...] = (20000, 20001)) -> list[bytes]:
        settings = site.settings(node, key)
        with closing(Storage.of(settings).configuration()) as store:
            source = ticket_secrets_of(settings, store)
        return [source.secret(day) for day in days]

    key = site.key(b"1" * 32)
    with ThreadPoolExecutor(4) as threads:
        of_nodes = list(threads.map(lambda node: secrets(node, key), "abcd"))
    assert of_nodes == [of_nodes[0]] * 4
    assert len({*of_nodes[0]}) == 2
    database = Storage(site.url, Path()).database(TICKETS)
    with database.single() as connection:
        stored = [bytes(sealed) for (sealed,) in connection.rows("SELECT sealed FROM ticket_secret")]
        connection.execute("UPDATE ticket_secret SET made = made - 4 * 86400")
    assert not [secret for secret in of_nodes[0] for sealed in stored if secret in sealed]
    secrets("a", key, (20003,))
    with database.reading() as connection:
        assert connection.rows("SELECT day FROM ticket_secret") == [(20003,)]


def test_what_one_node_stores_another_one_opens(site: SharedSite, pki: Pki) -> None:
    key = site.key(b"1" * 32)
    one, other = site.settings("a", key), site.settings("b", key)
    with closing(Storage.of(one).configuration()) as first:
        vault = site_vault(key, first)
        leaf = pki.leaf("mx.contoso.example")
        (identity,) = load_identities([(leaf.chain, leaf.key)])
        entry = entry_from(identity, now=time.time())
        Inventory(first, vault).add(entry, identity, author="ann")
        dkim = DkimKeys(first, vault).sealed(
            "contoso", "s1._domainkey.contoso.example", made_key(DkimAlgorithm.RSA_SHA256)
        )
        first.apply({}, author="ann", content=dkim)
        authority = Site(SiteStore(first, vault)).init("contoso", ["contoso.example"], author="ann", now=time.time())
        secret = login_secret(first)
        srs = srs_keys_of(one, first)
        with closing(Storage.of(other).configuration()) as second:
            vault = site_vault(key, second)
            inventory = Inventory(second, vault)
            assert inventory.identity(inventory.find(entry.id)).key_pem == identity.key_pem
            assert DkimKeys(second, vault).has_key("contoso", "s1._domainkey.contoso.example")
            assert second.content(content_name("contoso", "s1._domainkey.contoso.example")) == next(iter(dkim.values()))
            state = SiteStore(second, vault).state()
            assert [one.sha256 for one in state.authorities] == [authority.sha256]
            Site(SiteStore(second, vault)).endpoint("site.contoso.example", 86400, time.time())
            assert login_secret(second) == secret
            assert srs_keys_of(other, second) == srs
            strange = site.settings("c", site.key(b"2" * 32))
            with pytest.raises(CertificateFileError, match="another master key"):
                srs_keys_of(strange, second)


def test_every_node_answers_for_a_token_of_http_01(site: SharedSite, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = site.settings("a"), site.settings("b")
    with (
        closing(Storage.of(one).configuration()) as first,
        closing(Storage.of(other).configuration()) as second,
    ):
        seen: list[bytes | None] = []
        monkeypatch.setattr(Proofs, "_see", lambda *_: seen.append(token_answer(second, PATH + TOKEN)))
        proofs = Proofs(Acme(), first)
        proofs.publish([Proof("http-01", "contoso.example", TOKEN, "value")])
        assert seen == [b"value"], "before the authority is told to look"
        assert proofs.tidy() == []
        deadline = time.monotonic() + 30
        while token_answer(second, PATH + TOKEN) is not None:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_the_first_node_brings_its_file_of_srs_keys(site: SharedSite, tmp_path: Path) -> None:
    settings = site.settings("a")
    path = tmp_path / "a" / SRS_KEYS_FILE
    path.parent.mkdir(parents=True)
    path.touch(0o600)
    path.write_text(f"{'11' * 16}\n{'22' * 32}\n")
    prepare_site(settings)
    other = site.settings("b")
    with closing(Storage.of(other).configuration()) as store:
        assert srs_keys_of(other, store).keys == (b"\x11" * 16, b"\x22" * 32)
    assert not (tmp_path / "b" / SRS_KEYS_FILE).exists()


def test_a_node_that_was_never_there_does_not_start_without_the_server(
    start_postgres: Callable[..., Postgres], tmp_path: Path
) -> None:
    server = start_postgres()
    settings = SharedSite(server.database(), tmp_path).settings("a")
    server.stop()
    with pytest.raises(StoreBusy, match="PostgreSQL"):
        prepare_site(settings)
    server.start()
    prepare_site(settings)
    Storage.of(settings).disconnect()
