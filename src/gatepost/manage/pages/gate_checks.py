"""Looks at the gates of a changeover: followed live by server-sent events, or waited for where there is no script.

A look runs on a thread of its own, for it has a store of its own and waits for the world; few run at a time, those of
REST among them (`GatesLimit`), and each ends by itself within two minutes, whoever follows. The last one of each
certificate is kept in this process for an hour, so that a page shows what was found without asking anybody; it decides
nothing: a switch looks anew.
"""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress
from contextvars import copy_context
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import StreamingResponse

from gatepost.analysis.checks.gates import MAX_TEXT, GateCheck, GateFinding, GateReport
from gatepost.analysis.checks.partner_report import Mark
from gatepost.language import _, ngettext
from gatepost.manage.pages.guard import context_of
from gatepost.manage.pages.rendering import event, fragment
from gatepost.manage.pages.text_filters import sentence
from gatepost.manage.use_cases.changeover import ChangeoverCheck, GetChangeover, get_changeover
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.newest import Newest
from gatepost.pki.certificates.entry import Entry, Purpose
from gatepost.sentences import ours
from gatepost.texts import N_
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from starlette.requests import Request

    from gatepost.manage.use_cases.context import Context


_KEPT: Final = 64
_KEPT_SECONDS: Final = 3600.0
_PULSE: Final = 10.0  # seconds after which a silent stream says that it is there
_TITLES: Final = {
    GateCheck.KEY: N_("Private key"),
    GateCheck.CHAIN: N_("Chain, roots and revocation"),
    GateCheck.NAMES: N_("Names and MTA-STS"),
    GateCheck.TLSA: "TLSA records (DANE)",
    GateCheck.STAPLING: "OCSP stapling",
    GateCheck.REHEARSAL: N_("Test handshakes"),
    GateCheck.PARTNERS: N_("Partners notified"),
}
_WORST: Final = (Mark.FAIL, Mark.UNKNOWN, Mark.WARN, Mark.PASS, Mark.INFO)
_RECORD: Final = re.compile(r"_\d+\._tcp\.\S+ IN TLSA \d \d \d [0-9a-f]+")
# Where the text is about commands, and the page has a form.
_FIXES: Final = {
    (GateCheck.PARTNERS, Mark.WARN): N_("Send them the notification text, then mark them as notified, both below.")
}
# Gates whose evidence may be what others wrote: names of authorities, answers of their servers.
_FOREIGN: Final = (GateCheck.KEY, GateCheck.CHAIN, GateCheck.STAPLING)
# Of a client certificate there is nothing that a listener presents.
_SERVERS: Final = (GateCheck.TLSA, GateCheck.STAPLING, GateCheck.REHEARSAL)

_checks: Final[Newest[tuple[str, str], ChangeoverCheck]] = Newest(_KEPT)


# what is kept


def kept(context: Context, number: str) -> ChangeoverCheck | None:
    """The last look at a certificate, None if there was none within the hour, or the certificate went on since."""
    check = _checks.get((str(context.data), number))
    return check if check is not None and time.time() - check.now < _KEPT_SECONDS else None


def keep(context: Context, check: ChangeoverCheck) -> ChangeoverCheck:
    """Remember it, and forget the oldest of many."""
    _checks.keep((str(context.data), check.entry.id), check)
    return check


# as items of a page


def gate_items(
    entry: Entry, findings: Mapping[GateCheck, Sequence[GateFinding]], *, running: bool = False
) -> list[dict[str, Any]]:
    """Each gate in its order. findings: what is known so far; running: others are being looked at."""
    gates = [gate_check for gate_check in GateCheck if entry.purpose is Purpose.SERVER or gate_check not in _SERVERS]
    return [_item(gate, findings.get(gate), running=running) for gate in gates]


def by_gate(findings: Sequence[GateFinding]) -> dict[GateCheck, list[GateFinding]]:
    """The findings of a report, those without any too."""
    return {gate: [finding for finding in findings if finding.gate is gate] for gate in GateCheck}


def reasons_text(report: GateReport) -> str:
    """The reasons against a switch, in one line."""
    return "; ".join(f"{_(_TITLES[finding.gate])}: {ours(finding.text)}" for finding in report.stopping)[:MAX_TEXT]


