"""All certificates of ours with their states, in the configuration store: versioned and audited as resources are.

Used by `node.assembly`, `checks` and the commands. Chains are public content; keys are sealed by
`pki.certificates.vault` or stay in the file that they came from. For one thread at a time, as its store is.

Lists have certificates in files, too: a gateway that runs records its settings' files (`pki.certificates.watch`);
before it first ran they are read here.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from cryptography import x509

from gatepost.decoding import from_json
from gatepost.net.certificate import must_staple, quietly
from gatepost.net.identity import ServerIdentity, read_identity
from gatepost.pki.certificates.directories import WatchedDirectories
from gatepost.pki.certificates.entry import Entry, Origin, State, document_of, entry_id, entry_of
from gatepost.pki.certificates.files import CertificateFileError, IdentityFiles, load_identity
from gatepost.pki.certificates.request import CertificateRequests
from gatepost.pki.certificates.vault import Vault, VaultError
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gatepost.store.changes import Change, ConfigStore


_KIND = "certificate"
_LEAST_DIGITS = 4
_KINDS = (_KIND, "certificate_request", "certificate_directory")
_SEEN = "seen"
_UNDERSTOOD = 4096  # texts of entries: some kilobytes each
_SHOWN = 5  # ids in a sentence
_ALL = ("chain", "key", _SEEN)


class CertificateUnknown(LookupError):  # noqa: N818 - it names what was found
    """No certificate, or several, go by this id; the text says which."""


class Inventory:
    """store: where the inventory is. vault: opens and seals keys; None if no master key is set.

    files: reads those that are not in the store. requests: keys that wait for a certificate. directories: where others
    put certificates.
    """

    def __init__(self, store: ConfigStore, vault: Vault | None) -> None:
        self._store = store
        self._vault = vault
        self._entries: tuple[int, Mapping[str, Entry]] = -1, {}
        self.files = IdentityFiles()
        self.requests = CertificateRequests(store, vault)
        self.directories = WatchedDirectories(store)

    @property
    def seals(self) -> bool:
        """Whether keys can be stored: a master key is set."""
        return self._vault is not None

    @contextmanager
    def apart(self) -> Iterator[Inventory]:
        """The same over a connection of its own, for a thread: a change waits, and an event loop must not."""
        with closing(self._store.another()) as store:
            yield Inventory(store, self._vault)

    def entries(self) -> tuple[int, Mapping[str, Entry]]:
        """The version in force and every certificate by its id, newest first. ValueError for an unreadable one.

        Read anew once there is another version: whoever watches files asks twice in two seconds, on the event loop.
        """
        if self._entries[0] != self._store.version():
            version, texts = self._store.texts(_KIND)
            entries = [_understood(number, text) for number, text in texts]
            newest = sorted(entries, key=lambda entry: (-entry.added, entry.id))
            self._entries = version, {entry.id: entry for entry in newest}
        return self._entries

    def find(self, number: str) -> Entry:
        """The certificate that a person means, as `find_among`."""
        _, entries = self.entries()
        return find_among(entries.values(), number)

    def chain_pem(self, entry: Entry) -> bytes:
        """The certificate and its intermediates, leaf first. Raises CertificateFileError if it is not there."""
        result = self._store.content(chain_place(entry))
        if result is None:
            raise CertificateFileError(f"certificate {entry.id}: its chain is not in the store")
        return result

    def chains(self) -> dict[str, bytes]:
        """The same of all certificates, by their ids; what is lost is left out."""
        chains = self._store.contents(f"{_KIND}/", "/chain")
        return {name.split("/")[1]: chain for name, chain in chains.items()}

    def identity(self, entry: Entry) -> ServerIdentity:
        """The certificate with its key. Raises CertificateFileError, which says why it cannot be used."""
        if entry.in_token and not entry.chain_file:
            return ServerIdentity(self.chain_pem(entry), entry.key_file.encode())
        if entry.key_file:
            return self.files.read(Path(entry.chain_file), Path(entry.key_file), entry.id)
        sealed = self._store.content(key_place(entry))
        if sealed is None:
            raise CertificateFileError(f"certificate {entry.id}: its key is not in the store")
        if self._vault is None:
            raise CertificateFileError(
                f"certificate {entry.id}: its key is sealed, and store.master_key not set, or not readable here"
            )
        try:
            return ServerIdentity(self.chain_pem(entry), self._vault.open(sealed, key_place(entry)))
        except VaultError as failure:
            raise CertificateFileError(f"certificate {entry.id}: {failure}") from failure

    def add(  # noqa: PLR0913 - one transaction
        self,
        entry: Entry,
        identity: ServerIdentity,
        *,
        author: str,
        note: str = "",
        others: Sequence[Entry] = (),
        gone: Sequence[Entry] = (),
        expected: int | None = None,
    ) -> int:
        """Store a new certificate; its key is sealed unless `entry.key_file` says where it stays. Returns the version.

        others: entries that change with it, gone: those that are removed with it; all are stored together, or none.
        expected: as `ConfigStore.apply`. Raises CertificateFileError if the key cannot be sealed, ConfigConflict,
        StoreFailure.
        """
        content = removed_with(others, gone) | {chain_place(entry): identity.chain_pem}
        if not entry.key_file:
            if self._vault is None:
                raise CertificateFileError(
                    "a key is stored only sealed: set store.master_key, or leave the key in its file"
                )
            self.check_master_key()
            content[key_place(entry)] = self._vault.seal(identity.key_pem, key_place(entry))
        kept = {changed.id: document_of(changed) for changed in (*others, entry)}
        document = {_KIND: dict.fromkeys(old.id for old in gone) | kept}
        return self._store.apply(document, author=author, note=note, expected=expected, content=content)

    def check_master_key(self) -> None:
        """Whoever has another master key than the gateway would make what it cannot open. Raises CertificateFileError.

        A shell with another variable is enough for that. That one key can be opened is enough, too.
        """
        vault, locked = self._vault, []
        for entry in self.entries()[1].values():
            place = key_place(entry)
            sealed = self._store.content(place)
            if sealed is None or vault is None:
                continue
            try:
                vault.open(sealed, place)
            except VaultError:
                locked.append(entry.id)
            else:
                return
        if locked:
            raise CertificateFileError(
                f"store.master_key is not the one that the keys of {', '.join(locked[:_SHOWN])} were sealed with: put "
                "that one in its place; if it is lost, first forget them: gatepost certificate remove"
            )

    def record(
        self, entry: Entry, chain_pem: bytes, others: Sequence[Entry] = (), *, note: str, expected: int | None = None
    ) -> int:
        """Store what the gateway itself found in files, and what became of others by it. Raises as `change`."""
        document = {_KIND: {changed.id: document_of(changed) for changed in (*others, entry)}}
        content = removed_with(others) | {chain_place(entry): chain_pem}
        return self._store.apply(document, author="gatepost", note=note, expected=expected, content=content)

    def change(self, entries: Iterable[Entry], *, author: str, note: str = "", expected: int | None = None) -> int:
        """Store what became of entries, all or none; a retired one's sealed key goes. Returns the version.

        expected: as `ConfigStore.apply`. Raises ConfigConflict, StoreFailure.
        """
        changed = list(entries)
        document = {_KIND: {entry.id: document_of(entry) for entry in changed}}
        content = removed_with(changed)
        return self._store.apply(document, author=author, note=note, expected=expected, content=content)

    def remove(self, entry: Entry, *, author: str, note: str = "", expected: int | None = None) -> int:
        """Forget a certificate with its chain and its key. expected: as `add`. Raises ConfigConflict, StoreFailure."""
        content: dict[str, bytes | None] = {_place(entry, what): None for what in _ALL}
        document = {_KIND: {entry.id: None}}
        return self._store.apply(document, author=author, note=note, expected=expected, content=content)

    def seen(self, entry: Entry) -> bytes:
        """The stored observations of a certificate in use (`analysis.checks.changeover`), b"" if there are none."""
        return self._store.content(_place(entry, _SEEN)) or b""

    def remember(self, entry: Entry, seen: bytes) -> None:
        """Keep it, in no history and without a new version. Raises StoreFailure."""
        self._store.apply({}, author="gatepost", content={_place(entry, _SEEN): seen})

    def history(self, limit: int) -> list[Change]:
        """The newest changes of certificates, requests and directories first, at most so many; no key is in them."""
        changes = [change for kind in _KINDS for change in self._store.history(kind, limit=limit)]
        return sorted(changes, key=lambda change: -change.version)[:limit]


@lru_cache(maxsize=_UNDERSTOOD)
def _understood(number: str, text: str) -> Entry:
    """The entry that is stored as this text. Pages ask for all of them, over and over."""
    return entry_of(number, from_json(text))


def find_among(entries: Iterable[Entry], number: str) -> Entry:
    """The one whose label is so, of several the current one, or whose id or thumbprint (SHA-256) begins so.

    At least four digits of a thumbprint are needed. Raises CertificateUnknown.
    """
    known = list(entries)
    matches = [entry for entry in known if entry.label == number and number]
    if len(matches) > 1:
        matches = [entry for entry in matches if entry.state is State.CURRENT] or matches
    wanted = number.lower().replace(":", "")
    if not matches and len(wanted) >= _LEAST_DIGITS:
        matches = [entry for entry in known if entry.leaf.sha256.startswith(wanted)]
    if len(matches) != 1:
        many = ", ".join(entry.id for entry in matches) or "none"
        least = f"; give at least {_LEAST_DIGITS} digits of an id" if len(wanted) < _LEAST_DIGITS else ""
        raise CertificateUnknown(f"{number!r} does not name exactly one certificate (found: {many}){least}")
    return matches[0]


def entry_from(identity: ServerIdentity, like: Entry | None = None, *, now: float) -> Entry:
    """A staged entry for an identity; other fields as in `like`. now: seconds since 1970. Raises IdentityError."""
    leaf = read_identity(identity).leaf
    with quietly():
        staple = must_staple(x509.load_pem_x509_certificates(identity.chain_pem)[0])
    fresh = Entry(entry_id(leaf), leaf, added=now, since=now, must_staple=staple)
    if like is None:
        return fresh
    return replace(like, id=fresh.id, leaf=leaf, added=now, since=now, must_staple=staple)


def removed_with(changed: Iterable[Entry], gone: Iterable[Entry] = ()) -> dict[str, bytes | None]:
    """The contents to delete with changes of entries: keys and observations of retired ones, all of those that go."""
    retired = [entry for entry in changed if entry.state is State.RETIRED]
    removed: dict[str, bytes | None] = {_place(entry, what): None for entry in retired for what in ("key", _SEEN)}
    return removed | {_place(old, what): None for old in gone for what in _ALL}


def chain_place(entry: Entry) -> str:
    """The name of the content that is the chain of a certificate."""
    return _place(entry, "chain")


def key_place(entry: Entry) -> str:
    """The name of the content that is the sealed key of a certificate."""
    return _place(entry, "key")


def _place(entry: Entry, what: str) -> str:
    return f"certificate/{entry.id}/{what}"


class Listed(msgspec.Struct, frozen=True):
    """version: of the inventory. entries: by id. chains: PEM, by id; one that is lost is left out.

    trouble: faults of the settings' files, a sentence each.
    """

    version: int
    entries: dict[str, Entry]
    chains: dict[str, bytes]
    trouble: tuple[str, ...] = ()


def listed(inventory: Inventory, files: Sequence[tuple[Path, Path]], *, now: float, with_chains: bool = True) -> Listed:
    """The certificates as they are. files: chain and key of the settings. now: seconds since 1970.

    with_chains: else those of the inventory are left out, for who needs none of a thousand.
    Raises ValueError if an entry is not of this version.
    """
    version, stored = inventory.entries()
    entries, chains = dict(stored), inventory.chains() if with_chains else {}
    holders = {(entry.chain_file, entry.key_file): entry.id for entry in entries.values() if entry.chain_file}
    trouble = []
    for chain, key in files:
        try:
            identity = load_identity(chain, key)
        except CertificateFileError as error:
            trouble.append(str(error))
            continue
        entry = replace(
            entry_from(identity, now=now), origin=Origin.SETTINGS, state=State.CURRENT, added=0.0, since=0.0
        )
        if entry.id in entries:
            continue
        if holder := holders.get((str(chain), str(key))):
            trouble.append(
                f"{chain} holds {entry.id}, which did not take the place of {holder} yet: a gateway that runs looks "
                "within seconds, and its log says why it takes one not"
            )
            continue
        entries[entry.id] = replace(entry, chain_file=str(chain), key_file=str(key))
        chains[entry.id] = identity.chain_pem
    return Listed(version, entries, chains, tuple(trouble))
