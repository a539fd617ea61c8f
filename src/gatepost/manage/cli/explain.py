"""`gatepost explain`: what would happen to a message, and why; the decisions of real sessions, asked for beforehand."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from gatepost.manage.cli.named_files import read_file
from gatepost.manage.cli.options import BAD_INPUT, NO, UNKNOWN, client, fail, gateway_options
from gatepost.manage.cli.output import _, ours, printable, printed_json, quantity, say
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases import explain_text
from gatepost.manage.use_cases.explain import MAX_PEM, ExplainMessage, explain_message
from gatepost.policy.connectors.units import format_duration
from gatepost.protocols.message.fields import unfolded
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    type _Record = Mapping[str, Any]


_CODES = {True: 0, False: NO, None: UNKNOWN}


@click.command("explain")
@request_options(ExplainMessage, certificate="")
@click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificate that the client presents: PEM, leaf first, with its intermediates.",
)
@click.option(
    "--message",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A stored message (.eml): its header fields are taken, as with --header. Its addresses are not.",
)
@gateway_options
def explain(request: ExplainMessage, certificate: Path | None, message: Path | None) -> None:
    """Explain what would happen to a message: attribution, acceptance, route and requirements, with reasons.

    The stored configuration decides, with the code that decides for real sessions. Nothing is sent, and without --live
    the command does not use the network, so it does not check whether a certificate is revoked.

    Exit codes: 0 accepted (if the recipient exists, where a server or directory is asked for it), and there is a route
    for it (with --live: one that meets the requirements) and a certificate, if it must be encrypted, 1 it is not, 2
    usage error or bad input, 3 the configuration cannot be read, or another organization decides and you cannot see it.
    """
    gateway = client()
    if certificate is not None:
        request = msgspec.structs.replace(request, certificate=_pem(certificate))
    if message is not None:
        request = msgspec.structs.replace(request, header=[*request.header, *_header_fields(message)])
    record = msgspec.to_builtins(gateway.call(explain_message, request))
    if record["empty"]:
        say("no organization is stored yet, so nothing is accepted; add one: gatepost apply -f FILE", err=True)
    if not printed_json(record):
        print_explanation(record, str(certificate or ""))
    sys.exit(_CODES[record["succeeds"]])


def _pem(file: Path) -> str:
    pem = read_file(file, MAX_PEM, "--certificate: ")
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        fail(BAD_INPUT, "--certificate: %(file)s contains no PEM certificate (-----BEGIN CERTIFICATE-----)", file=file)
    return pem.decode("utf-8", "replace")


def _header_fields(file: Path) -> list[str]:
    """The header section of a message, a field a line."""
    section = _HEADER_END.split(read_file(file, _MAX_MESSAGE, "--message: "), maxsplit=1)[0]
    return unfolded(section.decode("utf-8", "replace"))


_MAX_MESSAGE = 256 * 1024 * 1024
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_WIDTH = 100
_SHOWN = 15  # other connectors of one direction; --json has them all
_TITLE = 14
_LABEL = 16
_NAME = 24

_WITHHELD = N_("another organization decides; you cannot see its decision")
_SAY = {
    "ip": N_("; use --ip ADDRESS to simulate a client"),
    "tls": N_("; use --tls TLSv1.3 or --certificate FILE to change it"),
    "revocation": N_("; --live checks it"),
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
        self.line(f"{title:{max(_TITLE, len(title) + 1)}}{text}", _TITLE)

    def field(self, name: str, value: str) -> None:
        """A name and its value."""
        self.line(f"  {name:{max(_LABEL - 2, len(name) + 1)}}{value}", _LABEL)

    def mark(self, mark: str, text: str) -> None:
        """A sentence behind a sign."""
        self.line(f"  {mark} {ours(text)}", 4)


def print_explanation(record: _Record, certificate: str = "") -> None:
    """All of it on standard output. certificate: the file that it was in."""
    page = _Page()
    channel = _("over %(tls)s", tls=record["tls"]) if record["tls"] else _("unencrypted")
    if record["tls"]:
        channel += (
            _(", certificate %(certificate)s", certificate=certificate)
            if record["certificate"]
            else _(", without a certificate")
        )
    ends = f"<{record['from']}> {page.arrow} <{record['to']}>"
    page.line(
        _(
            "%(ends)s, from %(ip)s %(channel)s; using configuration version %(configuration)s",
            ends=ends,
            ip=record["ip"],
            channel=channel,
            configuration=record["configuration"],
        ),
        2,
    )
    for assumption in record["assumed"]:
        page.line(_("assumed: %(assumption)s", assumption=_assumed(assumption)), 9)
    _inbound(page, record)
    _outbound(page, record)
    if record["failures"]:
        _failures(page, record)
    if record.get("live") is not None:
        _live(page, record["live"])


def _assumed(record: _Record) -> str:
    """With the option that says otherwise, where there is one."""
    if record["field"] == "tls" and record["text"] != "unencrypted":
        return ours(str(record["text"]))
    return f"{ours(record['text'])}{_(_SAY.get(record['field'], ''))}"


def _inbound(page: _Page, record: _Record) -> None:
    verdict, stage = record["inbound"], record["stage"]
    if verdict is None:
        page.section(_("INBOUND"), _(_WITHHELD))
        return
    accepted = verdict["accepted"]
    said = _("accepted if the recipient exists") if verdict.get("supposes_recipient") else _("accepted")
    said = said if accepted else _("refused at %(stage)s", stage=stage)
    if not accepted and explain_text.is_transient(verdict["reply"]):
        said = _("deferred at %(stage)s", stage=stage)
    page.section(_("INBOUND"), f"{said}: {verdict['reply']}")
    _inbound_fields(page, verdict)
    for number, reason in enumerate(verdict["reasons"], 1):
        if not accepted and number == len(verdict["reasons"]):
            page.mark(page.no, reason)
        else:
            page.mark(page.yes if reason == verdict.get("applied_by") else page.note, reason)
    reasons = set(verdict["reasons"])
    others = [(candidate["connector"], candidate["why"]) for candidate in verdict["others"]]
    _others(page, [candidate for candidate in others if " ".join(candidate) not in reasons])


def _inbound_fields(page: _Page, verdict: _Record) -> None:
    if verdict["organization"]:
        page.field(_("organization"), f"{verdict['organization']}, {ours(verdict['direction'])}")
    if verdict["connector"]:
        rehearsed = verdict.get("rehearsal")
        trial = _("; in rehearsal: %(requirement)s", requirement=rehearsed["requirement"]) if rehearsed else ""
        said = _("%(name)s, requires: %(demand)s", name=verdict["connector"], demand=verdict["requirement"])
        page.field(_("connector"), said + trial)
    if verdict.get("would_refuse"):
        connector, reply = verdict["would_refuse_connector"], verdict["would_refuse"]
        page.field(_("rehearsal"), _("%(name)s would refuse with %(reply)s", name=connector, reply=reply))
    if checked_by := verdict.get("authentication_results"):
        page.field(_("authentication"), explain_text.CHECKED_BY[checked_by])
    for hook in verdict.get("content_hooks", ()):
        page.field(_("content hook"), explain_text.hook_text(hook))


def _outbound(page: _Page, record: _Record) -> None:
    outbound = record["outbound"]
    if outbound is None:
        withheld = "outbound" in record["withheld"]
        page.section(_("OUTBOUND"), _(_WITHHELD) if withheld else _("nowhere: the mail belongs to no organization"))
        return
    supposed = _("if accepted: ") if outbound["supposed"] else ""
    page.section(_("OUTBOUND"), f"{supposed}{ours(explain_text.route_text(outbound))}")
    if outbound["way"] == "nowhere":
        page.mark(page.no, outbound["detail"])
    _outbound_fields(page, record, outbound)
    for reason in outbound["reasons"]:
        page.mark(page.yes, reason)
    if outbound["way"] in {"mailbox", "lmtp"}:
        page.mark(
            page.note, _("the recipient has a mailbox here, so no outbound connector and no mail flow rule applies")
        )
        return
    if outbound["way"] == "internal":
        page.mark(
            page.note,
            _("always over TLS with the site's own certificates; connectors and mail flow rules apply on that node"),
        )
        return
    _others(page, [(candidate["connector"], candidate["why"]) for candidate in outbound["others"]])
    _others(page, [(rule["rule"], rule["why"]) for rule in outbound["other_rules"]])


def _outbound_fields(page: _Page, record: _Record, outbound: _Record) -> None:
    if "requirement" in outbound:
        page.field(_("connector"), outbound["connector"] or _("none"))
        page.field(_("requirement"), explain_text.demand_text(outbound["requirement"], outbound["requirement_sources"]))
    if rehearsed := outbound.get("rehearsal"):
        demand = explain_text.demand_text(rehearsed["requirement"], rehearsed["sources"])
        page.field(_("rehearsal"), _("would require %(demand)s", demand=demand))
    if (signing := record["dkim"]) is not None:
        names = ", ".join(signing["keys"])
        page.field(
            "dkim", f"{_('signed by %(keys)s', keys=names) if names else _('not signed')}: {ours(signing['why'])}"
        )
    if (sealing := record["arc"]) is not None:
        names = ", ".join(sealing["keys"])
        page.field("arc", f"{_('sealed by %(keys)s', keys=names) if names else _('not sealed')}: {sealing['why']}")
    if (login := record.get("login")) is not None:
        said = _("as %(user)s %(method)s", user=login["username"], method=login["method"])
        page.field(_("log-in"), said)
        if login["missing"]:
            page.mark(page.no, login["missing"])
    _content(page, outbound.get("smime", {}), record.get("certificates"))


def _content(page: _Page, demand: _Record, certificates: _Record | None) -> None:
    """Print the requirements for the message itself, and whether their certificates exist."""
    for name, need in ((_("encryption"), demand.get("encrypt", {})), (_("signature"), demand.get("sign", {}))):
        if required := need.get("required_by"):
            page.field(name, _("S/MIME  (required by %(names)s)", names=", ".join(required)))
        if rehearsed := need.get("rehearsed_by"):
            page.field(name, _("in rehearsal: S/MIME  (required by %(names)s)", names=", ".join(rehearsed)))
    if certificates is not None:
        missing = certificates["missing"]
        page.mark(page.no if missing else page.yes, missing or certificates["found"])


def _others(page: _Page, others: Sequence[tuple[str, str]]) -> None:
    """Those that did not apply: name and why not; whose they are, unless they are all of one organization."""
    owners = {label.rpartition(" of ")[2] for label, _why in others}
    common = f" of {owners.pop()}" if len(owners) == 1 else ""
    for label, why in others[:_SHOWN]:
        name = label.removesuffix(common).removeprefix("connector ").removeprefix("mail flow ")
        page.line(f"  {page.no} {name:{_NAME - 5}} {ours(why)}", _NAME)
    if len(others) > _SHOWN:
        page.line(
            _("    and %(others)s more that do not apply; --json lists all of them", others=len(others) - _SHOWN), 4
        )


def _failures(page: _Page, record: _Record) -> None:
    after = format_duration(int(record["expires_after"]))
    page.section(
        _("IF TLS FAILS"), _("waiting mail is returned after %(after)s, with the code after the arrow", after=after)
    )
    kinds = [ours(explain_text.KINDS.get(outcome["kind"], outcome["kind"])) for outcome in record["failures"]]
    width = max(_NAME - 2, *(len(kind) + 1 for kind in kinds))
    for kind, outcome in zip(kinds, record["failures"], strict=True):
        page.line(f"  {kind:{width}}{_result(page, outcome)}", width + 2)
    if record["outbound"]["way"] in {"smart-hosts", "mx"}:
        page.line(
            _(
                "  DANE and MTA-STS policies of the domain are looked up when mail is sent, and "
                "may require more; --live looks them up now."
            ),
            2,
        )
    if record["held_below_memory"]:
        page.line(
            _(
                '  With protection_drop = "hold", mail is held for an administrator if the '
                "destination protected mail better before, whatever this page says: gatepost "
                "destination show."
            ),
            2,
        )


def _result(page: _Page, outcome: _Record) -> str:
    if "reply" in outcome:
        last, final, message = (
            explain_text.reply_code_text(outcome["reply"]),
            explain_text.reply_code_text(outcome["returned"]),
            outcome["message"],
        )
        if outcome["result"] == "fails":
            return _("returned at once: %(final)s %(message)s", final=final, message=message)
        return _(
            "waits: %(last)s %(message)s %(arrow)s %(final)s", last=last, message=message, arrow=page.arrow, final=final
        )
    said = ours(explain_text.RESULTS.get(outcome["result"], str(outcome["result"])))
    if "rehearsed" in outcome:
        said += _(
            "; if enforced it would wait: %(rehearsed)s", rehearsed=explain_text.reply_code_text(outcome["rehearsed"])
        )
    return said


def _live(page: _Page, reports: Sequence[_Record]) -> None:
    if not reports:
        page.section(
            _("LIVE"),
            _("no server is tried: the mail goes into a mailbox here, to another node of the site, or nowhere"),
        )
        return
    usable = sum(report["passed"] for report in reports)
    page.section(
        _("LIVE"),
        _(
            "%(usable)s of %(reports)s: requirement met",
            usable=usable,
            reports=quantity(len(reports), "address", "addresses"),
        ),
    )
    for report in reports:
        place = f"{report['host']} ({report['address']})" if report["address"] else report["host"]
        page.mark(page.yes if report["passed"] else page.no, place)
        for task in report["tasks"]:
            if task["status"] != "skipped":
                page.line(f"      {task['name']:15}{task['status']}: {task['detail']}", 21)
                if "advice" in task:
                    page.line(f"{' ' * 21}{page.arrow} {task['advice']}", 23)
