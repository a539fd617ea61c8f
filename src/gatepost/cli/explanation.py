"""How `gatepost explain` shows an explanation to a person: inbound, outbound, and what a TLS failure would do."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, NamedTuple

import click

from gatepost.cli.tables import printable
from gatepost.connectors.units import format_duration
from gatepost.connectors.values import Mode
from gatepost.policy.outbound import describe
from gatepost.policy.route import MxRoute, SmartHosts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gatepost.checks.tasks import HostReport
    from gatepost.connectors.hook_index import AskedHook
    from gatepost.policy.content_demand import ContentDemand
    from gatepost.policy.decision import OutboundDecision
    from gatepost.policy.explain import Explanation
    from gatepost.policy.failures import FailureOutcome
    from gatepost.policy.requirement import Requirement

__all__ = ["Asked", "Certificates", "print_explanation"]

_WIDTH = 100
_SHOWN = 15  # other connectors of one direction; --json has them all
_TITLE = 14
_LABEL = 16
_NAME = 24

_KINDS = {
    "no-starttls": "no STARTTLS offered",
    "handshake-fails": "handshake fails",
    "tls-1.1-only": "TLS 1.1 only",
    "self-signed": "self-signed",
    "unknown-root": "unknown root",
    "chain-incomplete": "chain incomplete",
    "expired": "expired",
    "revoked": "revoked",
    "revocation-unknown": "revocation unknown",
    "wrong-name": "wrong name",
    "no-requiretls": "no REQUIRETLS offered",
}
_RESULTS = {
    "delivered": "delivered",
    "delivered-in-clear": "delivered in clear",
    "delivered-in-clear-later": "waits, then delivered in clear by a later attempt",
}
_WAYS = {
    "mailbox": "into the mailbox {}",
    "lmtp": "over LMTP to {}",
    "internal": "to the node {}",
    "smart-hosts": "to the smart hosts {}",
    "mx": "to the MX hosts of {}",
}


class Asked(NamedTuple):
    """The session that is meant. tls: version, "" in clear. assumed: what was not said, a clause each."""

    ip: str
    tls: str
    certificate: Path | None
    assumed: tuple[str, ...]


class Certificates(NamedTuple):
    """What there is for S/MIME. found: a sentence of the recipient's. missing: why mail waits, "" if it does not."""

    found: str
    missing: str


class _Page:
    """Lines of at most a hundred columns, in signs that standard output can write."""

    def __init__(self) -> None:
        encoding = sys.stdout.encoding or "ascii"
        try:
            "✓✗·→".encode(encoding)
        except UnicodeEncodeError:
            self.yes, self.no, self.note, self.arrow = "+", "x", "-", "->"
        else:
            self.yes, self.no, self.note, self.arrow = "✓", "✗", "·", "→"
        self._encoding = encoding
        columns = shutil.get_terminal_size((_WIDTH, 24)).columns
        self._width = min(max(columns, 60), _WIDTH)

    def line(self, text: str, indent: int = 0) -> None:
        """One line, wrapped with what follows under `indent`."""
        safe = printable(text).encode(self._encoding, "replace").decode(self._encoding)
        lines = textwrap.wrap(safe, self._width, subsequent_indent=" " * indent, break_on_hyphens=False)
        click.echo("\n".join(lines))

    def section(self, title: str, text: str) -> None:
        """A heading with what comes of it."""
        click.echo()
        self.line(f"{title:{_TITLE}}{text}", _TITLE)

    def field(self, name: str, value: str) -> None:
        """A name and its value."""
        self.line(f"  {name:{_LABEL - 2}}{value}", _LABEL)

    def mark(self, mark: str, text: str) -> None:
        """A sentence behind a sign."""
        self.line(f"  {mark} {text}", 4)


