"""Export entries of the evidence log with their proof, as JSON, CSV, or (`analysis.reports.evidence_pdf`) PDF.

Used by `evidence export`, on a running gateway as on a copy of its evidence. The JSON is verified by itself; the other
forms are for reading. Goes over the log once, and keeps no more of it in memory than five minutes.
"""

from __future__ import annotations

import csv
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final

from gatepost import __version__
from gatepost.analysis.reports.spreadsheet import harmless
from gatepost.events.evidence.chain import Line, canonical, parse_line
from gatepost.events.evidence.entry import address_hash, instant, message_id_hash, seconds
from gatepost.events.evidence.proof import FORMAT_NAME, Segment, segments
from gatepost.pki.certificates.evidence_key import public_key_id, readable_keys
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gatepost.store.evidence_log import EvidenceDay, EvidenceSource

_DAY: Final = 86400.0


@dataclass(frozen=True, slots=True)
class Selection:
    """The filter of entries; empty fields match all. since, until: seconds since 1970, both included, 0 for open.

    partner: a connector's name, or a domain (and those below it) at the other end; several with commas. domain: of
    sender or recipient. message: a queue id, or a Message-ID in angle brackets. address: of sender or recipient, found
    where entries keep it whole or hashed. organizations: entries of any of these; None for all, including those of no
    organization.
    """

    partner: str = ""
    domain: str = ""
    organization: str = ""
    message: str = ""
    address: str = ""
    since: float = 0.0
    until: float = 0.0
    organizations: frozenset[str] | None = None

    def matches(self, body: Mapping[str, Any]) -> bool:
        """Whether an entry of an event is wanted."""
        try:
            at = seconds(str(body.get("time", "")))
        except ValueError:
            return False
        if at < self.since or (self.until and at > self.until):
            return False
        return (
            (self.organizations is None or str(body.get("organization", "")) in self.organizations)
            and (not self.organization or str(body.get("organization", "")).lower() == self.organization.lower())
            and (not self.partner or self._is_partner(body))
            and (not self.domain or self.domain.lower() in _domains(body))
            and (not self.message or self._is_message(body))
            and (not self.address or self._has_address(body))
        )

    def is_over(self, body: Mapping[str, Any]) -> bool:
        """Whether no later entry can be wanted. Entries are up to a day late, if the disk was."""
        return bool(self.until) and str(body.get("time", "")) > instant(self.until + _DAY)

    def record(self) -> dict[str, Any]:
        """In words, for the export."""
        texts = ("partner", "domain", "organization", "message", "address")
        words = {name: getattr(self, name) for name in texts if getattr(self, name)}
        times = {name: instant(at) for name, at in (("since", self.since), ("until", self.until)) if at}
        among = {"organizations": ", ".join(sorted(self.organizations))} if self.organizations is not None else {}
        return words | times | among

    def _is_partner(self, body: Mapping[str, Any]) -> bool:
        connector = str(body.get("connector", "")).lower()
        if connector and connector == self.partner.lower():
            return True  # a comma may be in its name
        wanted = {name.strip().lower().rstrip(".") for name in self.partner.split(",")} - {""}
        suffixes = tuple(f".{name}" for name in wanted)
        return connector in wanted or any(name in wanted or name.endswith(suffixes) for name in _domains(body))

    def _is_message(self, body: Mapping[str, Any]) -> bool:
        known = (body.get("message"), body.get("message_id"))
        return self.message in known or body.get("message_id_sha256") == message_id_hash(self.message)

    def _has_address(self, body: Mapping[str, Any]) -> bool:
        hashed = address_hash(str(body.get("salt", "")), self.address)
        return any(
            str(body.get(name, "")).lower() == self.address.lower() or body.get(f"{name}_sha256") == hashed
            for name in ("sender", "recipient")
        )


def _domains(body: Mapping[str, Any]) -> tuple[str, ...]:
    return str(body.get("sender_domain", "")), str(body.get("recipient_domain", ""))


@dataclass(slots=True)
class Summary:
    """The summary of an export, counted as it passes. hops: RECEIVE and SEND by direction and protection."""

    entries: int = 0
    unsigned: int = 0
    first: str = ""
    last: str = ""
    events: Counter[str] = field(default_factory=Counter)
    hops: Counter[tuple[str, str]] = field(default_factory=Counter)
    requirements: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    messages: set[str] = field(default_factory=set)

    def take(self, segment: Segment) -> None:
        """Count a segment."""
        last = segment.items[-1] if segment.items else None
        if not isinstance(last, dict) or last.get("kind") != "checkpoint":
            self.unsigned += len(segment.chosen)
        for _, body in segment.chosen:
            self._count(body)

    def _count(self, body: Mapping[str, Any]) -> None:
        at, event = str(body.get("time", "")), str(body.get("event", ""))
        self.entries += 1
        self.first, self.last = min(self.first or at, at), max(self.last, at)
        self.events[event] += 1
        if body.get("message"):
            self.messages.add(str(body["message"]))
        if event not in {"RECEIVE", "SEND"}:
            return
        way = "received" if event == "RECEIVE" else "sent"
        self.hops[way, str(body.get("protection", ""))] += 1
        self.requirements[way, str(body.get("connector", "")), str(body.get("requirement", ""))] += 1
        tls = body.get("tls")
        self.versions[str(tls.get("version", "")) if isinstance(tls, dict) else "unencrypted"] += 1


