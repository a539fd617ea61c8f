"""The result of an import: resources, and what of each was carried over and what was not.

Used by `analysis.migration.exchange` and `analysis.migration.postfix`, which gather parts; printed by
`manage.cli.imports`. `assemble` lets `policy.connectors.model.parse` judge the whole document, so that what is printed
can be applied.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gatepost.policy.connectors.errors import FieldError, ResourceErrors
from gatepost.policy.connectors.model import parse
from gatepost.texts import N_, own

# The lists of an organization, in the order of the document, and what sentences call one entry.
KINDS = {
    "accepted_domain": "accepted domain",
    "mailbox": "mailbox",
    "inbound_connector": "inbound connector",
    "outbound_connector": "outbound connector",
    "mail_flow_rule": "mail flow rule",
    "oauth_issuer": "OAuth issuer",
    "content_hook": "content hook",
    "dkim_key": "DKIM key",
}

_DEMANDS = ("require_tls", "restrict_domains_to_certificate", "restrict_domains_to_ip_addresses")  # of partners
_NAME_LENGTH = 64
_SLUG_LENGTH = 63


class ImportRefused(Exception):  # noqa: N818 - it is the answer, not a fault
    """Nothing can be read: the input is not what the import reads. The text says what, where, why, and what to do."""


class ImportResult(StrEnum):
    """The result for a resource or for one of its settings."""

    CARRIED = N_("carried over")
    DIFFERS = N_("differs")
    LOST = N_("not carried over")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    resource: "outbound connector 'hq'", or what stands for no resource. setting: the property or parameter as its own
    product names it, "" for the resource as a whole. detail: what is different, or why it is lost and what to do.
    """

    resource: str
    outcome: ImportResult
    setting: str = ""
    detail: str = ""


@dataclass(slots=True)
class Part:
    """A resource in the making. kind: a key of KINDS, "organization", or "" for what becomes no resource.

    fallbacks: for a field that our own checks refuse, what to write instead and how the report says so. Only for what
    is at least as strict: without one, the whole resource is left out. secret: what its log-in has in a file. origin:
    the parameter or property that it comes from, "" where nobody asks.
    """

    kind: str
    label: str
    table: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    fallbacks: dict[str, tuple[dict[str, Any], str]] = field(default_factory=dict)
    refused: str = ""
    secret: str = field(default="", repr=False)
    origin: str = ""

    @property
    def secret_file(self) -> str:
        """The file that its table names for the secret of its log-in."""
        authentication, directory = self.table.get("authentication") or {}, self.table.get("recipient_directory") or {}
        return str(authentication.get("secret_file") or directory.get("password_file") or "")

    def differs(self, setting: str, detail: str) -> None:
        """A setting is carried over, and something about it is not the same."""
        self.findings.append(Finding(self.label, ImportResult.DIFFERS, setting, detail))

    def lost(self, setting: str, detail: str) -> None:
        """A setting is not carried over."""
        self.findings.append(Finding(self.label, ImportResult.LOST, setting, detail))

    def refuse(self, why: str) -> None:
        """The resource cannot be carried over at all. The first reason counts."""
        self.refused = self.refused or why


@dataclass(frozen=True, slots=True)
class Imported:
    """The result. `parse` takes `document`.

    notes: what differs, for the resource at (kind, place in its list); ("organization", 0) for the organization itself.
    left_out: resources that were refused, as they would have been, with the reason: they may be printed as comments.
    secrets: what has to be written into the files that are named, by their paths.
    """

    organization: str
    document: dict[str, Any]
    findings: tuple[Finding, ...]
    notes: dict[tuple[str, int], tuple[str, ...]]
    left_out: tuple[tuple[str, str, dict[str, Any]], ...]
    secrets: dict[str, str] = field(default_factory=dict, repr=False)

    def count(self, outcome: ImportResult) -> int:
        """The number of findings with a result."""
        return sum(finding.outcome is outcome for finding in self.findings)


def rehearse(imported: Imported) -> int:
    """Let connectors of partners that demand something judge only (`mode`), those that are enabled; how many.

    Those of own servers stay as they are: in rehearsal they would let nobody relay.
    """
    tables = imported.document["organization"][imported.organization]
    connectors = [*tables.get("inbound_connector", ()), *tables.get("outbound_connector", ())]
    chosen = [table for table in connectors if _may_rehearse(table)]
    for table in chosen:
        table["mode"] = "rehearse"
    return len(chosen)


def _may_rehearse(table: dict[str, Any]) -> bool:
    """Whether a connector demands something of a partner; what logs in proves the host's name in any mode."""
    if table.get("connector_type") == "on-premises" or not table.get("enabled", True) or "authentication" in table:
        return False
    demands = (
        table.get("tls_settings", "opportunistic") != "opportunistic",
        table.get("smtp_dane_mode") == "mandatory",
        *(table.get(name) for name in _DEMANDS),
    )
    return any(demands)


def slug(text: str, default: str = "imported") -> str:
    """A text as the name of an organization: lower-case letters, digits and hyphens."""
    made = re.sub(r"[^a-z0-9]+", "-", text.lower())[:_SLUG_LENGTH].strip("-")
    return made or default


