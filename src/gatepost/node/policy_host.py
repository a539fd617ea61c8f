"""The process that serves public pages over HTTPS: MTA-STS policies and the certificate table.

It takes TLS reports, too. Run by the supervisor beside the workers, so that whoever floods its ports takes nothing from
mail but a share of the processor (docs/decisions/0009). It touches no queue. It reacts to new resources and
certificates, and as `node.auxiliary` says.

`answer` gives a policy (RFC 8461 section 3.3) or a page of the table, and `PolicySession` takes reports (RFC 8460
section 5.4); `node.http_session` has the rest.
"""

from __future__ import annotations

import asyncio
import logging
import time
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from gatepost.analysis.reports.tlsrpt_intake import INBOX
from gatepost.net.engine import ServerContext, server_context
from gatepost.net.identity import IdentityError, ServerIdentity, bearing
from gatepost.net.listener import Listener
from gatepost.net.stream import Loss, LossKind, Stream
from gatepost.net.tasks import SingleTask
from gatepost.node.auxiliary import run_auxiliary
from gatepost.node.certificate_manager import vault_of
from gatepost.node.http_session import READING, HttpSession, Response
from gatepost.node.lifecycle import Duty, Lifecycle, Parts, listening
from gatepost.node.report_inbox import REPORTS_PATH, ReportInbox
from gatepost.node.snapshot import POLL_SECONDS, SnapshotSource
from gatepost.node.table_pages import Page, Sites, TablePages
from gatepost.pki.certificates.files import CertificateFileError, IdentityFiles
from gatepost.pki.certificates.inventory import Inventory
from gatepost.pki.certificates.presented import files_read_again, presented, refused_by_tls, settings_identities
from gatepost.pki.certificates.token_check import try_at_start
from gatepost.policy.connectors.publication import publications
from gatepost.protocols.mtasts.policy import StsMode
from gatepost.protocols.mtasts.publish import CONTENT_TYPE, PATH, StsPublication
from gatepost.protocols.tls.names import normalise
from gatepost.protocols.tls.profile import PROFILES
from gatepost.protocols.tlsrpt.received import MAX_PACKED
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import h11

    from gatepost.settings.model import Settings