def print_explanation(
    explanation: Explanation,
    asked: Asked,
    reports: Sequence[HostReport] | None,
    expiration: float,
    certificates: Certificates | None = None,
) -> None:
    """All of it on standard output. certificates: for S/MIME, None where nobody asks for that."""
    page = _Page()
    channel = f"over {asked.tls}" if asked.tls else "in clear"
    if asked.tls:
        channel += f", certificate {asked.certificate}" if asked.certificate else ", without a certificate"
    ends = f"<{explanation.reverse_path.text}> {page.arrow} <{explanation.recipient.text}>"
    page.line(f"{ends}, from {asked.ip} {channel}; by configuration {explanation.inbound.configuration}", 2)
    for one in asked.assumed:
        page.line(f"assumed: {one}", 9)
    _inbound(page, explanation)
    _outbound(page, explanation, certificates)
    if explanation.failures:
        _failures(page, explanation, expiration)
    if reports is not None:
        _live(page, reports)


def _inbound(page: _Page, explanation: Explanation) -> None:
    verdict = explanation.inbound
    said = "accepted" if verdict.accepted else f"refused at {explanation.stage}"
    if not verdict.accepted and verdict.reply.transient:
        said = f"deferred at {explanation.stage}"
    page.section("INBOUND", f"{said}: {verdict.reply.text}")
    if verdict.organization:
        page.field("organization", f"{verdict.organization}, {verdict.direction}")
    if verdict.connector:
        trial = f"; in rehearsal: {verdict.rehearsed}" if verdict.rehearsed else ""
        page.field("connector", f"{verdict.connector}, which demands: {verdict.requirement}{trial}")
    if verdict.would_refuse is not None:
        page.field("rehearsal", f"{verdict.would_refuse_connector} would refuse with {verdict.would_refuse.text}")
    for asked in verdict.hooks:
        page.field("content hook", _hook(asked))
    for number, reason in enumerate(verdict.reasons, 1):
        if not verdict.accepted and number == len(verdict.reasons):
            page.mark(page.no, reason)
        else:
            speaks_for = reason.startswith(f"connector {verdict.connector!r} of ") and ", but " not in reason
            page.mark(page.yes if verdict.connector and speaks_for else page.note, reason)
    told = set(verdict.reasons)
    _others(page, [one for one in explanation.others_inbound if " ".join(one) not in told])


def _hook(asked: AskedHook) -> str:
    """Who will be asked about the content, and what happens without an answer."""
    hook = asked.hook
    whose = f"{hook.name} of {asked.organization}"
    trial = " (in rehearsal)" if hook.mode is Mode.REHEARSE else ""
    without = f"without its answer within {format_duration(hook.timeout)}: {hook.on_failure}"
    return f"{whose}{trial}: {hook.type} at {hook.address} is asked when the message has come; {without}"


def _outbound(page: _Page, explanation: Explanation, certificates: Certificates | None) -> None:
    outbound = explanation.outbound
    if outbound is None:
        page.section("OUTBOUND", "nowhere: it is no organization's mail")
        return
    supposed = "if it were accepted: " if explanation.supposed else ""
    page.section("OUTBOUND", f"{supposed}{_way(outbound)}")
    if outbound.way == "nowhere":
        page.mark(page.no, outbound.detail)
    if outbound.requirement is not None:
        page.field("connector", outbound.connector or "none")
        page.field("requirement", _demand(outbound.requirement))
    if outbound.rehearsed is not None:
        page.field("rehearsal", f"would require {_demand(outbound.rehearsed)}")
    if explanation.signing is not None:
        names = ", ".join(explanation.signing.names)
        page.field("dkim", f"{f'signed by {names}' if names else 'not signed'}: {explanation.signing.why}")
    _content(page, outbound.content, certificates)
    for reason in outbound.reasons:
        page.mark(page.yes, reason)
    if outbound.way in {"mailbox", "lmtp"}:
        page.mark(page.note, "the recipient has a mailbox here, so no outbound connector and no rule is asked")
        return
    if outbound.way == "internal":
        page.mark(page.note, "always TLS, by the site's own certificates; connectors and rules are asked there")
        return
    _others(page, explanation.others_outbound)
    _others(page, explanation.other_rules)