def unique_name(wanted: str, taken: dict[str, int]) -> str:
    """A printable name of 1 to 64 characters that no other has.

    taken: names in lower case, each with the last number that was put behind it; the new one is added.
    """
    clean = " ".join("".join(text if text.isprintable() else " " for text in wanted).split()) or "unnamed"
    name = clean[:_NAME_LENGTH].rstrip()
    first = name.lower()
    while name.lower() in taken:
        taken[first] += 1
        ending = f" ({taken[first]})"
        name = f"{clean[: _NAME_LENGTH - len(ending)].rstrip()}{ending}"
    taken[name.lower()] = 1
    return name


def assemble(organization: str, parts: Sequence[Part]) -> Imported:
    """The document of all parts that our own checks take; the others are left out, with the reason.

    Raises ImportRefused if the name of the organization itself is refused.
    """
    while errors := _errors(organization, [part for part in parts if not part.refused]):
        if not _settle(organization, [part for part in parts if not part.refused], errors):
            raise ImportRefused(
                f"organization {organization!r}: {errors[0].message}; choose another with --organization"
            )
    return _imported(organization, parts)


def _errors(organization: str, parts: Sequence[Part]) -> Sequence[FieldError]:
    try:
        parse(_document(organization, parts))
    except ResourceErrors as errors:
        return errors.errors
    return ()


def _document(organization: str, parts: Iterable[Part]) -> dict[str, Any]:
    own: dict[str, Any] = {}
    for part in parts:
        if part.kind == "organization":
            own.update(part.table)
    for kind in KINDS:
        tables = [part.table for part in parts if part.kind == kind]
        if tables:
            own[kind] = tables
    return {"organization": {organization: own}}


def _settle(organization: str, parts: Sequence[Part], errors: Sequence[FieldError]) -> bool:
    """Change or refuse the parts that errors speak of; whether there was any.

    Where a field of a part has a fallback, its other errors wait: they may be gone with it.
    """
    root = f"organization.{organization}."
    listed = {kind: [part for part in parts if part.kind == kind] for kind in KINDS}
    blamed: list[tuple[Part, str, FieldError]] = []
    settled = False
    for error in errors:
        match = re.match(r"(\w+)(?:\[(\d+)\])?", error.path.removeprefix(root))
        kind, place = match.groups() if match else ("", None)
        if place is None:
            settled = _drop_own(parts, kind, error) or settled
        else:
            part = listed[kind][int(place)]
            blamed.append((part, _key(part, error.path), error))
    changed = [part for part, key, _ in blamed if key in part.fallbacks]
    for part, key, error in blamed:
        if key in part.fallbacks:
            _fall_back(part, key, error)
        elif all(part is not other for other in changed):
            part.refuse(f"{key}: {error.message}" if key else error.message)
    return settled or bool(blamed)


def _drop_own(parts: Sequence[Part], key: str, error: FieldError) -> bool:
    """Leave a field of the organization itself out."""
    owners = [part for part in parts if part.kind == "organization" and key in part.table]
    for part in owners:
        del part.table[key]
        part.lost(key, error.message)
    return bool(owners)


def _key(part: Part, path: str) -> str:
    """The field at the end of a path; a resource's name before it may hold anything."""
    name = part.table.get("name", part.table.get("address"))
    rest = path.rpartition(repr(name))[2] if isinstance(name, str) else path.partition("]")[2]
    return rest.removeprefix(".").partition("[")[0]


def _fall_back(part: Part, key: str, error: FieldError) -> None:
    instead, detail = part.fallbacks.pop(key)
    del part.table[key]
    part.table.update(instead)
    part.lost(key, f"{own(error.message)}. Instead {own(detail)}")


def _left_out(part: Part) -> str:
    """Why a resource is left out, and what that means for mail."""
    why = part.refused
    match part.kind:
        case "outbound_connector":
            return f"{own(why)}. Until it is written by hand, its mail goes by MX or another connector, with its TLS"
        case "inbound_connector":
            return (
                f"{own(why)}. Until it is written by hand, nothing is demanded of its senders, and they may not relay"
            )
        case "accepted_domain":
            return f"{own(why)}. Until it is written by hand, mail for it is refused"
        case _:
            return why


def _imported(organization: str, parts: Sequence[Part]) -> Imported:
    findings: list[Finding] = []
    notes: dict[tuple[str, int], tuple[str, ...]] = {}
    left_out: list[tuple[str, str, dict[str, Any]]] = []
    places = dict.fromkeys(KINDS, 0)
    for part in parts:
        if part.refused:
            why = _left_out(part)
            findings.append(Finding(part.label, ImportResult.LOST, "", why))
            left_out.append((part.kind, part.refused, part.table))
            continue
        if part.kind in places or part.table:
            findings.append(Finding(part.label, ImportResult.CARRIED))
        findings.extend(part.findings)
        lines = tuple(f"{finding.outcome}: {finding.setting}: {finding.detail}" for finding in part.findings)
        if part.kind in places:
            if lines:
                notes[part.kind, places[part.kind]] = lines
            places[part.kind] += 1
        elif part.kind == "organization" and lines:
            notes["organization", 0] = (*notes.get(("organization", 0), ()), *lines)
    document = _document(organization, [part for part in parts if not part.refused])
    secrets = {part.secret_file: part.secret for part in parts if part.secret and part.secret_file}
    return Imported(organization, document, tuple(findings), notes, tuple(left_out), secrets)
