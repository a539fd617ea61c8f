"""Check the files and labels that resources name: trust anchors, certificates and their keys, DKIM keys.

`manage.use_cases.change` asks before a change is written, `node.alarms` while it is in force, and of several nodes each
looks at its own files (`node.certificate_observer`): a file that was there may go. What cannot be used holds mail or
lets nobody prove anything, so it is an error, never something to be ignored.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.analysis.alarms.alarm import Alarm, Kind, Severity
from gatepost.net.anchors import SYSTEM, AnchorsError, TrustAnchors
from gatepost.net.identity import IdentityError, ServerIdentity, read_identity
from gatepost.pki.certificates.dkim_keys import unusable_key
from gatepost.pki.certificates.files import CertificateFileError, load_key
from gatepost.policy.connectors.dkim_key import DkimKey
from gatepost.policy.connectors.names import resource_label
from gatepost.policy.connectors.records import Organization
from gatepost.policy.connectors.values import DkimState
from gatepost.protocols.message.header_text import shown_text
from gatepost.store.nodes import UnusableFile
from gatepost.texts import own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from gatepost.policy.connectors.client_certificate import ClientCertificate
    from gatepost.settings.model import Settings


type Source = tuple[str, ...]
"""The kind of a file, which is the key that names it, and its path; of a certificate those of its chain and its key."""

type Content = TrustAnchors | ServerIdentity | bytes
"""What a file holds: trust anchors, a certificate with its key, or a private key of DKIM."""

ANCHORS: Final = "trust_anchors"
CERTIFICATE: Final = "client_certificate"
KEY: Final = "key_file"

_SERVER: Final = f"tls.{ANCHORS}"
_ISSUER: Final = f"oidc.{ANCHORS}"
_AUTHORITY: Final = f"acme.{ANCHORS}"
_LONG: Final = 300

UNUSABLE: Final = AnchorsError, IdentityError, CertificateFileError
"""What `read_source` raises."""


class NamedFile(msgspec.Struct, frozen=True):
    """Something outside the resources that one of them needs.

    table: "outbound_connector", with the place of the resource in it and its name. field: the key, such as
    "trust_anchors" or "client_certificate.label". anchors: a FILE or DIR, certificate: what is presented, key: what
    signs with a private key in a file; one of the three.
    """

    organization: str
    table: str
    place: int
    name: str
    field: str
    anchors: str = ""
    certificate: ClientCertificate | None = None
    key: DkimKey | None = None

    @property
    def path(self) -> str:
        """The field, as errors name it."""
        return f"organization.{self.organization}.{self.table}[{self.place}] {self.name!r}.{self.field}"

    @property
    def about(self) -> str:
        """The field, as alarms name it."""
        return f"{self.organization}/{self.name}/{self.field}"

    @property
    def source(self) -> Source:
        """Where it is; () for a certificate of the inventory. Trust anchors may be written there as PEM."""
        if self.key is not None:
            return KEY, self.key.key_file
        if self.certificate is not None:
            return () if self.certificate.label else (CERTIFICATE, self.certificate.chain, self.certificate.key)
        return ANCHORS, self.anchors

    @property
    def owner(self) -> str:
        """The resource in words: "outbound connector 'bank' of contoso"."""
        return resource_label(self.table, self.name, self.organization)

    @property
    def need(self) -> tuple[object, ...]:
        """Equal for what needs the same for the same resource, wherever that stands in its table."""
        key = self.key and (self.key.key_file, self.key.public_key, self.key.algorithm, self.key.state)
        return self.organization, self.table, self.name, self.field, self.anchors, self.certificate, key


def named_files(organizations: Iterable[Organization]) -> Iterator[NamedFile]:
    """All that enabled resources need, and DKIM keys until they are retired."""
    tables = [(field, info.alias) for field, info in Organization.model_fields.items() if info.alias]
    for organization in organizations:
        for field, table in tables:
            for place, part in enumerate(getattr(organization, field)):
                where = (organization.name, table, place, str(getattr(part, "name", "")))
                if not getattr(part, "enabled", True):
                    continue
                if (anchors := getattr(part, ANCHORS, "")) not in {"", SYSTEM}:
                    yield NamedFile(*where, ANCHORS, anchors=anchors)
                directory = getattr(part, "recipient_directory", None)
                if directory is not None and directory.trust_anchors not in {"", SYSTEM}:
                    yield NamedFile(*where, f"recipient_directory.{ANCHORS}", anchors=directory.trust_anchors)
                if (named := getattr(part, CERTIFICATE, None)) is not None:
                    key = f"{CERTIFICATE}.label" if named.label else CERTIFICATE
                    yield NamedFile(*where, key, certificate=named)
                if isinstance(part, DkimKey) and part.key_file and part.state is not DkimState.RETIRED:
                    yield NamedFile(*where, KEY, key=part)


def unusable(one: NamedFile, identity: Callable[[str, str, float], ServerIdentity], now: float) -> str:
    """Why it cannot be used, "" if it can. identity: finds a client certificate by organization and label."""
    try:
        if one.certificate is not None and one.certificate.label:
            identity(one.organization, one.certificate.label, now)
            return ""
        return misfit(read_source(one.source), one)
    except UNUSABLE as error:
        return str(error)


def misfit(content: Content, one: NamedFile) -> str:
    """Why what a file holds is not what the resource needs, "" if it is. It takes 50 ms for a DKIM key of RSA."""
    return unusable_key(content, one.key) if one.key is not None and isinstance(content, bytes) else ""


def read_source(source: Source) -> Content:
    """The content of the files as they are now. Raises UNUSABLE: of each kind of file its own."""
    kind, *paths = source
    if kind == CERTIFICATE:
        chain, key = map(Path, paths)
        identity = ServerIdentity(_read(chain), _key(key))
        read_identity(identity)
        return identity
    (path,) = paths
    return TrustAnchors.load(path) if kind == ANCHORS else load_key(Path(path))


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise IdentityError(f"{file}: {error.strerror}") from error


def _key(file: Path) -> bytes:
    """As every private key, one that others may use is not taken up. Raises IdentityError."""
    try:
        return load_key(file)
    except CertificateFileError as error:
        raise IdentityError(str(error)) from error


def server_anchors(settings: Settings) -> dict[str, str]:
    """The trust anchors that settings in use name, by the setting."""
    oidc, acme = settings.oidc, settings.acme
    result = {_SERVER: settings.tls.trust_anchors}
    result |= {_ISSUER: oidc.trust_anchors} if oidc.issuer and oidc.trust_anchors else {}
    return result | ({_AUTHORITY: acme.trust_anchors} if acme.is_on else {})


def unusable_files(
    servers: Mapping[str, str],
    organizations: Iterable[Organization],
    identity: Callable[[str, str, float], ServerIdentity],
    now: float,
) -> Iterator[UnusableFile]:
    """All that cannot be used on this node. servers: as `server_anchors`; the rest as for `unusable`. Blocks."""
    for key, name in servers.items():
        try:
            TrustAnchors.load(name)
        except AnchorsError as error:
            yield UnusableFile(key, str(error))
    for file in named_files(organizations):
        if why := unusable(file, identity, now):
            yield UnusableFile(file.about, why)


def file_alarms(
    files: Iterable[UnusableFile], organizations: Iterable[Organization], *, node: str = ""
) -> Iterator[Alarm]:
    """The alarms about files that `unusable_files` named. node: that says so, "" if there is one alone.

    What no resource names is left out: another node says it, by its own version of the resources.
    """
    named = {file.about: file for file in named_files(organizations)}
    for file in files:
        if file.about in {_SERVER, _ISSUER, _AUTHORITY}:
            yield _server_alarm(file, node)
        elif (resource := named.get(file.about)) is not None:
            yield _file_alarm(resource, file.why, node)


def _file_alarm(file: NamedFile, why: str, node: str) -> Alarm:
    title = f"{own(file.owner)} names a file that cannot be used: {file.field}"
    if node:
        title = f"{own(file.owner)} names a file that cannot be used on node {node}: {file.field}"
    fix = f"Restore it, or change {file.field} of the {own(file.owner)}: mail that needs it waits until then."
    if file.source:
        fix = (
            f"Restore it, or change {file.field} of the {own(file.owner)}: until then the gateway goes by what it read "
            "last, and SIGHUP reads no file again. If it never could read this one, mail that needs it waits."
        )
    return _alarm(file.about, node, title, why, fix)


def _server_alarm(file: UnusableFile, node: str) -> Alarm:
    title = f"Trust anchors of the settings cannot be read: {file.about}"
    if node:
        title = f"Trust anchors of the settings cannot be read on node {node}: {file.about}"
    fix = (
        "Restore them: until then the gateway goes by what it read last, and SIGHUP reads no file again. It does "
        "not start without them."
    )
    if file.about == _ISSUER:
        fix = "Restore them: until then log-ins at the issuer go by what was read last, and fail after a restart."
    if file.about == _AUTHORITY:
        fix = (
            "Restore them: until then no certificate is requested or renewed. The gateway does not start without them."
        )
    return _alarm(file.about, node, title, file.why, fix)


def _alarm(about: str, node: str, title: str, why: str, fix: str) -> Alarm:
    about += f" on {node}" if node else ""
    return Alarm(Kind.FILE_UNUSABLE, Severity.ERROR, "", title, shown_text(why, _LONG), fix, about)
