"""Check the files and labels that resources name: trust anchors, certificates and their keys, DKIM keys.

`manage.use_cases.change` asks before a change is written, `node.alarms` while it is in force: a file that was there may
go. What cannot be used holds mail or lets nobody prove anything, so it is an error, never something to be ignored.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gatepost.analysis.alarms.alarm import Alarm, Kind, Severity
from gatepost.net.anchors import SYSTEM, AnchorsError, TrustAnchors
from gatepost.net.identity import IdentityError, ServerIdentity, read_identity
from gatepost.pki.certificates.dkim_keys import unusable_key_file
from gatepost.policy.connectors.dkim_key import DkimKey
from gatepost.policy.connectors.names import resource_label
from gatepost.policy.connectors.records import Organization
from gatepost.policy.connectors.values import DkimState
from gatepost.texts import own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gatepost.policy.connectors.client_certificate import ClientCertificate


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
                if (anchors := getattr(part, "trust_anchors", "")) not in {"", SYSTEM}:
                    yield NamedFile(*where, "trust_anchors", anchors=anchors)
                if (named := getattr(part, "client_certificate", None)) is not None:
                    key = "client_certificate.label" if named.label else "client_certificate"
                    yield NamedFile(*where, key, certificate=named)
                if isinstance(part, DkimKey) and part.key_file and part.state is not DkimState.RETIRED:
                    yield NamedFile(*where, "key_file", key=part)


def unusable(one: NamedFile, identity: Callable[[str, str, float], ServerIdentity], now: float) -> str:
    """Why it cannot be used, "" if it can. identity: finds a client certificate by organization and label."""
    if one.key is not None:
        return unusable_key_file(one.key)
    try:
        if one.certificate is None:
            TrustAnchors.load(one.anchors)
        elif one.certificate.label:
            identity(one.organization, one.certificate.label, now)
        else:
            chain, key = (_read(file) for file in (one.certificate.chain, one.certificate.key))
            read_identity(ServerIdentity(chain, key))
    except (AnchorsError, IdentityError) as error:
        return str(error)
    return ""


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise IdentityError(f"{file}: {error.strerror}") from error


def file_alarm(file: NamedFile, why: str) -> Alarm:
    """The alarm about a file that can no longer be used."""
    title = f"{own(file.owner)} names a file that cannot be used: {file.field}"
    fix = f"Restore it, or change {file.field} of the {own(file.owner)}: mail that needs it waits until then."
    return Alarm(
        Kind.FILE_UNUSABLE, Severity.ERROR, "", title, why, fix, f"{file.organization}/{file.name}/{file.field}"
    )
