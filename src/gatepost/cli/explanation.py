"""How `gatepost explain` shows an explanation to a person: inbound, outbound, and what a TLS failure would do."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

import click

from gatepost.administration.explain_words import KINDS, RESULTS, demand_words, hook_words, way_words
from gatepost.cli.tables import printable
from gatepost.connectors.units import format_duration
from gatepost.policy.route import MxRoute, SmartHosts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.administration.explain import Answer, Assumption, Certificates
    from gatepost.checks.tasks import HostReport
    from gatepost.policy.content_demand import ContentDemand
    from gatepost.policy.explain import Explanation
    from gatepost.policy.failures import FailureOutcome

__all__ = ["print_explanation"]

_WIDTH = 100
_SHOWN = 15  # other connectors of one direction; --json has them all
_TITLE = 14
_LABEL = 16
_NAME = 24

_SAY = {
    "ip": "; say --ip ADDRESS to be somebody",
    "tls": "; say --tls TLSv1.3 or --certificate FILE",
    "revocation": "; --live looks it up",
}


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


def print_explanation(answer: Answer, certificate: str = "") -> None:
    """All of it on standard output. certificate: the file that it was in."""
    page, explanation, asked = _Page(), answer.explanation, answer.asked
    channel = f"over {asked.tls}" if asked.tls else "in clear"
    if asked.tls:
        channel += f", certificate {certificate}" if asked.certificate else ", without a certificate"
    ends = f"<{explanation.reverse_path.text}> {page.arrow} <{explanation.recipient.text}>"
    page.line(f"{ends}, from {asked.ip} {channel}; by configuration {explanation.inbound.configuration}", 2)
    for one in asked.assumed:
        page.line(f"assumed: {_assumed(one)}", 9)
    _inbound(page, explanation)
    _outbound(page, explanation, answer.certificates)
    if explanation.failures:
        _failures(page, explanation, answer.expiration)
    if answer.reports is not None:
        _live(page, answer.reports)


def _assumed(one: Assumption) -> str:
    """With the option that says otherwise, where there is one."""
    if one.field == "tls" and one.text != "in clear":
        return one.text
    return f"{one.text}{_SAY[one.field]}"


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
        page.field("content hook", hook_words(asked))
    for number, reason in enumerate(verdict.reasons, 1):
        if not verdict.accepted and number == len(verdict.reasons):
            page.mark(page.no, reason)
        else:
            speaks_for = reason.startswith(f"connector {verdict.connector!r} of ") and ", but " not in reason
            page.mark(page.yes if verdict.connector and speaks_for else page.note, reason)
    told = set(verdict.reasons)
    _others(page, [one for one in explanation.others_inbound if " ".join(one) not in told])


def _outbound(page: _Page, explanation: Explanation, certificates: Certificates | None) -> None:
    outbound = explanation.outbound
    if outbound is None:
        page.section("OUTBOUND", "nowhere: it is no organization's mail")
        return
    supposed = "if it were accepted: " if explanation.supposed else ""
    page.section("OUTBOUND", f"{supposed}{way_words(outbound)}")
    if outbound.way == "nowhere":
        page.mark(page.no, outbound.detail)
    if outbound.requirement is not None:
        page.field("connector", outbound.connector or "none")
        page.field("requirement", demand_words(outbound.requirement))
    if outbound.rehearsed is not None:
        page.field("rehearsal", f"would require {demand_words(outbound.rehearsed)}")
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
        page.line(f"  {KINDS[outcome.kind]:{_NAME - 2}}{_result(page, outcome)}", _NAME)
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
    said = RESULTS[outcome.result]
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