def chosen_segments(log: EvidenceSource, selection: Selection) -> Iterator[Segment]:
    """Yield the selected entries of every writer's chain, with their proof. Raises StoreFailure."""
    since = day_text(selection.since) if selection.since else ""
    files = log.days(since=since)
    for writer in dict.fromkeys(day.writer for day in files):
        lines = _lines(day for day in files if day.writer == writer)
        yield from segments(writer, lines, selection.matches, selection.is_over)


def head_bodies(log: EvidenceSource, selection: Selection) -> Iterator[dict[str, Any]]:
    """The daily heads of the time that is wanted. Raises StoreFailure."""
    first = day_text(selection.since) if selection.since else ""
    last = day_text(selection.until + _DAY) if selection.until else "9999"
    for raw in log.head_lines():
        body = parse_line(raw).body
        if body.get("kind") == "head" and first <= str(body.get("day", "")) <= last:
            yield body


def write_json(
    out: IO[bytes], log: EvidenceSource, selection: Selection, node: str, chosen: Iterable[Segment]
) -> Summary:
    """The export that proves itself; a segment a line. Raises StoreFailure, OSError.

    How many stored public keys cannot be read is in it, if there are any.
    """
    readable, others = readable_keys(log.public_keys())
    head = {
        "format": FORMAT_NAME,
        "version": 1,
        "made": instant(time.time()),
        "software": f"gatepost {__version__}",
        "node": node,
        "selection": selection.record(),
        "keys": [{"id": public_key_id(key), "pem": key.decode("ascii")} for key in readable],
        "heads": list(head_bodies(log, selection)),
    } | ({"unreadable_keys": others} if others else {})
    return write_document(out, head, chosen)


def write_document(out: IO[bytes], head: Mapping[str, Any], chosen: Iterable[Segment]) -> Summary:
    """The same of what stands before the segments. Raises OSError."""
    summary = Summary()
    out.write(canonical(head)[:-1] + b',"segments":[')
    comma = b"\n"
    for segment in chosen:
        out.write(comma + canonical(segment.record()))
        summary.take(segment)
        comma = b",\n"
    out.write(b"\n]}\n")
    return summary


CSV_COLUMNS: Final = (
    "time", "event", "organization", "direction", "message", "message_id", "sender_domain", "recipient_domain",
    "connector", "requirement", "required_by", "achieved", "protection", "basis", "would_refuse_connector",
    "tls_version", "tls_suite", "tls_group", "certificate_sha256", "certificate_subject", "certificate_issuer", "chain",
    "chains", "revocation", "peer_host", "peer_address", "reply", "result_type", "configuration", "writer", "number",
    "hash",
)  # fmt: skip


def write_csv(out: IO[str], chosen: Iterable[Segment]) -> Summary:
    """A line for each entry, for spreadsheets: nothing in a cell is taken for a formula."""
    summary = Summary()
    table = csv.writer(out)
    table.writerow(CSV_COLUMNS)
    for segment in chosen:
        summary.take(segment)
        for head, body in segment.chosen:
            row = _flat(body) | {"writer": segment.writer, "hash": head}
            table.writerow([_cell(row.get(name, "")) for name in CSV_COLUMNS])
    return summary


def _flat(body: Mapping[str, Any]) -> dict[str, Any]:
    flat = {name: value for name, value in body.items() if not isinstance(value, dict | list)}
    flat["required_by"] = "; ".join(map(str, body.get("required_by", ())))
    judged = (f"{chain.get('anchors', '')}: {chain.get('status', '')}" for chain in body.get("chains", ()))
    flat["chains"] = "; ".join(judged)
    for part in ("tls", "certificate"):
        inner = body.get(part)
        if isinstance(inner, dict):
            flat |= {f"{part}_{name}": value for name, value in inner.items() if not isinstance(value, dict | list)}
    return flat


def _cell(value: object) -> object:
    return harmless("".join(character if character.isprintable() else "?" for character in str(value)))


def _lines(files: Iterable[EvidenceDay]) -> Iterator[Line]:
    for day in files:
        for raw in day.lines():
            yield parse_line(raw)
