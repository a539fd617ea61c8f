"""Print the results of `gatepost check chain` and `gatepost check roots`. Used by `manage.cli.check_chain`.

The signs and the form of a finding are those of `manage.cli.check_text`.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import click

from gatepost.analysis.checks.chain_facts import From
from gatepost.analysis.checks.chain_report import Part, Readiness, days_left, firewall_hosts, title, tlsa_record
from gatepost.analysis.checks.partner_report import Mark
from gatepost.manage.cli.check_text import LOUD, cut, print_line, total_line, with_options
from gatepost.manage.cli.language import _, ngettext, ours, quantity
from gatepost.manage.cli.tables import printable, say
from gatepost.manage.cli.terminal import wrapped
from gatepost.times import day_text

if TYPE_CHECKING:
    from gatepost.analysis.checks.chain_facts import Link
    from gatepost.analysis.checks.chain_report import ChainCheck, ChainFinding
    from gatepost.analysis.checks.roots import RootRow, RootsCheck
    from gatepost.protocols.tls.facts import CertificateFacts


_PLACES = {
    From.FILE: "in the file",
    From.FETCHED: "fetched: NOT in the file",
    From.STORE: "from this machine's roots",
}
_ASKED = frozenset({Part.REVOCATION, Part.STAPLING, Part.ISSUERS})
_NAME = 48


def print_chain(check: ChainCheck, *, verbose: bool) -> None:
    """All of it, on standard output. verbose: thumbprints of every certificate."""
    click.echo(wrapped(printable(_headline(check)), "  "))
    click.echo()
    _print_path(check)
    click.echo()
    for finding in check.findings:
        if finding.part is Part.REVOCATION:
            break
        _print_finding(finding)
    findings = [finding for finding in check.findings if finding.part in _ASKED]
    if findings:
        say("\nAddresses in the certificates, as they answer from here")
        for finding in findings:
            _print_finding(finding)
    _print_firewall(check)
    _print_published(check)
    if verbose:
        for link in check.facts.path[1:]:
            _print_thumbprints(link.facts)
    click.echo(f"\n{total_line(check.counts, check.seconds)}\n{check.last_line}")


def _headline(check: ChainCheck) -> str:
    return _(
        "%(source)s: is %(leaf)s ready for service?  %(answer)s",
        source=check.facts.file.source,
        leaf=title(check.leaf),
        answer=_answer(check),
    )


def _answer(check: ChainCheck) -> str:
    match check.outcome:
        case Readiness.READY:
            warnings = check.counts[Mark.WARN]
            return _("YES") if not warnings else _("YES, with %(warnings)s", warnings=quantity(warnings, "warning"))
        case Readiness.NOT_READY:
            return _("NO: %(reason)s", reason=_first(check, Mark.FAIL))
        case Readiness.UNKNOWN:
            return _("INCONCLUSIVE: %(reason)s", reason=_first(check, Mark.UNKNOWN))


def _first(check: ChainCheck, mark: Mark) -> str:
    return ours(next(finding.text for finding in check.findings if finding.verdict is mark))


def _print_path(check: ChainCheck) -> None:
    """The chain as a table, leaf first."""
    rows = [
        (
            f"{number} {cut(printable(title(link.facts)), _NAME)}",
            link.facts.key,
            _until(link.facts, check.facts.now),
            _place(check, link),
        )
        for number, link in enumerate(check.facts.path, 1)
    ]
    widths = [max(len(row[at]) for row in rows) for at in range(3)]
    for *cells, last in rows:
        click.echo(f"  {'  '.join(map(str.ljust, cells, widths))}  {last}")


def _until(certificate: CertificateFacts, now: float) -> str:
    left = days_left(certificate, now)
    return (
        _("until %(not_after)s (%(days)s)", not_after=day_text(certificate.not_after), days=quantity(left, "day"))
        if left >= 0
        else _("expired %(not_after)s", not_after=day_text(certificate.not_after))
    )


def _place(check: ChainCheck, link: Link) -> str:
    if link.place is From.STORE and any(
        store.holds_root and link is check.facts.path[-1] for store in check.facts.stores
    ):
        return "in " + " and ".join(store.name for store in check.facts.stores if store.holds_root)
    return _PLACES[link.place]


def _print_firewall(check: ChainCheck) -> None:
    hosts = firewall_hosts(check.facts.path)
    if hosts:
        say("\nA firewall must allow, here and at partners that check revocation")
        for host in hosts:
            click.echo(f"  {printable(host)}")


def _print_published(check: ChainCheck) -> None:
    say("\nTo publish, or to give to partners")
    for record in tlsa_record(check.facts):
        click.echo(f"  {printable(record)}")
    leaf = check.leaf
    say("  issuer              %(issuer)s", issuer=printable(leaf.issuer))
    say("  serial number       %(serial)s", serial=leaf.serial)
    say("  SHA-1 thumbprint    %(sha1)s", sha1=leaf.sha1.upper())
    say("  SHA-256 thumbprint  %(sha256)s", sha256=leaf.sha256.upper())
    pin = base64.b64encode(bytes.fromhex(leaf.spki_sha256)).decode("ascii")
    say("  key pin             sha256/%(pin)s", pin=pin)


def _print_thumbprints(certificate: CertificateFacts) -> None:
    click.echo(f"\n{printable(certificate.subject)}")
    say("  SHA-1 thumbprint    %(sha1)s", sha1=certificate.sha1.upper())
    say("  SHA-256 thumbprint  %(sha256)s", sha256=certificate.sha256.upper())


# roots


def print_roots(check: RootsCheck, *, verbose: bool) -> None:
    """Every certificate of the bundle, what is wrong first. verbose: thumbprints also of what is trusted."""
    missing = sum(row.trusted is False for row in check.rows)
    answer = (
        _("YES") if check.outcome else _("NO: %(missing)s of %(rows)s are not", missing=missing, rows=len(check.rows))
    )
    click.echo(
        wrapped(
            printable(
                _(
                    "%(source)s: are these authorities trusted here (%(anchors)s)?  %(answer)s",
                    source=check.source,
                    anchors=check.anchors,
                    answer=answer,
                )
            ),
            "  ",
        )
    )
    click.echo()
    for row in sorted(check.rows, key=lambda row: row.trusted is not False):
        _print_root(row, full=verbose or row.verdict in LOUD)
    for store in {store.name: store for row in check.rows for store in row.stores if store.missing}.values():
        print_line(
            Mark.INFO, _("store"), _("%(name)s could not be read: %(missing)s", name=store.name, missing=store.missing)
        )
    if check.repeated:
        again = ngettext(
            "%(num)s certificate is in it more than once",
            "%(num)s certificates are in it more than once",
            check.repeated,
        )
        print_line(Mark.INFO, _("file"), again)
    click.echo(f"\n{check.last_line}")


def _print_finding(finding: ChainFinding) -> None:
    fix = with_options(ours(finding.fix), finding.options)
    print_line(finding.verdict, finding.part, finding.text, finding.evidence, fix)


def _print_root(row: RootRow, *, full: bool) -> None:
    facts = row.facts
    thumbprints = f"SHA-1 {facts.sha1.upper()}; SHA-256 {facts.sha256.upper()}" if full else ""
    text = _(
        "%(facts)s, %(key)s, until %(not_after)s: %(text)s",
        facts=title(facts),
        key=facts.key,
        not_after=day_text(facts.not_after),
        text=ours(row.text),
    )
    print_line(row.verdict, _KINDS[row.kind], text, thumbprints, row.fix)


_KINDS = {"root": "root", "intermediate": "interm.", "leaf": "server"}
