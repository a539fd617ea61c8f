"""The rows of one message as a story: what happened in order, each with who asked for what and what was achieved. Pure.

Used by `manage.pages.trace`. A row is written for every recipient; those that one session or one attempt brought about
are one step here. All text may be a stranger's: templates escape it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.language import _
from gatepost.manage.pages.code_labels import event_level, failure_label
from gatepost.manage.pages.requirement_text import requirement_text, sources_text
from gatepost.manage.use_cases.explain_text import detail_lines, tls_lines
from gatepost.sentences import ours
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gatepost.mail.model.trace_event import TraceEvent


_CARRIED: Final = {"RECEIVE", "SEND", "DELIVER"}
_TITLES: Final = {
    "RECEIVE": N_("Received"),
    "REFUSE": N_("Refused"),
    "TLSFAIL": N_("TLS handshake failed"),
    "SEND": N_("Sent"),
    "DELIVER": N_("Delivered to a mailbox"),
    "DEFER": N_("Deferred"),
    "FAIL": N_("Failed permanently"),
    "EXPIRE": N_("Expired in the queue"),
    "DROP": N_("Dropped"),
    "HOLD": N_("Held"),
    "QUARANTINE": N_("Held in quarantine"),
    "RELEASE": N_("Released"),
    "RETURN": N_("Return to the sender requested"),
    "DRILL": N_("Connector drill"),
}

_FROM_QUARANTINE: Final = {"RELEASE": N_("Released from quarantine"), "DROP": N_("Deleted from quarantine")}

STEPS: Final = 60
"""At most so many are told; of more, the first and the last."""
_RAW: Final = 4000  # characters of a row's JSON
_RECIPIENTS: Final = 50
_TOLD_ELSEWHERE: Final = {"transcript", "reasons", "requirement_sources", "passed_over", "tries", "attempt", "seconds",
                          "next_attempt", "configuration", "author", "journal", "journaled", "holds", "quarantine",
                          "until"}  # fmt: skip

_APART: Final = ("journal", "quarantine", "holds")
"""What makes two steps of rows that are alike otherwise: a delivery is no journal copy, and holders differ."""


@dataclass(frozen=True, slots=True)
class StoryStep:
    """One thing that happened. when: seconds since 1970. recipients: whom it was about, at most 50 of `count`.

    text: what was said, or is to be known first. facts: pairs of a label and a text or a time. reasons: of the
    decision, in its order. passed_over: connectors that would have applied, and why they did not. tries: every host
    that was asked. more: everything else the row knows. transcript: of the session, "" if none was kept. raw: a row as
    JSON.
    """

    level: str
    when: float
    event: str
    title: str
    text: str
    recipients: Sequence[str]
    count: int
    facts: Sequence[tuple[str, str | float]]
    protection: str
    reasons: Sequence[str]
    passed_over: Sequence[tuple[str, str]]
    tries: Sequence[Mapping[str, str]]
    more: Sequence[tuple[str, str]]
    transcript: str
    raw: str


@dataclass(frozen=True, slots=True)
class RecipientState:
    """State of one recipient, by the last event about it."""

    address: str
    event: str
    level: str
    at: float
    protection: str
    reply: str


def story(events: Sequence[TraceEvent]) -> list[StoryStep | int]:
    """Steps, oldest first; where there are too many of them, a number says how many are left out there."""
    story_steps = [_step(list(group)) for _key, group in groupby(events, key=_together)]
    if len(story_steps) <= STEPS:
        return [*story_steps]
    half = STEPS // 2
    return [*story_steps[:half], len(story_steps) - STEPS, *story_steps[-half:]]


def recipients_of(events: Iterable[TraceEvent]) -> list[RecipientState]:
    """Each recipient with what happened to it last, in the order in which they came."""
    states: dict[str, RecipientState] = {}
    for event in events:
        if event.recipient:
            level = event_level(event.event)
            reply = event.reply
            shown = protection(event)
            states[event.recipient] = RecipientState(event.recipient, event.event, level, event.at, shown, reply)
    return list(states.values())


def protection(event: TraceEvent) -> str:
    """Protection of a hop, as `ui.tls_badge` calls it; "" if there was none.

    Nor is there one where no mail went: a message that waits since there was no TLS was not sent unencrypted.
    """
    if not event.achieved or event.event in {"RETURN", "HOLD", "QUARANTINE", "RELEASE", "DROP"}:
        return ""
    ladder = event.achieved.rpartition("/")[2].partition("(")[0]
    if ladder == "none" and event.event not in _CARRIED:
        return ""
    return {"none": "cleartext", "encrypted": "encrypted", "authenticated": "verified"}.get(ladder, ladder)


def _together(event: TraceEvent) -> tuple[Any, ...]:
    """Key of rows that belong to one step: one transaction in, or one answer to some recipients."""
    # Rows of one session or attempt are written in a breath, and each with a time of its own.
    moment = round(event.at, 1)
    apart = str([event.detail.get(name) for name in _APART])
    return (event.event, event.message, moment, event.peer_address, event.connector, event.reply, apart)


def _step(rows: list[TraceEvent]) -> StoryStep:
    event = rows[0]
    detail = event.detail
    return StoryStep(
        level=event_level(event.event),
        when=event.at,
        event=event.event,
        title=_title(event),
        text=event.reply or str(detail.get("text", "")),
        recipients=[row.recipient for row in rows[:_RECIPIENTS] if row.recipient],
        count=len(rows),
        facts=[(label, text) for label, text in _facts(event) if text],
        protection=protection(event),
        reasons=[str(reason) for reason in detail.get("reasons", ())],
        passed_over=[
            (str(record.get("connector", "")), str(record.get("why", ""))) for record in _records(detail, "passed_over")
        ],
        tries=[{key: str(value) for key, value in record.items()} for record in _records(detail, "tries")],
        more=[*tls_lines(event.tls), *_rest(detail)],
        transcript="\n".join(map(str, detail.get("transcript", ()))),
        raw=_raw(event),
    )


def _rest(detail: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a step shows nowhere else: pairs of a label and a text."""
    reasons = [("why", str(reason)) for reason in detail.get("reasons", ())]
    rest = detail_lines({name: value for name, value in detail.items() if name not in _TOLD_ELSEWHERE})
    return (line for line in rest if line not in reasons)