def _item(gate: GateCheck, findings: Sequence[GateFinding] | None, *, running: bool) -> dict[str, Any]:
    base = {"key": str(gate), "title": _(_TITLES[gate]), "findings": [], "text": ""}
    if findings is None:
        return base | {"level": "running" if running else "waiting"}
    if not findings:
        return base | {"level": "info", "text": _("Nothing to check.")}
    ordered = sorted(findings, key=lambda finding: _WORST.index(finding.verdict))
    worst = ordered[0]
    more = sum(1 for finding in ordered if finding.verdict is worst.verdict) - 1
    text = sentence(ours(worst.text)) + (_(" (and %(more)s more)", more=more) if more else "")
    if more and worst.verdict is Mark.PASS:
        text = ngettext("%(num)s check passed.", "%(num)s checks passed.", len(ordered))
    return base | {
        "level": str(worst.verdict),
        "text": text,
        "findings": [_finding(finding) for finding in ordered],
    }


def _finding(finding: GateFinding) -> dict[str, Any]:
    records = list(dict.fromkeys(_RECORD.findall(f"{finding.text} {finding.evidence} {finding.fix}")))
    return {
        "level": str(finding.verdict),
        "text": sentence(ours(finding.text)),
        "evidence": finding.evidence if finding.gate in _FOREIGN else ours(finding.evidence),
        "fix": _(_FIXES.get((finding.gate, finding.verdict), "")) or _without(ours(finding.fix), records),
        "records": records,
        "until": finding.until or None,
    }


def _without(fix: str, records: Sequence[str]) -> str:
    """The fix without the records, which stand below it to be copied."""
    for record in records:
        fix = fix.replace(record, "").strip()
    return fix


# looking


def checked_changeover(context: Context, number: str) -> ChangeoverCheck:
    """Look and wait; it is on record. Raises Busy, Refusal."""
    return keep(context, execute(get_changeover, context, GetChangeover(certificate=number)))


def followed(request: Request, entry: Entry) -> StreamingResponse:
    """Look, and tell of each gate as soon as it was looked at; "done" ends it."""
    stream = _Followed(request, entry).events()
    return StreamingResponse(stream, media_type="text/event-stream", headers={"x-accel-buffering": "no"})


class _Followed:
    """One look and who follows it: the thread tells, the event loop writes."""

    def __init__(self, request: Request, entry: Entry) -> None:
        self._request = request
        self._entry = entry
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._found: dict[GateCheck, list[GateFinding]] = {}

    async def events(self) -> AsyncIterator[bytes]:
        """Each has all gates as they are then."""
        yield self._shown(running=True)
        # With a copy of the context: the language is in it.
        Thread(target=copy_context().run, args=(self._run,), name="gates", daemon=True).start()
        while True:
            try:
                message = await asyncio.wait_for(self._told.get(), _PULSE)
            except TimeoutError:
                yield b": still looking\n\n"
                continue
            if message is None:
                break
            yield message
        yield event("", "done")

    def _shown(self, *, running: bool, trouble: str = "") -> bytes:
        items = gate_items(self._entry, self._found, running=running)
        return event(fragment(self._request, "certificates/gates.html", "gates", gates=items, trouble=trouble))

    def _tell(self, told: bytes | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody follows any more
            self._loop.call_soon_threadsafe(self._told.put_nowait, told)

    def _gate(self, gate: GateCheck, findings: Sequence[GateFinding]) -> None:
        self._found[gate] = list(findings)
        self._tell(self._shown(running=True))

    def _run(self) -> None:
        """On the thread."""
        try:
            check = checked_changeover(replace(context_of(self._request), on_progress=self._gate), self._entry.id)
            self._found = by_gate(check.report.findings if check.report else ())
            self._tell(self._shown(running=False))
        except Refusal as refusal:
            self._tell(self._shown(running=False, trouble=sentence(ours(refusal.text))))
        except Exception:
            self._tell(self._shown(running=False, trouble=_("An internal error occurred. See the gateway's log.")))
            raise
        finally:
            self._tell(None)