def _content(page: _Page, demand: ContentDemand, certificates: Certificates | None) -> None:
    """What is asked of the message itself, and whether the certificates for it are there."""
    for name, one in (("encryption", demand.encrypt), ("signature", demand.sign)):
        if one.required:
            page.field(name, f"S/MIME  (asked by {', '.join(map(str, one.required))})")
        if one.rehearsed:
            page.field(name, f"in rehearsal: S/MIME  (asked by {', '.join(map(str, one.rehearsed))})")
    if certificates is not None:
        page.mark(page.no if certificates.missing else page.yes, certificates.missing or certificates.found)


def _way(outbound: OutboundDecision) -> str:
    if outbound.reply is not None:
        verb = "waits with" if outbound.reply.transient else "returned with"
        return f"nowhere, {verb} {outbound.reply.text}"
    return _WAYS[outbound.way].format(", ".join(outbound.next_hops))


def _demand(requirement: Requirement) -> str:
    sources = ", ".join(str(source) for source in requirement.sources)
    return f"{describe(requirement)}  (asked by {sources})"


def _others(page: _Page, others: Sequence[tuple[str, str]]) -> None:
    """Those that did not apply: name and why not; whose they are, unless they are all of one organization."""
    owners = {label.rpartition(" of ")[2] for label, _ in others}
    common = f" of {owners.pop()}" if len(owners) == 1 else ""
    for label, why in others[:_SHOWN]:
        name = label.removesuffix(common).removeprefix("connector ").removeprefix("mail flow ")
        page.line(f"  {page.no} {name:{_NAME - 5}} {why}", _NAME)
    if len(others) > _SHOWN:
        page.line(f"    and {len(others) - _SHOWN} more that do not apply; --json has them all", 4)


def _failures(page: _Page, explanation: Explanation, expiration: float) -> None:
    after = format_duration(int(expiration))
    page.section("IF TLS FAILS", f"what waits is returned after {after}, with the code behind the arrow")
    for outcome in explanation.failures:
        page.line(f"  {_KINDS[outcome.kind]:{_NAME - 2}}{_result(page, outcome)}", _NAME)
    if isinstance(explanation.route, SmartHosts | MxRoute):
        page.line(
            "  What the domain publishes (DANE, MTA-STS) is looked up when mail is sent, and may demand more; "
            "--live asks now.",
            2,
        )
    if explanation.held_below_memory:
        page.line(
            '  Under protection_drop = "hold" mail waits for an administrator where the destination was seen to do '
            "better, whatever is said here: gatepost destination show.",
            2,
        )


def _result(page: _Page, outcome: FailureOutcome) -> str:
    if outcome.reply is not None and outcome.returned is not None:
        last, final = outcome.reply, outcome.returned
        if outcome.result == "fails":
            return f"returned at once: {final.code} {final.enhanced} {outcome.message}"
        return f"waits: {last.code} {last.enhanced} {outcome.message} {page.arrow} {final.code} {final.enhanced}"
    said = _RESULTS[outcome.result]
    if outcome.rehearsed is not None:
        said += f"; in force it would wait: {outcome.rehearsed.code} {outcome.rehearsed.enhanced}"
    return said


def _live(page: _Page, reports: Sequence[HostReport]) -> None:
    if not reports:
        page.section("LIVE", "there is no next hop to reach")
        return
    usable = sum(report.usable for report in reports)
    page.section("LIVE", f"{usable} of {len(reports)} addresses meet the requirement")
    for report in reports:
        place = f"{report.host} ({report.address})" if report.address else report.host
        page.mark(page.yes if report.usable else page.no, place)
        for task in report.tasks:
            if task.status != "skipped":
                page.line(f"      {task.name:15}{task.status}: {task.text}", 21)
                if task.advice:
                    page.line(f"{' ' * 21}{page.arrow} {task.advice}", 23)
