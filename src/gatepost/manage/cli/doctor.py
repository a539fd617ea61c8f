"""`gatepost doctor`: what is wrong with the gateway or its machine, and what to do next."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from gatepost.manage.cli.options import BAD_INPUT, NO, UNKNOWN, client, current_remote_options, ending, gateway_options
from gatepost.manage.cli.output import _, ours, printable, printed_json, quantity
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases.doctor import Examination, ExamineGateway, examination, examine_gateway, start_findings
from gatepost.node.machine_findings import DoctorFinding, Level
from gatepost.node.privileges import PrivilegeError, act_as, gateway_account
from gatepost.settings.loader import load
from gatepost.settings.problem import SettingsError, SettingsProblem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gatepost.settings.model import Settings


_STATUS = {Level.PASS: 0, Level.WARN: 0, Level.UNKNOWN: UNKNOWN, Level.FAIL: NO}
_COLOURS = {Level.PASS: "green", Level.WARN: "yellow", Level.UNKNOWN: "yellow", Level.FAIL: "red"}
_GROUNDS = {"account", "data_dir"}
"""Areas of findings without which nothing that is stored can be looked at."""


@click.command()
@gateway_options
@request_options(ExamineGateway)
def doctor(request: ExamineGateway) -> None:
    """Examine the gateway and its machine, and say what is wrong and what to do about it.

    It checks settings, account, ports, disk, memory, clock, certificates, store, nameservers, DNS records and alarms.
    It also works before the first start, and changes nothing.

    Exit codes: 0 nothing is wrong (there may be warnings), 1 something is wrong, 2 invalid settings, 3 something could
    not be checked.
    """
    result, status = _examined(request)
    if not printed_json(result):
        print_findings(result.findings)
    raise SystemExit(status)


def _examined(request: ExamineGateway) -> tuple[Examination, int]:
    """The findings and the exit code. Where settings or account are wrong, only as far as one can see without."""
    first: list[DoctorFinding] = []
    if current_remote_options().server is None:
        try:
            settings = load(current_remote_options().config, os.environ)
        except SettingsError as error:
            return examination([_settings_finding(problem) for problem in error.problems]), BAD_INPUT
        first = list(start_findings(settings))
        if _is_hopeless(settings, first):
            result = examination(first)
            return result, _STATUS[result.level]
    result = client().call(examine_gateway, request)
    if first and os.getuid() == 0:
        result = examination(with_ports(result.findings, first))
    return result, _STATUS[result.level]


def _is_port(finding: DoctorFinding) -> bool:
    return finding.area.startswith("port ")


def with_ports(findings: Iterable[DoctorFinding], by_root: Iterable[DoctorFinding]) -> list[DoctorFinding]:
    """The findings, with what root sees of ports: the gateway's account may see less of who has them."""
    ports = {finding.area: finding for finding in by_root if _is_port(finding)}
    return [ports.get(finding.area, finding) for finding in findings]


def check_start(settings: Settings) -> NoReturn:
    """`gatepost serve --check`: end the command with 0 if the gateway could start, 2 if not, 3 if it is not known.

    Given by root, files are tried as the gateway's account, too.
    """
    findings = list(start_findings(settings))
    if not _is_hopeless(settings, findings):
        with _as_account(settings):
            findings += [
                finding for finding in start_findings(settings) if finding not in findings and not _is_port(finding)
            ]
    result = examination(findings)
    if not printed_json(result):
        print_findings(findings)
    level = result.level
    raise SystemExit({Level.FAIL: BAD_INPUT, Level.UNKNOWN: UNKNOWN}.get(level, 0))


@contextmanager
def _as_account(settings: Settings) -> Iterator[None]:
    """Act as the gateway's account, as root may."""
    data_dir = Path(settings.server.data_dir)
    with ending(BAD_INPUT, PrivilegeError):
        back = act_as(gateway_account(settings.server), data_dir)
    try:
        yield
    finally:
        back()


def _is_hopeless(settings: Settings, findings: Iterable[DoctorFinding]) -> bool:
    """Whether nothing that is stored can be looked at: there is nothing yet, or account and owner do not agree."""
    wrong = any(finding.area in _GROUNDS and finding.level is Level.FAIL for finding in findings)
    return wrong or not Path(settings.server.data_dir).is_dir()


def _settings_finding(problem: SettingsProblem) -> DoctorFinding:
    """A problem of the settings: "FILE:LINE: KEY: what", and apart "what to do"."""
    what, _separator, fix = ours(problem.message).partition("; ")
    return DoctorFinding("settings", Level.FAIL, f"{problem.where}{what}", fix)


def print_findings(findings: Iterable[DoctorFinding], *, err: bool = False) -> None:
    """A line for each, with what to do below it; then how many of them are of a kind, on standard error.

    err: all of it on standard error.
    """
    counts = dict.fromkeys(Level, 0)
    for finding in findings:
        counts[finding.level] += 1
        level = click.style(f"{finding.level:8}", fg=_COLOURS[finding.level])
        click.echo(f"{level}{printable(ours(finding.area)):24} {printable(ours(finding.text))}", err=err)
        if finding.fix and finding.level is not Level.PASS:
            click.echo(f"{'':32} {_('next: %(fix)s', fix=ours(finding.fix))}", err=err)
    faults, warnings, unknown = (counts[level] for level in (Level.FAIL, Level.WARN, Level.UNKNOWN))
    text = f"{quantity(faults, 'fault')}, {quantity(warnings, 'warning')}"
    click.echo(text + (_(", %(unknown)s not known", unknown=unknown) if unknown else ""), err=True)
