"""Print a changeover for people: current and next side by side, the gates, what to do next.

Used by `manage.cli.certificate_changeover` and `manage.cli.certificate_switch`. Signs and form of a finding are those
of `manage.cli.check_text`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gatepost.analysis.checks.gates import GateCheck, Light
from gatepost.analysis.checks.partner_report import Mark
from gatepost.manage.cli.check_text import LOUD, print_line
from gatepost.manage.cli.output import _, ellipsis, ours, print_table, printable, quantity, say, table_language, wrapped
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.pki.certificates.entry import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.certificates import CertificateSummary, GateCheckFinding, GateSummary
    from gatepost.manage.use_cases.changeover import Changeover, NoticePartner, TrafficCount


_ANSWERS = {str(Light.GREEN): "YES", str(Light.RED): "NO", str(Light.UNKNOWN): "INCONCLUSIVE"}


def print_gates(gates: GateSummary, certificate: CertificateSummary) -> None:
    """All findings, and the answer first."""
    name = certificate.common_name or certificate.subject
    what = _("can it become current?") if certificate.state == State.NEXT else _("is it in order?")
    why = f": {ours(gates.reasons)}" if gates.reasons else ""
    click.echo(wrapped(printable(f"{certificate.id} ({name}): {what}  {_ANSWERS[gates.light]}{why}"), "  "))
    click.echo()
    for finding in gates.findings:
        _print_finding(finding)
    unknown = _("%(number)s unknown", number=gates.unknown)
    click.echo(f"\n{quantity(gates.fails, 'failure')}, {quantity(gates.warnings, 'warning')}, {unknown}")
    if gates.green_at:
        say("Nothing is left but to wait until %(when)s", when=moment(gates.green_at))


def print_status(changeover: Changeover) -> None:
    """One changeover."""
    summary, olds = changeover.certificate, changeover.replaces
    columns = [*olds, summary] if summary.state == State.NEXT else [summary, *olds]
    with table_language():
        rows = [_row(each) for each in columns]
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    lines = ((_(name), *(row[name] for row in rows)) for name in names)
    print_table(["", *(each.state for each in columns)], lines)
    if changeover.gates is not None:
        click.echo()
        for gate in GateCheck:
            _print_gate(changeover.gates, gate)
    if changeover.traffic is not None:
        since, before = changeover.traffic.since, changeover.traffic.before
        click.echo()
        say("  since the switch    %(since)s", since=_traffic(since))
        if before.seconds > since.seconds:
            say("  the hour before     %(before)s", before=_traffic(before))
        else:
            say("  same period before  %(before)s", before=_traffic(before))
        silent = sorted({*before.domains} - {*since.domains})
        if silent:
            click.echo(wrapped(_("  silent since        %(silent)s", silent=", ".join(silent[:20])), " " * 22))
        if failing := changeover.traffic.newly_failing:
            clients = ", ".join(f"{client.address} ({client.why})" for client in failing[:20])
            click.echo(wrapped(_("  TLS fails since     %(clients)s", clients=clients), " " * 22))
    click.echo()
    for line in changeover.next:
        click.echo(wrapped(_("next: %(line)s", line=ours(line)), "      "))
    click.echo()


def _print_finding(finding: GateCheckFinding) -> None:
    print_line(Mark(finding.verdict), finding.gate, finding.text, finding.evidence, finding.fix)


def _print_gate(gates: GateSummary, gate: GateCheck) -> None:
    """Print the findings of a gate, or that it passed."""
    findings = [finding for finding in gates.findings if finding.gate == gate]
    loud = [finding for finding in findings if finding.verdict in LOUD]
    for gate_check_finding in loud:
        _print_finding(gate_check_finding)
    if findings and not loud:
        passed = [finding for finding in findings if finding.verdict == Mark.PASS]
        more = _(" (and %(passed)s more)", passed=len(passed) - 1) if len(passed) > 1 else ""
        best = (passed or findings)[0]
        print_line(Mark(best.verdict), gate, f"{ours(best.text)}{more}")


def _row(certificate: CertificateSummary) -> dict[str, str]:
    facts = {
        "id": certificate.id,
        "names": ", ".join(certificate.names),
        "issuer": certificate.issuer,
        "key": certificate.key,
        "serial": certificate.serial,
        "SHA-256": certificate.sha256[:32] + ellipsis(),
        "TLSA 3 1 1": certificate.spki_sha256[:32] + ellipsis(),
        "valid from": moment(certificate.not_before),
        "valid until": moment(certificate.not_after),
        "presented from": moment(certificate.current_from or 0.0),
        "presented until": moment(certificate.current_until or 0.0),
        "planned for": moment(certificate.switch_at or 0.0),
        "must staple": _("yes") if certificate.must_staple else "",
    }
    return facts


def _traffic(count: TrafficCount) -> str:
    refused = (
        _(
            ", %(refused_for_want_of_tls)s refused because TLS was missing",
            refused_for_want_of_tls=count.refused_for_want_of_tls,
        )
        if count.refused_for_want_of_tls
        else ""
    )
    over_tls = _(
        "%(messages)s over TLS from %(domains)s",
        messages=quantity(count.over_tls, "message"),
        domains=quantity(len(count.domains), "domain"),
    )
    mail = _(
        "%(over_tls)s, %(in_clear)s unencrypted%(refused)s", over_tls=over_tls, in_clear=count.in_clear, refused=refused
    )
    if not count.failed_clients:
        return mail
    return _("%(mail)s; TLS failed for %(clients)s", mail=mail, clients=quantity(count.failed_clients, "client"))


def print_partners(partners: Sequence[NoticePartner]) -> None:
    """Print the partners to notify, on standard error, beside the text for them."""
    for partner in partners:
        sign = "notified" if partner.told else _("NOT YET NOTIFIED")
        click.echo(printable(f"{sign:<17} {partner.partner}  ({'; '.join(map(ours, partner.why))})"), err=True)
    if not partners:
        say("no partner is known to expect the current certificate", err=True)
