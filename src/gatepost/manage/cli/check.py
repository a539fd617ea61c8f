"""`gatepost check …`: how well mail to somebody is protected, and how good a certificate is. Needs no server.

`check partner` and `check host` are here, `check chain` and `check roots` in `manage.cli.check_chain`.
"""

from __future__ import annotations

import json
import math
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gatepost.analysis.checks.partner_report import DeliveryForecast, PartnerCheck, check_record
from gatepost.language import in_language
from gatepost.manage.cli.check_text import print_check
from gatepost.manage.cli.lazy import LazyGroup
from gatepost.manage.cli.options import (
    BAD_INPUT,
    NO,
    UNKNOWN,
    config_option,
    current_remote_options,
    ending,
    fail,
    json_option,
    loaded_settings,
    working,
    wrong_settings,
)
from gatepost.manage.cli.output import _, language, ours, printed_json, say
from gatepost.manage.cli.stored_names import PARTNER_DOMAIN, stored_names
from gatepost.manage.use_cases.partner import CheckTarget, PartnerCheckPlan, adjusted, bounds_of, run_check, target_of
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.policy.connectors.names import domain_name
from gatepost.protocols.tls.names import is_ip_address
from gatepost.settings.environment import CONFIG_VARIABLE
from gatepost.settings.loader import DEFAULT_PATHS, load
from gatepost.settings.model import DnsValidation, Settings
from gatepost.settings.problem import SettingsError

_STATUS = {
    DeliveryForecast.DELIVER: 0,
    DeliveryForecast.CLEARTEXT: NO,
    DeliveryForecast.HOLD: NO,
    DeliveryForecast.UNKNOWN: UNKNOWN,
}
_RESOLV_CONF = Path("/etc/resolv.conf")
_MAX_NAMESERVERS = 3  # as resolv.conf(5)
_MAX_RESOLV_CONF = 1 << 16

_COMMANDS = {
    "partner": ("check", "partner", "Check whether mail to a domain would be delivered safely."),
    "host": ("check", "host", "Check whether mail to a smart host would be delivered safely."),
    "chain": ("check_chain", "chain", "Check whether a certificate is ready for service."),
    "roots": ("check_chain", "roots", "Check whether this machine trusts the authorities in a bundle."),
}


@click.group(cls=LazyGroup, commands=_COMMANDS)
def check() -> None:
    """Check how well a domain or host protects mail, or how good a certificate is.

    Needs no gateway, no connector and no settings file.
    """


def no_nan(ctx: click.Context, parameter: click.Parameter, value: float) -> float:
    """A number of seconds as an option takes it. Raises BadParameter."""
    if math.isnan(value):  # is within every range
        raise click.BadParameter(_("nan is not a number of seconds"), ctx, parameter)
    return value


def _options[F: Callable[..., Any]](command: F) -> F:
    """Options of both checks."""
    for option in (
        click.option(
            "--nameserver",
            "nameservers",
            multiple=True,
            metavar="ADDRESS[:PORT]",
            help=(
                "Nameserver to ask. May be repeated. Default: those of the settings file, or without one those "
                "of /etc/resolv.conf. A nameserver's DNSSEC validation is trusted only if it is on this machine "
                "or listed in dns.trusted."
            ),
        ),
        click.option(
            "--validate",
            type=click.Choice([str(validation) for validation in DnsValidation]),
            help=(
                "Where DNSSEC is validated: by the nameserver; or local, by this command with libunbound, "
                "through --nameserver if given, else from the root servers. Default: dns.validate."
            ),
        ),
        click.option(
            "--anchors",
            type=click.Path(exists=True),
            help="Roots to trust: a PEM file or a directory. Default: those of the settings file, or of the system.",
        ),
        click.option(
            "--timeout",
            type=click.FloatRange(0.1, 300),
            callback=no_nan,
            default=15,
            show_default=True,
            metavar="SECONDS",
            help="Time limit for each step; a whole host gets six times as long.",
        ),
        _output_options,
    ):
        command = option(command)
    return command


def _output_options[F: Callable[..., Any]](command: F) -> F:
    for option in (
        click.option(
            "--html",
            type=click.Path(dir_okay=False, writable=True, path_type=Path),
            metavar="FILE",
            help="Also write a report to hand on: one file that loads nothing, for a browser, mail or print.",
        ),
        click.option(
            "-v",
            "--verbose",
            is_flag=True,
            help="Show all findings, passed ones too, and the SMTP dialogue.",
        ),
        config_option,
        json_option,
    ):
        command = option(command)
    return command


@click.command()
@click.argument("domain", shell_complete=stored_names(PARTNER_DOMAIN))
@click.option(
    "--private",
    is_flag=True,
    help=(
        "For test networks: allow a private address for the MTA-STS policy host. Default: "
        "outbound.private_policy_hosts."
    ),
)
@_options
def partner(domain: str, private: bool, verbose: bool, **asked: Any) -> None:
    """Check whether mail to DOMAIN would be delivered safely: what each of its MX hosts shows, stage by stage.

    The stages: DNSSEC, connection, EHLO, TLS, certificate, DANE, MTA-STS, revocation, REQUIRETLS; and where the domain
    wants reports. The command sends nothing but EHLO, STARTTLS and QUIT.

    Each finding is one of pass, info, warn, fail, unknown, with its evidence and what to do. A check that could not run
    is unknown, never a pass. The last line always has the same keys: verdict=deliver|cleartext|hold|unknown policy=
    tls= group= fails= warnings= unknown=

    Exit codes: 0 mail would be delivered over TLS, as the domain's policy (DANE, MTA-STS, or none) requires; 1 it would
    be sent unencrypted, or would wait; 2 usage error or bad input; 3 inconclusive.
    """
    _run(_target(domain, host=False), asked, verbose=verbose, private=private)


