"""The evidence log as administrators see it: its heads and keys, and entries of it with their proof, for an auditor.

Heads and keys are about all mail, and for who sees the whole gateway. Who sees only some organizations gets entries of
theirs; what lies between them is in the export as digests, which say how many there were and nothing else.
"""

from __future__ import annotations

import io
from dataclasses import replace
from importlib.util import find_spec
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from gatepost.analysis.reports.evidence_export import Selection, chosen_segments, write_csv, write_json
from gatepost.events.evidence.chain import Place
from gatepost.events.evidence.heads import DayHead
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.pki.certificates.evidence_key import kept_keys, public_key_id
from gatepost.store.evidence_files import day_files, evidence_directory
from gatepost.store.evidence_heads import read_heads
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.analysis.reports.evidence_export import Summary
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.gateway import Gateway


FORMS: Final = ("json", "csv", "pdf")


class PublicKey(NamedTuple):
    """That the log is, or was, signed with. pem: as `gatepost evidence verify --key` takes it."""

    id: str
    pem: str


def heads(gateway: Gateway, who: Principal, since: str = "") -> list[DayHead]:
    """The head of each day that is over, of that UTC day on, oldest first.

    Raises Refusal: UNREADABLE; FORBIDDEN to who sees some organizations only.
    """
    _of_gateway(who)
    try:
        book = read_heads(evidence_directory(gateway.data))
    except StoreFailure as failure:
        raise Refusal(Kind.UNREADABLE, str(failure)) from failure
    return [one for day, one in sorted(book.days.items()) if day >= since]


def head_record(one: DayHead) -> dict[str, Any]:
    """For machines, as `gatepost evidence heads --json` prints it."""
    return {
        "day": one.day,
        "hash": one.hash,
        "writers": {name: {"number": end.number, "head": end.head} for name, end in one.writers.items()},
    }


def keys(gateway: Gateway, who: Principal) -> list[PublicKey]:
    """The public keys, that in use first. Raises as `heads`."""
    _of_gateway(who)
    evidence = evidence_directory(gateway.data)
    try:
        return [PublicKey(public_key_id(one), one.decode("ascii")) for one in kept_keys(evidence)]
    except (OSError, ValueError) as error:
        raise Refusal(Kind.UNREADABLE, f"{evidence / 'keys'}: {error}") from error


def head_of(record: Mapping[str, Any]) -> DayHead:
    """What `head_record` tells. Raises TypeError or LookupError for what it never told."""
    writers = {name: Place(end["number"], end["head"]) for name, end in record["writers"].items()}
    return DayHead(record["day"], record["hash"], writers)


def _of_gateway(who: Principal) -> None:
    if not who.is_of_gateway:
        text = "Heads and keys of the evidence log are about all mail, and you see some organizations only."
        raise Refusal(Kind.FORBIDDEN, text)


def key_record(one: PublicKey) -> dict[str, Any]:
    """For machines, as `gatepost evidence key --json` prints it."""
    return one._asdict()


def days_kept(gateway: Gateway) -> tuple[str, str]:
    """The first and the last day that the log has, "" where there is none."""
    days = sorted({one.day for one in day_files(evidence_directory(gateway.data))})
    return (days[0], days[-1]) if days else ("", "")


def export_forms() -> tuple[str, ...]:
    """What an export can be written as here: PDF needs the extra gatepost[pdf]."""
    return FORMS if find_spec("reportlab") is not None else FORMS[:-1]


def export(
    gateway: Gateway, who: Principal, selection: Selection, form: str, out: IO[bytes], proof: tuple[str, str] = ("", "")
) -> Summary:
    """Write entries of the log, of the organizations that are seen. form: one of `export_forms`.

    proof: of a PDF, the name of the JSON that proves it and its SHA-256, "" for none. Goes over the log of the time.
    Raises Refusal (UNREADABLE) for a log that cannot be read; OSError where `out` cannot be written.
    """
    chosen = replace(selection, organizations=who.organizations)
    if selection.organization and not who.sees(selection.organization):
        chosen = replace(chosen, organization="", organizations=frozenset())
    evidence, node = evidence_directory(gateway.data), gateway.settings.server.hostname
    try:
        found = chosen_segments(evidence, chosen)
        if form == "json":
            return write_json(out, evidence, chosen, node, found)
        if form == "csv":
            text = io.TextIOWrapper(out, "utf-8", newline="")
            summary = write_csv(text, found)
            text.detach()  # flushes, and leaves `out` open
            return summary
        from gatepost.analysis.reports.evidence_pdf import Log, write_pdf  # noqa: PLC0415 - reportlab may be missing

        signed = [public_key_id(one) for one in kept_keys(evidence)]
        days = [one for _, one in sorted(read_heads(evidence).days.items())]
        return write_pdf(out, Log(node, signed, days), chosen, found, proof=proof)
    except StoreFailure as failure:
        raise Refusal(Kind.UNREADABLE, str(failure)) from failure
    except ValueError as error:
        raise Refusal(Kind.UNREADABLE, f"{gateway.data}/evidence/keys: {error}") from error
