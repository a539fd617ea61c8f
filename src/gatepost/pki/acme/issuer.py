"""Obtain certificates from an ACME authority: account, order, and the new entry of the inventory.

Used by `pki.acme.duty` in a thread, and by `gatepost certificate acme`; everything here blocks. The account's
key and where things stand lie in the store, apart for each authority; the certificates are entries as all others are.
A new certificate is presented at once only if no TLSA record of ours is against it: else it is the next one, and waits
for a changeover.

Before a new certificate is presented, it is checked that senders with DANE would accept it, by what our names publish.
Records count whether or not DNSSEC proves them: the senders may see more than we do.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import logging
import os
import time
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from gatepost.decoding import from_json
from gatepost.net import dane
from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.identity import IdentityError, ServerIdentity
from gatepost.net.lookups.configured import configured_resolver
from gatepost.net.lookups.http import https_context
from gatepost.net.lookups.question import LookupFailed
from gatepost.pki.acme import schedule
from gatepost.pki.acme.challenges import AcmeFailed, Proofs
from gatepost.pki.acme.schedule import Progress, latest, wanted
from gatepost.pki.certificates import lifecycle as course
from gatepost.pki.certificates.entry import Entry, Origin, State
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.pki.certificates.inventory import Inventory, entry_from
from gatepost.pki.certificates.request import KEY_TYPES
from gatepost.pki.certificates.site_key import site_vault
from gatepost.pki.certificates.vault import Vault, VaultError, read_secret
from gatepost.protocols.dane.tlsa import Records, RecordsKind, classify
from gatepost.store.changes import ConfigConflict, ConfigStore
from gatepost.store.interface import StoreFailure
from gatepost.store.leases import ACME_REQUESTS, DutyLeases
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from gatepost.net.lookups.mx import Queries
    from gatepost.pki.acme.client import Authority, ExternalAccount, Order
    from gatepost.protocols.tls.facts import CertificateFacts
    from gatepost.settings.model import Settings


_POLICY_HOST: Final = "mta-sts."


class PublishedTlsa(msgspec.Struct, frozen=True):
    """The TLSA records for mail of one name. failed: why they are not known, "" if they are."""

    name: str
    records: Records
    failed: str = ""


async def published_tlsa(resolver: Queries, names: Iterable[str]) -> list[PublishedTlsa]:
    """Look up the TLSA records below each name at which mail could come. Never raises."""
    hosts = [name for name in names if not name.startswith(("*", _POLICY_HOST))]
    return [await _published(resolver, host) for host in hosts]


async def _published(resolver: Queries, host: str) -> PublishedTlsa:
    try:
        answer = await resolver.query(f"_25._tcp.{host}", "TLSA")
    except LookupFailed as failure:
        return PublishedTlsa(host, Records(), failure.detail if failure.temporary else "")
    data = [record.to_generic().data for record in answer.records]
    return PublishedTlsa(host, classify(data, left_out=answer.left_out, unreadable=dane.unreadable))


def objection(published: Sequence[PublishedTlsa], chain_pem: bytes, *, key_kept: bool, now: float) -> str:
    """Explain why a chain must not be presented yet, "" if it may be.

    key_kept: it has the key of the one before. now: seconds since 1970.
    """
    chain = [certificate.public_bytes(Encoding.DER) for certificate in x509.load_pem_x509_certificates(chain_pem)]
    for tlsa in published:
        if tlsa.failed and not key_kept:
            return f"its key is new, and the TLSA records of {tlsa.name} are not known: {tlsa.failed}"
        if tlsa.records.kind is not RecordsKind.USABLE:
            continue
        verdict = dane.judge(tlsa.records, chain, names=(tlsa.name,), now=now)
        if not verdict.authenticated:
            return f"the TLSA records of {tlsa.name} do not allow it: {verdict.detail}"
    return ""


_SECONDS: Final = 300.0  # for an order, beside what hooks and waits may take
_OURS: Final = "gatepost"
_TRIES: Final = 5

_log = logging.getLogger(__name__)


class Busy(Exception):  # noqa: N818 - it names what was found
    """Another process is asking the authority just now."""


class AuthorityState(msgspec.Struct, frozen=True):
    """The stored state of an authority. account: its address there. progress: by names, with a space between."""

    account: str = ""
    progress: dict[str, Progress] = {}


class IssuedCertificate(msgspec.Struct, frozen=True):
    """A certificate that came. held: why it is not presented yet, "" if it is current. key_kept: as the one before."""

    entry: Entry
    held: str
    key_kept: bool


class RenewalStatus(msgspec.Struct, frozen=True):
    """The status of one list of names. renew_at: seconds since 1970, 0.0 if there is no certificate."""

    names: tuple[str, ...]
    entry: Entry | None
    progress: Progress
    renew_at: float


def acme_client() -> Any:
    """The module that talks to authorities, imported when it is needed. Raises AcmeFailed if its library is missing."""
    try:
        return import_module("gatepost.pki.acme.client")
    except ModuleNotFoundError as missing:
        raise AcmeFailed(
            f"the Python package {missing.name} is missing; install gatepost with its extra: gatepost[acme]"
        ) from missing


@contextmanager
def alone(data_dir: Path, leases: DutyLeases | None = None) -> Iterator[None]:
    """One process at a time asks, whatever was killed meanwhile. Raises Busy, OSError.

    leases: of the site, on whose other nodes none asks either; they are closed at the end.
    """
    folder = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)  # no file of its own that could belong to somebody else
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy("the gateway or another command is requesting certificates now; wait a minute") from None
        with _alone_at_site(leases) if leases is not None else nullcontext():
            yield
    finally:
        os.close(folder)


@contextmanager
def _alone_at_site(leases: DutyLeases) -> Iterator[None]:
    lease = leases.lease(ACME_REQUESTS)
    try:
        leases.round()
        if not lease.held:
            raise Busy("another node is requesting certificates now, or the store is away; wait a minute")
        leases.start()
        yield
    finally:
        leases.close()


class Issuer:
    """settings: the table [acme], names, DNS. store: of this thread. url: an authority other than the settings'.

    author: for the history. Raises AcmeFailed if the master key cannot be had.
    """

    def __init__(self, settings: Settings, store: ConfigStore, *, url: str = "", author: str = _OURS) -> None:
        self._settings = settings
        self._acme = settings.acme
        self._store = store
        self._author = author
        self.url = url or settings.acme.directory_url
        self._vault = _vault(settings, store)
        self.inventory = Inventory(store, self._vault)
        self.proofs = Proofs(settings.acme, store)

    # what there is

    def kept(self) -> AuthorityState:
        """The stored state of the authority."""
        content = self._store.content(self._place("state"))
        try:
            return from_json(content, AuthorityState) if content else AuthorityState()
        except msgspec.MsgspecError:
            return AuthorityState()

    def statuses(self, policy_hosts: Sequence[str]) -> list[RenewalStatus]:
        """The status of every list of names that should have a certificate."""
        _, entries = self.inventory.entries()
        progress = self.kept().progress
        statuses = []
        for names in wanted(self._acme, self._settings.server.hostname, policy_hosts):
            entry, latest_progress = latest(names, entries.values()), progress.get(" ".join(names), Progress())
            at = schedule.renewal_at(entry, latest_progress, self._acme.renew_before) if entry else 0.0
            statuses.append(RenewalStatus(names, entry, latest_progress, at))
        return statuses

    def due(self, policy_hosts: Sequence[str], now: float) -> list[schedule.Due]:
        """The orders that are due now."""
        _, entries = self.inventory.entries()
        lists = wanted(self._acme, self._settings.server.hostname, policy_hosts)
        progress = {names: self._progress(names) for names in lists}
        return schedule.plan(lists, entries.values(), progress, self._acme.renew_before, now)

    def not_before(self, names: tuple[str, ...]) -> float:
        """The earliest time of the next attempt, seconds since 1970."""
        return self._progress(names).not_before

    # what is done

    def ask(self, names: tuple[str, ...]) -> None:
        """Ask when the authority wants the certificate renewed (RFC 9773), and remember it."""
        _, entries = self.inventory.entries()
        entry, now = latest(names, entries.values()), time.time()
        if entry is None:
            return
        before, renew_at, again = self._progress(names), 0.0, 0.0
        try:
            with self._authority(self._account_key()) as authority:
                renew_at, again = authority.renewal(self.inventory.chain_pem(entry))
        except AcmeFailed as failure:
            _log.info("no word on when %s is to be renewed: %s", ", ".join(names), failure)
            renew_at = before.renew_at if before.certificate == entry.id else 0.0
        self._note(names, schedule.with_renewal_info(before, entry.id, renew_at, again, now))

    def issue(self, names: tuple[str, ...]) -> IssuedCertificate:
        """Get a certificate, and store it. Raises AcmeFailed, which is remembered as the reason to wait."""
        before, now = self._progress(names), time.time()
        entry = latest(names, self.inventory.entries()[1].values())
        ends = entry.leaf.not_after if entry else 0.0
        self._note(names, schedule.begun(before, ends, now))
        try:
            issued = self._issue(names)
        except AcmeFailed as failure:
            begun = self._progress(names)
            self._note(names, schedule.failed(begun, str(failure), failure.retry_after, ends, time.time()))
            raise
        leaf = issued.entry.leaf
        self._note(names, schedule.done(before, issued.entry.id, leaf.not_after - leaf.not_before, time.time()))
        return issued

    def waiting_alone(self, now: float) -> list[Entry]:
        """Those that came and wait for a changeover, though nothing that is current bears one of their names."""
        _, entries = self.inventory.entries()
        return [entry for entry in entries.values() if schedule.waits_alone(entry, entries, now)]

    def present_waiting(self, now: float) -> list[Entry]:
        """Make those current, since there is nothing that they could harm. Raises StoreFailure."""
        presented = []
        for waiting in self.waiting_alone(now):
            version, entries = self.inventory.entries()
            entry = entries.get(waiting.id)
            if entry is None or not schedule.waits_alone(entry, entries, now):
                continue  # one before it has the name by now
            with suppress(ConfigConflict, course.Refused):
                changed = course.switch(entry, entries, now=now)
                note = "no other was presented for its names"
                self.inventory.change(changed, author=self._author, note=note, expected=version)
                presented.append(changed[0])
        return presented

    def rehearse(self, names: tuple[str, ...]) -> CertificateFacts:
        """Get a certificate with a key that is thrown away, and store neither. Raises AcmeFailed."""
        key_pem = _pem(KEY_TYPES[self._acme.key_type]())
        identity = ServerIdentity(self._ordered(names, key_pem, b""), key_pem)
        return _checked(identity, names).leaf

    def forget(self) -> None:
        """Forget the account and all that is remembered of the authority; certificates stay. Raises StoreFailure."""
        content: dict[str, bytes | None] = {self._place("state"): None, self._place("key"): None}
        self._store.apply({}, author=self._author, content=content)

    def _issue(self, names: tuple[str, ...]) -> IssuedCertificate:
        try:
            published = asyncio.run(self._published(names))
            _, entries = self.inventory.entries()
            before = latest(names, entries.values())
            key_pem = self._key(before)
            replaces = self.inventory.chain_pem(before) if before else b""
            identity = ServerIdentity(self._ordered(names, key_pem, replaces), key_pem)
            return self._take(_checked(identity, names), identity, published)
        except (StoreFailure, CertificateFileError, VaultError, OSError) as failure:
            raise AcmeFailed(str(failure)) from failure

    async def _published(self, names: tuple[str, ...]) -> list[PublishedTlsa]:
        async with configured_resolver(self._settings.dns) as resolver:
            return await published_tlsa(resolver, names)

    def _key(self, before: Entry | None) -> bytes:
        """The key to ask for: the one that is there if it is to be kept, and of the kind that is wanted."""
        # One that waits for its changeover was never presented: TLSA records for its key may be published already.
        if before is not None and (before.state is State.NEXT or not self._acme.roll_key):
            identity = self.inventory.identity(before)
            if _kind(before) == self._acme.key_type:
                return identity.key_pem
        return _pem(KEY_TYPES[self._acme.key_type]())

    def _ordered(self, names: tuple[str, ...], key_pem: bytes, replaces: bytes) -> bytes:
        """The chain, PEM. What was published for it is gone afterwards."""
        client = acme_client()
        order = client.Order(names, _csr(names, key_pem), self._acme.profile, replaces)
        self._tidy()
        try:
            with self._authority(self._account_key(), len(names)) as authority:
                return self._issued_by(authority, order)
        except StoreFailure as failure:
            raise AcmeFailed(str(failure)) from failure
        finally:
            self._tidy()

    def _issued_by(self, authority: Authority, order: Order) -> bytes:
        """The chain, PEM. An account that the authority lost is made again, once, with its key."""
        self._registered(authority)
        try:
            return authority.issue(order, self._acme.challenge, self.proofs.publish)
        except AcmeFailed as failure:
            if failure.code != "accountDoesNotExist":
                raise
        self._keep(msgspec.structs.replace(self.kept(), account=""))
        self._registered(authority)
        _log.warning("%s had lost our account; the new one is %s", self.url, self.kept().account)
        return authority.issue(order, self._acme.challenge, self.proofs.publish)

    def _tidy(self) -> None:
        for line in self.proofs.tidy():
            _log.warning("%s", line)

    def _take(self, fresh: Entry, identity: ServerIdentity, published: Sequence[PublishedTlsa]) -> IssuedCertificate:
        """Store it: current if it may be, next otherwise. What others changed meanwhile is looked at anew."""
        for _ in range(_TRIES):
            with suppress(ConfigConflict):
                return self._taken(fresh, identity, published)
        raise AcmeFailed("the certificate came and was not stored: others changed the configuration each time")

    def _taken(self, fresh: Entry, identity: ServerIdentity, published: Sequence[PublishedTlsa]) -> IssuedCertificate:
        version, entries = self.inventory.entries()
        now = time.time()
        staged = schedule.staged(replace(fresh, added=now), entries)
        key_kept = any(entries[text].leaf.spki_sha256 == fresh.leaf.spki_sha256 for text in staged.replaces)
        held = objection(published, identity.chain_pem, key_kept=key_kept, now=now)
        alone = "" if course.bearers(fresh, entries) else held
        if alone:
            _log.warning("%s is presented all the same, as nothing else is for its names: %s", fresh.id, alone)
            held = ""
        entry, others, gone, held = schedule.placed(staged, entries, held, now)
        note = f"from {self.url}" + (f"; it waits: {held}" if held else "")
        note += f"; presented though {alone}: nothing else was for its names" if alone and not held else ""
        note += f"; in the place of {', '.join(old.id for old in gone)}" if gone else ""
        self.inventory.add(entry, identity, author=self._author, note=note, others=others, gone=gone, expected=version)
        return IssuedCertificate(entry, held, key_kept)

    # the account

    @contextmanager
    def _authority(self, key_pem: bytes, names: int = 1) -> Iterator[Authority]:
        seconds = _SECONDS + self._acme.dns_wait + 2 * names * self._acme.dns_hook_timeout
        try:
            context = https_context(TrustAnchors.load(self._acme.trust_anchors))
        except AnchorsError as error:
            raise AcmeFailed(f"acme.trust_anchors: {error}") from error
        made: Authority = acme_client().Authority(
            self.url, context, key_pem, account=self.kept().account, seconds=seconds
        )
        try:
            yield made
        finally:
            made.close()

    def _registered(self, authority: Authority) -> None:
        kept = self.kept()
        if not kept.account:
            account = authority.register(self._acme.contact, self._external_account())
            self._keep(msgspec.structs.replace(kept, account=account))

    def _external_account(self) -> ExternalAccount | None:
        """Our account as a customer of the authority of the settings, None without one. Raises AcmeFailed."""
        if not self._acme.eab_key_id or self.url != self._acme.directory_url:
            return None
        try:
            key = read_secret(self._acme.eab_mac_key, what="MAC key", gone="write there what the authority shows")
        except VaultError as failure:
            raise AcmeFailed(f"acme.eab_mac_key: {failure}") from failure
        made: ExternalAccount = acme_client().ExternalAccount(
            self._acme.eab_key_id, key.decode("ascii", "replace").strip()
        )
        return made

    def _account_key(self) -> bytes:
        """The account's key, made and sealed if there is none."""
        place = self._place("key")
        sealed = self._store.content(place)
        if sealed is not None:
            try:
                return self._vault.open(sealed, place)
            except VaultError as failure:
                raise AcmeFailed(f"the ACME account's key cannot be opened: {failure}") from failure
        key_pem = _pem(KEY_TYPES["ec-p256"]())
        self._store.apply({}, author=self._author, content={place: self._vault.seal(key_pem, place)})
        return key_pem

    # what is remembered

    def _progress(self, names: tuple[str, ...]) -> Progress:
        return self.kept().progress.get(" ".join(names), Progress())

    def _note(self, names: tuple[str, ...], progress: Progress) -> None:
        kept = self.kept()
        self._keep(msgspec.structs.replace(kept, progress=kept.progress | {" ".join(names): progress}))

    def _keep(self, kept: AuthorityState) -> None:
        self._store.apply({}, author=self._author, content={self._place("state"): msgspec.json.encode(kept)})

    def _place(self, what: str) -> str:
        return authority_place(self.url, what)