def answer(request: h11.Request, server_name: str, sites: Sites) -> Response:
    """The response to a request. server_name: of the handshake (SNI), "" if there was none.

    A connection under another name than the request's is misdirected (RFC 9110 section 15.5.20): the client has checked
    a certificate for somebody else.
    """
    if not request.http_version.startswith(b"1."):
        return Response(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    host, path = _requested(request)
    if server_name and normalise(server_name) != host:
        return Response(HTTPStatus.MISDIRECTED_REQUEST)
    page = sites.get(host, {}).get(path)
    if page is None:
        return Response(HTTPStatus.NOT_FOUND)
    if request.method not in READING:
        return Response(HTTPStatus.METHOD_NOT_ALLOWED)
    if page.is_current(request.headers):
        return Response(HTTPStatus.NOT_MODIFIED, fields=page.fields)
    return Response(HTTPStatus.OK, page.body, page.kind, page.fields)


def _requested(request: h11.Request) -> tuple[str, str]:
    """Host and path; a target in absolute form goes before the Host field (RFC 9112 section 3.2.2)."""
    host = next((value for name, value in request.headers if name == b"host"), b"").decode("latin-1")
    target = request.target.decode("latin-1")
    try:
        if not target.startswith("/") and "://" in target:
            target, host = urlsplit(target).path, urlsplit(target).netloc
        return normalise(urlsplit(f"//{host}").hostname or ""), target
    except ValueError:
        return "", ""


class ReportsHere(NamedTuple):
    """The place where reports are accepted. host: lower case, A-labels."""

    host: str
    inbox: ReportInbox


class PolicySession(HttpSession):
    """sites: what is served now; asked for when the request is there. reports: None where none are taken.

    clock: seconds since 1970.
    """

    __slots__ = ("_peer", "_reports")

    def __init__(
        self,
        stream: Stream,
        sites: Callable[[], Sites],
        clock: Callable[[], float],
        reports: ReportsHere | None = None,
    ) -> None:
        super().__init__(stream, lambda request, name: answer(request, name, sites()), clock)
        self._peer = stream.peer.host
        self._reports = reports

    def body_limit(self, request: h11.Request, server_name: str) -> int:
        """A report's, if it is sent to where reports are taken."""
        if self._reports is None or request.method != b"POST" or not request.http_version.startswith(b"1."):
            return 0
        host, path = _requested(request)
        there = host == self._reports.host and path == REPORTS_PATH
        return MAX_PACKED if there and (not server_name or normalise(server_name) == host) else 0

    def body_answer(self, request: h11.Request, body: bytes) -> Response:  # noqa: ARG002 - its head says nothing of use
        """The response after a report was read."""
        assert self._reports is not None  # noqa: S101 - only then a body is read
        return Response(self._reports.inbox.put(body, self._peer) if body else HTTPStatus.BAD_REQUEST)


CONNECTIONS: Final = 500
CONNECTIONS_PER_SOURCE: Final = 100
_PROFILE: Final = "default"  # of TLS
_NAMED: Final = 10  # domains in a line of the log

_log = logging.getLogger(__name__)


def run_policy_host(settings: Settings, sockets: Mapping[str, Sequence[socket.socket]], lifeline: int) -> int:
    """The life of the process; its exit status. sockets: by the address that the settings name.

    lifeline: reads end-of-file when the supervisor is gone.

    Whatever it cannot start for, it is started again: mail is never stopped for it.
    """
    served = {
        "MTA-STS policies": settings.mta_sts.address,
        "the certificate table": settings.certificate_table.address,
        "TLS reports": settings.tls_reports.address,
    }
    what = ", ".join(name for name, address in served.items() if address)
    return run_auxiliary(lambda: PolicyHost(settings, sockets).parts, lifeline, drain=settings.server.drain, what=what)


class PolicyHost:
    """Serves what the store says now. Raises StoreFailure, CertificateFileError or OSError if it cannot.

    sockets: by the address that the settings name. Without any certificate it serves nothing, until there is one.
    """

    def __init__(self, settings: Settings, sockets: Mapping[str, Sequence[socket.socket]]) -> None:
        self._settings = settings
        self._resources = Storage.of(settings).configuration()
        self._snapshots = SnapshotSource(self._resources, settings.limits.prefixes())
        self._inventory = Inventory(self._resources, vault_of(settings, self._resources))
        if settings.pkcs11.module:
            try_at_start(self._inventory, _pairs(settings))
        self._identities, self._tls = self._certificates()
        self._version = self._snapshots.current.version
        self._policies: dict[str, StsPublication] = {}
        self._table = TablePages(self._inventory, settings) if settings.certificate_table.address else None
        self._sites: dict[str, Sites] = {}
        self._reloading, self._must_reload = SingleTask("files read again"), False
        inbox = ReportInbox(Path(settings.server.data_dir) / INBOX, mark=settings.store.free_space)
        self._reports = ReportsHere(normalise(settings.server.hostname), inbox)
        followed = Lifecycle(
            "resources",
            start=self._begin,
            duties=[Duty(POLL_SECONDS, self._refresh)],
            reload=self._reload,
            close=self._close,
        )
        listeners = [self._listener(address, several) for address, several in sockets.items()]
        self.parts = Parts(followed, listening(*listeners))

    def _listener(self, address: str, sockets: Sequence[socket.socket]) -> Listener:
        return Listener(
            sockets,
            lambda stream: self._accept(stream, address),
            total=CONNECTIONS,
            per_source=CONNECTIONS_PER_SOURCE,
        )

    def _begin(self) -> None:
        if self._table is not None:
            self._table.refresh()
        if not self._publish():
            self._warn()

    def _refresh(self) -> None:
        """Take up new resources and certificates, if there are any."""
        version = self._resources.version()
        if version == self._version:
            return
        self._snapshots.refresh()
        before = self._identities
        self._present()
        if self._table is not None:
            self._table.refresh()
        if not self._publish() and self._identities != before:
            self._warn()
        if self._table is None or not self._table.is_behind:
            self._version = version  # not before: what the store could not say is asked again

    def _reload(self) -> None:
        """Read certificates and keys again; those in use stay if a new one cannot be used."""
        self._must_reload = True
        self._reloading.begin(self._read_again)

    async def _read_again(self) -> None:
        """Once more if another SIGHUP came meanwhile: files that were read already may be others."""
        while self._must_reload:
            self._must_reload = False
            before = self._inventory.files
            try:
                self._inventory.files = await asyncio.to_thread(self._files_read_again)
            except CertificateFileError as error:
                _log.error("certificates are kept as they were: %s", error)
                continue
            if not self._present():
                self._inventory.files = before
                continue
            if self._table is not None:
                await self._table.reload()
            self._serve()
            self._warn()

    def _files_read_again(self) -> IdentityFiles:
        """For a thread, as a file system may be slow. Raises as `files_read_again`."""
        with self._inventory.apart() as inventory:
            inventory.files = self._inventory.files
            return files_read_again(inventory, _pairs(self._settings))

    def _close(self) -> None:
        self._reloading.cancel()
        self._resources.close()

    def _present(self) -> bool:
        """Show new connections what is current by now; False if that cannot be used."""
        try:
            self._identities, self._tls = self._certificates()
            self._inventory.files.forget_gone()
        except CertificateFileError as error:
            _log.error("certificates are kept as they were: %s", error)
            return False
        return True

    def _certificates(self) -> tuple[list[ServerIdentity], ServerContext | None]:
        """The certificates, and a context that chooses by SNI.

        Always under the profile "default": clients are unknown.
        """
        pairs = _pairs(self._settings)
        identities = presented(self._inventory, settings_identities(self._inventory, pairs))
        if not identities:
            return [], None
        try:
            return identities, server_context(identities, PROFILES[_PROFILE], ask_client_certificate=False)
        except IdentityError as error:
            good = [identity for identity in identities if not refused_by_tls(identity, _PROFILE)]
            if len(good) in {0, len(identities)}:
                raise CertificateFileError(str(error)) from error
            _log.error("a current certificate is not presented: %s", error)  # the others are, all the same
            return good, server_context(good, PROFILES[_PROFILE], ask_client_certificate=False)

    def _serve(self) -> None:
        """Put together what each address serves, by host and path."""
        policies = {host: {PATH: Page(CONTENT_TYPE, policy.body)} for host, policy in self._policies.items()}
        self._sites = {self._settings.mta_sts.address: policies}
        if self._table is not None:
            address, host = self._settings.certificate_table.address, normalise(self._settings.server.hostname)
            sites = self._sites.get(address, {})
            self._sites[address] = {**sites, host: {**sites.get(host, {}), **self._table.pages}}

    def _publish(self) -> bool:
        """Serve what the snapshot says, and log what that is if it is something else than before; whether it is."""
        current = publications(self._snapshots.current.directory.organizations, self._settings.server.hostname)
        known, self._policies = self._policies, current
        self._serve()
        if not self._settings.mta_sts.address or (current == known and current):
            return False
        served = [
            f"{publication.domain} ({publication.policy.mode}, id {publication.record.id})"
            for publication in current.values()
        ]
        more = f" and {len(served) - _NAMED} more" if len(served) > _NAMED else ""
        what = ", ".join(served[:_NAMED]) + more if served else "none: no accepted domain has mta_sts"
        _log.info("MTA-STS policies served at %s: %s", self._settings.mta_sts.address, what)
        self._warn()
        return True

    def _warn(self) -> None:
        hostname = self._settings.server.hostname
        policies = self._policies if self._settings.mta_sts.address else {}
        for text in _trouble(policies, self._identities, hostname):
            _log.warning("%s", text)
        if self._table is not None and not bearing(self._identities, normalise(hostname)):
            _log.warning("no certificate bears %s: browsers do not show the certificate table there", hostname)

    def _accept(self, stream: Stream, address: str) -> None:
        if self._tls is None:
            stream.abort(Loss(LossKind.CLOSED, "there is no certificate"))
            return
        reports = self._reports if address == self._settings.tls_reports.address else None
        PolicySession(stream, lambda: self._sites.get(address, {}), time.time, reports).begin(self._tls)


def _pairs(settings: Settings) -> list[tuple[Path, Path]]:
    return [(Path(certificate.chain), Path(certificate.key)) for certificate in settings.certificates]


def _trouble(policies: dict[str, StsPublication], identities: Sequence[ServerIdentity], hostname: str) -> Iterator[str]:
    """Explain why senders could not fetch a policy, or not obey it: names that no certificate covers."""
    bare = [host for host in policies if not bearing(identities, host)]
    if bare:
        more = f" and {len(bare) - _NAMED} more" if len(bare) > _NAMED else ""
        yield (
            f"no certificate bears {', '.join(bare[:_NAMED])}{more}: senders cannot fetch the policy there, and go on "
            "without it; add a [[certificate]] with that name"
        )
    named = [
        policy.domain
        for policy in policies.values()
        if policy.policy.mode is StsMode.ENFORCE and policy.policy.matches(hostname)
    ]
    if named and not bearing(identities, hostname):
        yield (
            f"no certificate bears {hostname}, and the policy of {named[0]} is enforced: senders that obey it do not "
            "deliver here; add a [[certificate]] with that name"
        )
