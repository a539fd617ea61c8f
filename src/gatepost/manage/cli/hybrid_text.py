"""Print a hybrid plan for people: this side, the way between, the other side, tests and pitfalls."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import click

from gatepost.manage.cli.language import _, ours
from gatepost.manage.cli.tables import printable
from gatepost.texts import N_

if TYPE_CHECKING:
    from gatepost.analysis.hybrid.plan import HybridPlan


_WIDTH = 100
_SIDES = {"gateway": N_("here"), "exchange": N_("there")}
_WIDE, _NARROW = 8, 3


def print_plan(plan: HybridPlan) -> None:
    """The whole plan; commands stand in lines of their own, to be copied."""
    _paragraph(
        _(
            "%(organization)s: %(hostname)s (this gateway) and %(exchange_host)s (Exchange). "
            "Forced TLS for all mail takes two connectors on each side, one for each direction; "
            "each server proves its identity with a certificate.",
            organization=plan.organization,
            hostname=plan.hostname,
            exchange_host=plan.exchange_host,
        )
    )
    _heading(_("This gateway"))
    for finding in plan.here:
        _item(_("ok") if finding.complete else _("MISSING"), ours(finding.text), _WIDE)
        _commands(finding.commands)
    _heading(_("Between the two"))
    for line in plan.firewall:
        _item("-", ours(line))
    _heading(_("Exchange (Exchange Management Shell, on each transport server)"))
    for number, step in enumerate(plan.exchange, 1):
        _item(f"{number}.", ours(step.title))
        _commands(step.lines)
    _heading(_("Tests"))
    for check in plan.checks:
        _commands((check.command,))
        _item(_(_SIDES[check.side]), ours(check.expect), _WIDE)
    _heading(_("Common mistakes"))
    for trap in plan.traps:
        _item("-", ours(trap))
    click.echo("")
    missing = sum(not finding.complete for finding in plan.here)
    _paragraph(
        _("Missing on this gateway: %(missing)s.", missing=missing)
        if missing
        else _('This gateway is complete. The state of Exchange is not known here: see "Tests".')
    )


def _heading(text: str) -> None:
    click.echo(f"\n{text}\n")


def _paragraph(text: str) -> None:
    click.echo(textwrap.fill(printable(text), _WIDTH, break_long_words=False, break_on_hyphens=False))


def _item(mark: str, text: str, width: int = _NARROW) -> None:
    lead = f"  {mark:<{width}}"
    click.echo(
        textwrap.fill(
            printable(text),
            _WIDTH,
            initial_indent=lead,
            subsequent_indent=" " * len(lead),
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def _commands(lines: tuple[str, ...]) -> None:
    for line in lines:
        click.echo(f"      {printable(line)}")
