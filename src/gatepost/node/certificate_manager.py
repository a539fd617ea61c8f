"""The certificates that one worker presents, and the certificate duties that one worker does for others.

Made by `node.assembly`. Each worker builds its own TLS context from the inventory and the settings' files. The duties
write to the inventory, and other workers see the new version. Watching files and renewing what this node presents is
done by one worker of the node, requesting certificates and switching at a time by one of the site (`store.leases`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from gatepost.analysis.checks.changeover import GateChecker
from gatepost.analysis.checks.named_files import server_anchors, unusable_files
from gatepost.analysis.checks.scheduled import SIGHT_SECONDS, SWITCH_SECONDS, ScheduledSwitches
from gatepost.net.engine import ServerContext, server_context
from gatepost.net.identity import IdentityError, ServerIdentity, foremost
from gatepost.net.own_connection import OwnConnections
from gatepost.net.tasks import SingleTask
from gatepost.net.tickets import DailySecrets, ServerSessions
from gatepost.node.certificate_observer import OBSERVE_SECONDS, CertificateObserver
from gatepost.node.lifecycle import Duty, Lifecycle
from gatepost.pki.acme.duty import ACME_SECONDS, AcmeDuty
from gatepost.pki.certificates.clients import ClientIdentities
from gatepost.pki.certificates.entry import Entry, Origin, Purpose, State
from gatepost.pki.certificates.files import CertificateFileError, IdentityFiles
from gatepost.pki.certificates.inventory import Inventory
from gatepost.pki.certificates.presented import files_read_again, presented, refused_by_tls, settings_identities
from gatepost.pki.certificates.site_key import site_vault
from gatepost.pki.certificates.stapling import Stapler
from gatepost.pki.certificates.token_check import token_keys, try_at_start
from gatepost.pki.certificates.vault import Vault, VaultError
from gatepost.pki.certificates.watch import WATCH_SECONDS, FileWatch
from gatepost.pki.site.membership import RENEWAL_SECONDS, Renewal
from gatepost.pki.site.store import SiteStore
from gatepost.protocols.tls.profile import PROFILES
from gatepost.store.interface import StoreFailure
from gatepost.store.leases import SiteDuty
from gatepost.store.nodes import CertificateObservation, UnusableKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gatepost.net.lookups.dns import Resolver
    from gatepost.net.lookups.http import HttpClient
    from gatepost.node.site_member import SiteMember
    from gatepost.node.token_watch import TokenWatch
    from gatepost.policy.connectors.directory import Directory
    from gatepost.settings.model import Settings
    from gatepost.store.changes import ConfigStore
    from gatepost.store.nodes import UnusableFile


STAPLE_SECONDS = 60.0
"""Between two looks at the responses to staple."""

CHECK_SECONDS = 60.0
"""Between two trials of keys in tokens."""

_IN_USE = frozenset({State.CURRENT, State.NEXT})
_UNUSABLE = 8  # certificates with an unusable key that are told of
_WHY = 300  # characters

_log = logging.getLogger(__name__)


class CertificateManager:
    """tls: what a listener presents, None if there is no certificate. inventory, clients: for who looks at them.

    lost_token: only another process can use the keys in a token that was away.
    own: the connections on which this node looks at what it presents. client: asks authorities; resolver: what the DNS
    says of us. tickets: shared by those with whom clients resume their sessions. Raises CertificateFileError if what is
    to be presented cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        resources: ConfigStore,
        client: HttpClient,
        resolver: Resolver,
        tickets: DailySecrets | None = None,
    ) -> None:
        self._settings = settings
        self._sessions = ServerSessions("mail", tickets)
        self.inventory = Inventory(resources, vault_of(settings, resources))
        self._pairs = [(Path(certificate.chain), Path(certificate.key)) for certificate in settings.certificates]
        self._watch = FileWatch(self.inventory, self._pairs, settings.tls.profile)
        self.clients = ClientIdentities(self.inventory)
        self._stapler = Stapler(resources, client)
        self._acme = AcmeDuty(settings, resources)
        records = SiteStore(resources, vault_of(settings, resources), settings.server)
        self._site = Renewal(records, settings.server.hostname, settings.site.node_lifetime)
        gatekeeper = GateChecker(settings, self.inventory, resolver, client, self._stapler)
        self._switches = ScheduledSwitches(resources, self.inventory, gatekeeper, settings.limits.prefixes())
        self._renewing = SingleTask("ocsp staples")
        self._looking = SingleTask("certificate files")
        self._reading = SingleTask("certificates presented")
        self._renewed: Callable[[], object] = lambda: None
        self.own = OwnConnections(Path(settings.server.data_dir))
        self._observer: CertificateObserver | None = None
        self._token_watch: TokenWatch | None = None
        self.lost_token = False
        self._is_behind = False  # the store could not say what is current
        if settings.pkcs11.module:
            try_at_start(self.inventory, self._pairs)
        self._identities = self._found()
        self.tls = self._context(self._identities)

    def present(self) -> bool:
        """Present what is current by now to new sessions; running ones keep theirs.

        False if it cannot be used: what was presented stays, with a line in the log. Raises StoreFailure; then it is
        tried again after some seconds.
        """
        self._is_behind = False
        try:
            self.clients.refresh()
            identities = self._found()
            self.inventory.files.forget_gone()
            if identities != self._identities:
                self.tls = self._context(identities)
                self._identities = identities
        except CertificateFileError as error:
            _log.error("certificates are kept as they were: %s", error)
            return False
        except StoreFailure:
            self._is_behind = True
            raise
        return True

    async def reload(self) -> bool:
        """Read files again and present what they hold, whatever was thought of it.

        False if one cannot be used any more, or the store cannot be read: all stays, with a line in the log.
        """
        before = self.inventory.files
        try:
            self.inventory.files = await asyncio.to_thread(self._files_read_again)
            self._watch.accept()
            if self.present():
                return True
        except (CertificateFileError, StoreFailure) as error:
            _log.error("certificates are kept as they were: %s", error)
        self.inventory.files = before
        with suppress(StoreFailure):
            self.clients.refresh()
        return False

    def _files_read_again(self) -> IdentityFiles:
        """Raises as `files_read_again`."""
        with self.inventory.apart() as inventory:
            inventory.files = self.inventory.files
            return files_read_again(inventory, self._pairs)

    @property
    def presented(self) -> tuple[ServerIdentity, ...]:
        """The certificates that listeners present: those for our hostname first, then the latest first."""
        return tuple(self._identities)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """SHA-256 of the certificates that listeners present, in hexadecimal, in the same order."""
        leaves = (x509.load_pem_x509_certificate(identity.chain_pem) for identity in self._identities)
        return tuple(leaf.fingerprint(hashes.SHA256()).hex() for leaf in leaves)

    @property
    def observed(self) -> CertificateObservation | None:
        """The last look at what our listeners presented, if this process is the one that looks."""
        return self._observer.observed if self._observer is not None else None

    def unusable_keys(self) -> list[UnusableKey]:
        """The certificates that are, or are to be, presented and whose keys this node cannot use now.

        What was read before goes on being presented, so that nobody else would notice before the next start.
        """
        try:
            _, entries = self.inventory.entries()
        except ValueError:  # the log says so
            return []
        unusable = []
        for entry in entries.values():
            if entry.state not in _IN_USE:
                continue
            if entry.in_token and self._token_watch is not None:
                why = self._token_watch.problems.get(entry.key_file, "")
                unusable += [UnusableKey(entry.id, why[:_WHY])] if why else []
            elif entry.purpose is Purpose.SERVER or entry.chain_file:  # of other labels connectors have an alarm
                try:
                    self._try_key(entry)
                except CertificateFileError as error:
                    unusable.append(UnusableKey(entry.id, str(error)[:_WHY]))
        return unusable[:_UNUSABLE]

    def _try_key(self, entry: Entry) -> None:
        """Raises CertificateFileError. Files of other nodes' settings are not ours."""
        files = (Path(entry.chain_file), Path(entry.key_file))
        if not entry.key_file:
            self.inventory.identity(entry)
        elif entry.origin is not Origin.SETTINGS or files in self._pairs:
            self.inventory.files.load(*files)

    def watch_tokens(self) -> Lifecycle:
        """Look after keys in tokens from now on; who has the parts is told when they were loaded again."""
        from gatepost.node.token_watch import TokenWatch  # noqa: PLC0415 - few have keys in tokens

        def renew() -> None:
            self.tls = self._context(self._identities)
            self._renewed()

        self._token_watch = TokenWatch(renew, partial(setattr, self, "lost_token", True), self._token_keys)
        return self._token_watch.life()

    def _token_keys(self) -> dict[str, bytes]:
        """The chains of certificates that are, or are to be, presented, by the URI of their key in a token."""
        try:
            return token_keys(self.inventory, self._pairs)
        except (ValueError, CertificateFileError):  # the log says so
            return {}

    def stapled(self) -> frozenset[str]:
        """The ids of those for which there is a response to staple that holds."""
        return frozenset(text[:16] for text in self._stapler.kept(self._identities, time.time()))

    def staple(self) -> None:
        """Staple the responses that are kept and hold: in every worker, every minute."""
        if self.tls is not None:
            self.tls.stapled.replace(self._stapler.kept(self._identities, time.time()))

    def parts(
        self, site: SiteMember, renewed: Callable[[], object], directory: Callable[[], Directory]
    ) -> list[Lifecycle]:
        """Their lives. Work that was missed while nothing ran is due at once. directory: in force.

        renewed: called when `tls` or the identity of a client may be another one, but for what `present` and refresh
        do at once: who has them looks at them behind that anyway.
        """
        self._renewed = renewed
        ours = [
            Duty(WATCH_SECONDS, self._look, at_once=True),
            Duty(STAPLE_SECONDS, self._renew_stapled, at_once=True),
            Duty(RENEWAL_SECONDS, self._site.look, at_once=True),
        ]
        requests = [Duty(ACME_SECONDS, self._acme.look, at_once=True)]
        switches = [
            Duty(SWITCH_SECONDS, self._switches.switch_due, at_once=True),
            Duty(SIGHT_SECONDS, self._switches.sight, at_once=True),
        ]

        def files() -> Iterator[UnusableFile]:
            organizations = directory().resources.organizations
            return unusable_files(server_anchors(self._settings), organizations, self.clients.find, time.time())

        self._observer = CertificateObserver(
            self._settings,
            self.own,
            lambda: self.presented,
            self.unusable_keys,
            files=files if site.storage.is_shared else None,
            told=site.tell,
        )
        looks = [Duty(OBSERVE_SECONDS, self._observer.tick)]
        if self._token_watch is not None:
            looks.append(Duty(CHECK_SECONDS, self._token_watch.check, at_once=True))
        changeover, acme = site.leases.lease(SiteDuty.CHANGEOVER), site.leases.lease(SiteDuty.ACME)
        return [
            Lifecycle(
                "certificates",
                duties=[Duty(STAPLE_SECONDS, self.staple), Duty(WATCH_SECONDS, self._catch_up)],
                refresh=lambda _: self._refresh(),
                close=self.close,
            ),
            Lifecycle("certificates of this node", duties=ours, lease=site.own),
            Lifecycle("certificates presented", duties=looks, lease=site.own, lost=self._observer.close),
            Lifecycle("ACME", duties=requests, lease=acme, lost=self._acme.pause),
            Lifecycle("changeovers", duties=switches, lease=changeover, lost=self._switches.close),
        ]

    def close(self) -> None:
        """Stop what is under way."""
        self._switches.close()
        self._acme.close()
        self._site.close()
        self.own.close()
        for task in (self._renewing, self._looking, self._reading):
            task.cancel()

    def _renew_stapled(self) -> None:
        self._renewing.begin(self._renew)

    async def _renew(self) -> None:
        if await self._stapler.renew(self._identities, time.time()):
            self.staple()

    def _look(self) -> None:
        if self._looking.is_running:
            return
        if changed := self._watch.changed(time.time()):
            self._looking.begin(self._look_at, changed)
        else:
            self._watch.look(time.time())

    async def _look_at(self, changed: Sequence[tuple[Path, Path]]) -> None:
        """The supervisor may have to open the files, and may be slow: the event loop does not wait for it."""
        await asyncio.to_thread(self._fetch, changed)
        self._watch.look(time.time())

    def _fetch(self, pairs: Sequence[tuple[Path, Path]]) -> None:
        for pair in pairs:
            with suppress(CertificateFileError):  # whoever looks at it says so
                self.inventory.files.fetch(*pair)

    def _catch_up(self) -> None:
        """Present what the store could not say before."""
        if self._is_behind and self.present():
            self._renewed()

    def _refresh(self) -> None:
        """Another version of the configuration: present what is current, once a thread has read changed files."""
        if not (changed := self.inventory.files.changed()):
            self.present()
        else:
            self._reading.begin(self._present_changed, changed)

    async def _present_changed(self, changed: Sequence[tuple[Path, Path]]) -> None:
        await asyncio.to_thread(self._fetch, changed)
        if self.present():
            self._renewed()

    def _found(self) -> list[ServerIdentity]:
        identities = presented(self.inventory, settings_identities(self.inventory, self._pairs))
        try:
            return foremost(identities, self._settings.server.hostname)
        except IdentityError as error:
            raise CertificateFileError(str(error)) from error

    def _context(self, identities: Sequence[ServerIdentity]) -> ServerContext | None:
        if not identities:
            return None
        profile = self._settings.tls.profile
        try:
            made = server_context(identities, PROFILES[profile], ask_client_certificate=True, sessions=self._sessions)
        except IdentityError as error:
            good = [identity for identity in identities if not refused_by_tls(identity, profile)]
            if len(good) in {0, len(identities)}:
                raise CertificateFileError(str(error)) from error
            _log.error("a current certificate is not presented: %s", error)  # the others are, all the same
            return self._context(good)
        made.stapled.replace(self._stapler.kept(identities, time.time()))
        return made


def vault_of(settings: Settings, store: ConfigStore) -> Vault | None:
    """The vault that opens keys in the store, None without a master key. Raises CertificateFileError."""
    try:
        return site_vault(settings.store.master_key, store)
    except VaultError as error:
        raise CertificateFileError(str(error)) from error