def _title(event: TraceEvent) -> str:
    title = _(_TITLES.get(event.event, event.event))
    if isinstance(journal := event.detail.get("journal"), dict):
        title = (
            _("Journal report: %(title)s", title=title[:1].lower() + title[1:])
            if journal.get("form") == "report"
            else _("Journal copy: %(title)s", title=title[:1].lower() + title[1:])
        )
    if "returned" in event.detail:
        return _("Returned to the sender by an administrator")
    if event.event == "DEFER" and event.detail.get("suspended"):
        return _("%(title)s without an attempt: other mail had just failed there", title=title)
    if event.event == "DEFER" and (attempt := event.detail.get("attempt")):
        return _("%(title)s, attempt %(attempt)s", title=title, attempt=attempt)
    if "quarantine" in event.detail and event.event in _FROM_QUARANTINE:
        title = _FROM_QUARANTINE[event.event]
        if event.detail.get("expired"):
            return _("%(title)s, as its time was over", title=title)
    if event.event in {"HOLD", "RELEASE", "DROP", "RETURN"} and (author := event.detail.get("author")):
        return _("%(title)s by %(author)s", title=title, author=author)
    return title


def _records(detail: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    return [candidate for candidate in detail.get(name, ()) if isinstance(candidate, dict)]


def _facts(event: TraceEvent) -> Iterator[tuple[str, str | float]]:
    detail = event.detail
    yield _("Remote server"), f"{event.peer_host} {_bracketed(event)}".strip()
    yield _("Authenticated as"), str(detail.get("user", ""))
    yield (
        _("Journaled to"),
        ", ".join(f"{copy.get('to')} ({copy.get('form')})" for copy in _records(detail, "journaled")),
    )
    yield _("Sent instead to"), str(detail.get("journal_failures_to", ""))
    yield _("Connector"), event.connector
    if event.requirement:
        yield _("Required"), f"{requirement_text(event.requirement)}{_origin(detail)}"
    if event.achieved:
        yield _("Achieved"), event.achieved
    yield _("Rehearsal"), _rehearsal(detail.get("rehearsal"))
    yield from _tls_facts(event.tls)
    if isinstance(classical := detail.get("classical_only"), dict):
        yield (
            _("Key exchange"),
            _("Classical groups only: no answer to post-quantum key exchange (%(get)s)", get=classical.get("why")),
        )
    yield _("TLS failure"), failure_label(event.result_type) if event.result_type else ""
    why = str(detail.get("detail") or detail.get("why", ""))
    yield _("Detail"), "" if why in event.reply or why in detail.get("reasons", ()) else why
    yield _("Quarantine of"), str(detail.get("quarantine", ""))
    for hold in _records(detail, "holds"):
        yield _("Held by"), ": ".join(str(hold[name]) for name in ("by", "reason") if hold.get(name))
    if isinstance(until := detail.get("until"), float):
        yield _("Expires"), until
    yield _("Duration"), f"{detail['seconds']:.3f} s" if isinstance(detail.get("seconds"), float) else ""
    if isinstance(due := detail.get("next_attempt"), float) and due:
        yield _("Next attempt"), due
    if version := detail.get("configuration"):
        yield _("Configuration"), _("revision %(version)s", version=version)


def _rehearsal(verdict: object) -> str:
    """What the connector in rehearsal would have said of the connection; "" if it was not asked."""
    if not isinstance(verdict, dict) or "passed" not in verdict:
        return ""
    requirement = requirement_text(str(verdict.get("requirement", "")))
    if verdict["passed"]:
        return _("meets %(requirement)s", requirement=requirement)
    return _("does not meet %(requirement)s: %(why)s", requirement=requirement, why=verdict.get("message", ""))


def _origin(detail: Mapping[str, Any]) -> str:
    """What a requirement comes from: connectors, rules and policies, or the default."""
    sources = [str(source) for source in detail.get("requirement_sources", ())]
    if sources == ["default"]:
        return _(" (default)")
    return _(", required by %(sources)s", sources=sources_text(sources)) if sources else ""


def _bracketed(event: TraceEvent) -> str:
    address = event.peer_address
    return f"[{address}]" if address and address != event.peer_host else ""


def _tls_facts(tls: Mapping[str, Any]) -> Iterator[tuple[str, str | float]]:
    if not tls:
        return
    resumed = _(", resumed") if tls.get("resumed") else ""
    yield "TLS", " ".join(str(value) for key in ("version", "suite", "group") if (value := tls.get(key))) + resumed
    certificate = tls.get("certificate") or {}
    if certificate:
        names = ", ".join(map(str, certificate.get("names", ())))
        yield _("Certificate"), f"{certificate.get('subject', '')}{_(' for %(names)s', names=names) if names else ''}"
        yield _("Issuer"), str(certificate.get("issuer", ""))
        yield _("Expires"), certificate["not_after"] if isinstance(certificate.get("not_after"), float) else ""
        yield "SHA-256", str(certificate.get("sha256", ""))
    yield _("Chain"), ": ".join(filter(None, (str(tls.get("chain", "")), ours(str(tls.get("chain_detail", ""))))))
    yield _("Revocation"), ours(str(tls.get("revocation", "")))


def _raw(event: TraceEvent) -> str:
    text = msgspec.json.format(msgspec.json.encode(event, enc_hook=str), indent=2).decode()
    return (
        text if len(text) <= _RAW else _("%(text)s\n… (cut; the JSON file of this page has the rest)", text=text[:_RAW])
    )
