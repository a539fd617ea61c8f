"""Judge what processes that talk to the network ask to have written to the configuration, and write it.

Called in the writer of `node.config_line`, which is no such process. A request is granted only where it is a change
that the gateway makes by itself (`node.certificate_steps`, `node.site_steps`), or state of a kind that is listed here.
All else, such as organizations, connectors, domains, grants and secrets, is for administrators.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from gatepost.analysis.alarms.alarm import ALARMS_CONTENT, Memory
from gatepost.decoding import json_decoder, msgpack_decoder
from gatepost.net.identity import ServerIdentity
from gatepost.node.certificate_steps import KIND, CertificateSteps
from gatepost.node.expiry_clock import CLOCK_CONTENT
from gatepost.node.quarantine import DIGEST_CONTENT
from gatepost.node.site_steps import SiteSteps, is_of_site
from gatepost.pki.acme.challenges import PENDING, TOKENS, Proof, is_token_place
from gatepost.pki.acme.issuer import AuthorityState, authority_place
from gatepost.pki.certificates.entry import Entry, State
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.pki.certificates.inventory import Inventory
from gatepost.pki.certificates.site_key import site_vault
from gatepost.pki.certificates.stapling import Staple, holds_until, staple_place, subject_of
from gatepost.pki.certificates.vault import Vault, VaultError
from gatepost.settings.acme import Challenge
from gatepost.store.changes import ConfigConflict, ConfigStore
from gatepost.store.config_requests import ConfigReply, ConfigRequest, ReplyKind, RequestDenied
from gatepost.store.interface import StoreBusy, StoreFailure
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.settings.model import Settings


SITE_HOST: Final = "site host"
"""The name of the process that gives certificates to nodes of the site."""

_WORKER: Final = "worker 0"  # which does what is done once for a node (`store.leases.FixedLeases`),
_ANY_WORKER: Final = "worker "  # or any of them, where nodes share a store
_AUTHOR: Final = "gatepost"
_NOTE: Final = 10_000  # characters
_CONTENTS: Final = 500  # of one request
_STATE_OCTETS: Final = 1 << 18  # of what is known of an authority, or was seen of a certificate
_TOKEN_OCTETS: Final = 1024
_MOST_TOKENS: Final = 500
_KEY_OCTETS: Final = 16 << 10
_DATE_OCTETS: Final = 32
_CLOCK_OCTETS: Final = 256
_SKEW: Final = 600.0  # seconds between what is done and its judgement
_TRIES: Final = 5

_log = logging.getLogger(__name__)


def answering(settings: Settings, who: str) -> Callable[[ConfigRequest], ConfigReply]:
    """The function that answers one process. who: its name."""
    vault = None
    try:
        store = Storage.of(settings).configuration()
        with suppress(VaultError):  # what needs none is stored all the same
            vault = site_vault(settings.store.master_key, store)
    except StoreFailure as failure:
        reply = ConfigReply(ReplyKind.BUSY if isinstance(failure, StoreBusy) else ReplyKind.FAILED, text=str(failure))
        return lambda _: reply
    return partial(answer, settings, store, vault, who)


def answer(
    settings: Settings, store: ConfigStore, vault: Vault | None, who: str, request: ConfigRequest
) -> ConfigReply:
    """Judge a request, and store what is granted. Never raises for what stands in it."""
    try:
        return ConfigReply(ReplyKind.DONE, _written(settings, store, vault, who, request))
    except RequestDenied as denied:
        _log.error("the configuration is not changed for %s: %s", who, denied)
        return ConfigReply(ReplyKind.DENIED, text=f"the configuration was not changed: {denied}")
    except ConfigConflict as conflict:
        return ConfigReply(ReplyKind.CONFLICT, text=str(conflict))
    except StoreFailure as failure:
        return ConfigReply(ReplyKind.BUSY if isinstance(failure, StoreBusy) else ReplyKind.FAILED, text=str(failure))


def _written(settings: Settings, store: ConfigStore, vault: Vault | None, who: str, request: ConfigRequest) -> int:
    """The version then in force. What was judged is what it is written to: else it is judged again."""
    for last in (False,) * (_TRIES - 1) + (True,):
        version = store.version()
        if request.expected not in {None, version}:
            raise ConfigConflict(f"the configuration is at version {version}, not {request.expected}")
        _Judge(settings, store, vault, time.time()).check(request, who)
        try:
            return store.apply(
                request.document, author=_AUTHOR, note=request.note, expected=version, content=request.content
            )
        except ConfigConflict:
            if last or request.expected is not None:
                raise
    raise AssertionError


class _Judge:
    def __init__(self, settings: Settings, store: ConfigStore, vault: Vault | None, now: float) -> None:
        self._settings = settings
        self._store = store
        self._vault = vault
        self._now = now
        self._inventory = Inventory(store, vault)

    def check(self, request: ConfigRequest, who: str) -> None:
        """Raise RequestDenied for what this process may not have written."""
        if not request.document and not request.content:
            return  # so that the index of the file is made anew (`store.config_requests`)
        kinds, for_nodes = frozenset(request.document), who == SITE_HOST
        is_worker = who.startswith(_ANY_WORKER) if self._store.is_shared else who == _WORKER
        if not (for_nodes or is_worker):
            raise RequestDenied("this process changes nothing")
        if len(request.note) > _NOTE or len(request.content) > _CONTENTS:
            raise RequestDenied("the request is too large")
        if is_of_site(kinds, request.content):
            steps = SiteSteps(self._settings, self._store, self._vault, self._now)
            steps.check(request.document, request.content, for_nodes=for_nodes)
        elif for_nodes:
            raise RequestDenied("this process changes only records of the site")
        elif kinds == {KIND}:
            certificates = CertificateSteps(self._settings, self._store, self._vault, self._now)
            certificates.check(request.document[KIND], request.content)
        elif kinds:
            raise RequestDenied(f"only administrators change this: {', '.join(sorted(kinds))[:200]}")
        else:
            for place, data in request.content.items():
                if not self._is_state(place, data):
                    raise RequestDenied(f"no process may store this: {place[:200]}")

    def _is_state(self, place: str, data: bytes | None) -> bool:
        """Whether it is state of the gateway in its form. data: None to remove it."""
        try:
            if place == ALARMS_CONTENT:
                return data is not None and bool(json_decoder(Memory)(data))
            if place == DIGEST_CONTENT:
                return data is not None and len(data) <= _DATE_OCTETS
            if place == CLOCK_CONTENT:
                return data is not None and len(data) <= _CLOCK_OCTETS and bool(json_decoder(dict[str, float])(data))
            if place.startswith("acme/"):
                return self._is_of_acme(place, data)
            return data is not None and self._is_of_certificate(place, data)
        except ValueError:
            return False

    def _is_of_acme(self, place: str, data: bytes | None) -> bool:
        """Tokens, what is to be tidied up, what is known of the authority of the settings, and a first key for it."""
        if place == PENDING or is_token_place(place):
            return data is None or (self._settings.acme.is_on and self._is_proof(place, data))
        if data is None or not self._settings.acme.is_on:
            return False
        url = self._settings.acme.directory_url
        if place == authority_place(url, "state"):
            return len(data) <= _STATE_OCTETS and bool(json_decoder(AuthorityState)(data))
        return place == authority_place(url, "key") and self._is_first_key(place, data)

    def _is_proof(self, place: str, data: bytes) -> bool:
        if place == PENDING:
            proofs = json_decoder(list[Proof])(data) if len(data) <= _STATE_OCTETS else []
            return 0 < len(proofs) < _CONTENTS and all(map(_is_tidied_up, proofs))
        kept = self._store.contents(TOKENS, "")
        return len(data) <= _TOKEN_OCTETS and (place in kept or len(kept) < _MOST_TOKENS)

    def _is_first_key(self, place: str, data: bytes) -> bool:
        if self._vault is None or self._store.content(place) is not None or len(data) > _KEY_OCTETS:
            return False
        try:
            self._vault.open(data, place)
        except VaultError:
            return False
        return True

    def _is_of_certificate(self, place: str, data: bytes) -> bool:
        """A valid OCSP response about a certificate of ours, or what was seen of one that waits."""
        kind, _, rest = place.partition("/")
        number, _, what = rest.partition("/")
        entry = self._inventory.entries()[1].get(number) if kind == KIND else None
        if entry is None:
            return False
        if what == "seen":
            return entry.state is State.NEXT and len(data) <= _STATE_OCTETS
        return self._is_staple(entry, place, data)

    def _is_staple(self, entry: Entry, place: str, data: bytes) -> bool:
        try:
            subject = subject_of(ServerIdentity(self._inventory.chain_pem(entry), b""))
        except CertificateFileError:
            return False
        staple = msgpack_decoder(Staple)(data)
        if not abs(staple.fetched - self._now) <= _SKEW:  # the next one is fetched by it; and not NaN
            return False
        return place == staple_place(subject) and holds_until(subject, staple, self._now) > self._now


def _is_tidied_up(proof: Proof) -> bool:
    """Whether what was published can be taken away: else no certificate would come any more."""
    if proof.kind == Challenge.HTTP_01:
        return is_token_place(f"{TOKENS}{proof.place}")
    return proof.place.isprintable() and proof.value.isprintable()