@click.command()
@click.argument("host", metavar="HOST[:PORT]")
@_options
def host(host: str, verbose: bool, **asked: Any) -> None:
    """Check whether mail to the smart host HOST would be delivered safely. The default port is 25.

    The stages: DNS, connection, EHLO, TLS, certificate, DANE, revocation, REQUIRETLS. The command sends nothing but
    EHLO, STARTTLS and QUIT. The findings and the last line are those of `gatepost check partner`.

    Exit codes: 0 mail would be delivered over TLS, as its TLSA records (if any) require; 1 it would be sent
    unencrypted, or would wait; 2 usage error or bad input; 3 inconclusive.
    """
    _run(_target(host, host=True), asked, verbose=verbose)


def _target(text: str, *, host: bool) -> CheckTarget:
    try:
        return target_of(text, host=host)
    except Refusal as refusal:
        fail(BAD_INPUT, refusal.errors[0].message)


def _run(target: CheckTarget, asked: dict[str, Any], *, verbose: bool, private: bool = False) -> None:
    timeout: float = asked["timeout"]
    settings = _settings(asked, timeout)
    bounds = bounds_of(timeout, private=private or settings.outbound.private_policy_hosts)
    try:
        with working(_("checking; this can take a minute if hosts do not answer")):
            partner_check = run_check(PartnerCheckPlan(target, settings, bounds))
    except Refusal as refusal:
        fail(BAD_INPUT, "\n".join(f"{_OPTIONS[error.path]}: {ours(error.message)}" for error in refusal.errors))
    if asked["html"] is not None:
        _write_report(asked["html"], partner_check, settings.server.hostname)
    if not printed_json(check_record(partner_check)):
        print_check(partner_check, verbose=verbose)
    sys.exit(_STATUS[partner_check.outcome])


def _write_report(file: Path, partner_check: PartnerCheck, hostname: str) -> None:
    from gatepost.manage.pages.partner import check_report, check_view  # noqa: PLC0415 - most checks write none

    with ending(BAD_INPUT, OSError, place=f"--html {file}: "):
        with in_language(language()):
            report = check_report(check_view(partner_check, done=True), hostname)
        file.write_text(report, encoding="utf-8")
    say("wrote %(file)s", err=True, file=file)


_OPTIONS = {
    "anchors": "--anchors, or tls.trust_anchors",
    "validate": "--validate local, or dns.validate",
    "nameserver": "--nameserver",
}


def _settings(asked: dict[str, Any], timeout: float) -> Settings:
    """The settings file's, if there is one, else defaults; with the options over them."""
    settings = _found(asked["validate"])
    validation = DnsValidation(asked["validate"]) if asked["validate"] else None
    return adjusted(
        settings,
        timeout,
        nameservers=asked["nameservers"] or (),
        validation=validation,
        anchors=asked["anchors"] or "",
    )


def _found(validate: str | None) -> Settings:
    named = current_remote_options().config or os.environ.get(CONFIG_VARIABLE)
    if named or any(path.exists() for path in DEFAULT_PATHS):
        return loaded_settings(anywhere=True)
    environment = {"GATEPOST_SERVER__HOSTNAME": _own_name()} | dict(os.environ)
    if validate:
        environment["GATEPOST_DNS__VALIDATE"] = validate
    # Who validates here needs nobody's nameservers, and those of a network of guests tend to spoil signatures.
    local = environment.get("GATEPOST_DNS__VALIDATE") == DnsValidation.LOCAL
    if not local and "GATEPOST_DNS__NAMESERVERS" not in environment and (own := system_nameservers()):
        environment["GATEPOST_DNS__NAMESERVERS"] = json.dumps(own)
    try:
        return load(None, environment)
    except SettingsError as error:
        wrong_settings(error)


def _own_name() -> str:
    """Name for EHLO: this machine's if it is a full one. No nameserver is asked for it: it may not answer."""
    try:
        name = domain_name(socket.gethostname())
    except ValueError:
        return "localhost.localdomain"
    return name if "." in name else f"{name}.localdomain"


def system_nameservers(file: Path = _RESOLV_CONF) -> tuple[str, ...]:
    """The first three nameservers of resolv.conf(5) that are addresses; () if there are none."""
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            lines = opened.read(_MAX_RESOLV_CONF).splitlines()
    except OSError:
        return ()
    words = [line.split() for line in lines]
    named = [word[1] for word in words if len(word) > 1 and word[0] == "nameserver"]
    return tuple(name for name in named if is_ip_address(name) and "%" not in name)[:_MAX_NAMESERVERS]