def authority_place(url: str, what: str) -> str:
    """The name of a content about an authority: what is known of it ("state"), or the sealed key of our account."""
    return f"acme/{hashlib.sha256(url.encode()).hexdigest()[:16]}/{what}"


def _checked(identity: ServerIdentity, names: tuple[str, ...]) -> Entry:
    """Check an issued certificate, and make its entry. Raises AcmeFailed if it is not the one that was ordered."""
    try:
        fresh = entry_from(identity, now=time.time())
    except IdentityError as error:
        raise AcmeFailed(f"the authority issued a certificate that cannot be used: {error}") from error
    if fresh.leaf.not_after <= fresh.added:
        raise AcmeFailed(
            "the authority issued a certificate that has expired already; is the clock of this machine right?"
        )
    if set(fresh.leaf.dns_names) != set(names):
        other = ", ".join(fresh.leaf.dns_names[:10])
        raise AcmeFailed(f"the authority issued a certificate for {other}: other names than were requested")
    return replace(fresh, origin=Origin.ACME)


def _csr(names: Sequence[str], key_pem: bytes) -> bytes:
    """A request with nothing in it but names: authorities take no more from it."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=True)
    key: Any = load_pem_private_key(key_pem, None)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _kind(entry: Entry) -> str:
    """Its key as `KEY_TYPES` has it."""
    return entry.leaf.key.lower().replace("-p-", "-p")


def _pem(key: Any) -> bytes:
    made: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made


def _vault(settings: Settings, store: ConfigStore) -> Vault:
    try:
        vault = site_vault(settings.store.master_key, store)
    except VaultError as error:
        raise AcmeFailed(f"store.master_key: {error}") from error
    if vault is None:
        raise AcmeFailed("ACME needs store.master_key, to seal the keys of account and certificates")
    return vault
