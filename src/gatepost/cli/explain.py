"""`gatepost explain`: what would happen to a message, and why; the decisions of real sessions, asked for beforehand."""

from __future__ import annotations

import asyncio
import ipaddress
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.chosen import stored_directory
from gatepost.cli.explanation import Asked, Certificates, print_explanation
from gatepost.cli.options import BAD_INPUT, NO, config_option, fail, json_option, settings_of
from gatepost.cli.tables import print_json
from gatepost.connectors.directory import address_key
from gatepost.connectors.mail_flow import Content
from gatepost.connectors.values import TlsVersion
from gatepost.message.fields import decode_words
from gatepost.policy.explain import Explanation
from gatepost.policy.explain import explain as decide
from gatepost.policy.facts import SessionFacts
from gatepost.policy.forwarding import expand
from gatepost.policy.home import ALONE
from gatepost.smtp.grammar import GrammarError, parse_address, parse_path
from gatepost.smtp.grammar import Path as MailPath

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.checks.tasks import HostReport
    from gatepost.connectors.match import Directory
    from gatepost.policy.home import Nodes
    from gatepost.settings.model import Settings

__all__ = ["explain"]

_MAX_PEM = 1 << 20
_STRANGERS = ("203.0.113.1", "198.51.100.1", "192.0.2.1", "2001:db8::1", "100.64.0.1")
_CLEAR = "none"


@click.command("explain")
@click.option("--from", "sender", required=True, metavar="ADDRESS", help="Reverse-path; '' or '<>' for the null one.")
@click.option("--to", "recipient", required=True, metavar="ADDRESS", help="Forward-path.")
@click.option("--ip", default="", metavar="ADDRESS", help="Where the client comes from. Default: a stranger's address.")
@click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What the client presents: PEM, leaf first, with its intermediates.",
)
@click.option(
    "--tls",
    type=click.Choice([*map(str, TlsVersion), _CLEAR]),
    help="What the session is under. Default: TLSv1.3 with --certificate, none (in clear) without.",
)
@click.option(
    "--header",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="A field of the message, for mail flow rules; or TLS-Required.",
)
@click.option("--requiretls", is_flag=True, help="The message comes with REQUIRETLS (RFC 8689), so over TLS.")
@click.option("--live", is_flag=True, help="Also look up and connect to the next hops, and judge what they present.")
@config_option
@json_option
def explain(config: str | None, as_json: bool, **given: Any) -> None:
    """What would happen to a message, and why: who it comes from, whether it is taken, where it goes, by which demands.

    Decided by the stored configuration with the code that decides for real sessions. Nothing is sent, and without
    --live nothing is asked of the network, so that a certificate is not looked for among the revoked ones.

    Exit codes: 0 accepted, and there is a way for it (with --live: that meets the demands) and a
    certificate, if it must be encrypted, 1 it is not, 2 wrong use or bad input, 3 the configuration cannot be read.
    """
    settings = settings_of(config)
    reverse_path = _path("--from", given["sender"].removeprefix("<").removesuffix(">"))
    recipient = _recipient(given["recipient"], settings)
    content = _content(given["header"])
    directory = stored_directory(settings)
    if not directory.resources.organizations:
        click.echo("no organization is stored yet, so that nothing is accepted: gatepost apply -f FILE", err=True)
    asked = _asked(directory, given)
    session = _session(settings, directory, asked, live=given["live"])
    explanation = decide(
        directory,
        session,
        reverse_path,
        recipient,
        content=content,
        require_tls=given["requiretls"],
        profile=settings.tls.profile,
        nodes=_nodes(settings, directory),
    )
    reports = asyncio.run(_probe(settings, explanation)) if given["live"] else None
    expiration = explanation.expiration if explanation.expiration is not None else settings.queue.message_expiration
    certificates = _certificates(settings, directory, explanation)
    if as_json:
        print_json(_record(explanation, reports, expiration) | _certificates_record(certificates))
    else:
        print_explanation(explanation, asked, reports, expiration, certificates)
    usable = reports is None or not reports or any(report.usable for report in reports)
    ready = certificates is None or not certificates.missing
    sys.exit(0 if explanation.succeeds and usable and ready else NO)


def _certificates(settings: Settings, directory: Directory, explanation: Explanation) -> Certificates | None:
    """Whether there is what S/MIME needs; None if nobody demands that the message is encrypted."""
    outbound = explanation.outbound
    if outbound is None or not outbound.content.encrypt.required:
        return None
    from gatepost.cli.smime_store import found_for  # noqa: PLC0415 - only S/MIME needs what it imports

    onward = expand(directory, explanation.recipient).targets[-1].path
    return Certificates(*found_for(settings, outbound.organization, onward.text))


def _certificates_record(certificates: Certificates | None) -> dict[str, Any]:
    return {} if certificates is None else {"certificates": certificates._asdict()}


def _record(explanation: Explanation, reports: Sequence[HostReport] | None, expiration: float) -> dict[str, Any]:
    record = explanation.record() | {"expires_after": expiration}
    if reports is not None:
        from gatepost.checks.tasks import host_record  # noqa: PLC0415 - only --live needs what it imports

        record["live"] = [host_record(report) for report in reports]
    return record


# what was given


def _path(option: str, text: str) -> MailPath:
    try:
        return parse_path(f"<{text}>", smtputf8=True)
    except GrammarError as error:
        fail(BAD_INPUT, f"{option}: {text!r} is not a mail address: {error.why}")


def _recipient(text: str, settings: Settings) -> MailPath:
    path = _path("--to", text.removeprefix("<").removesuffix(">"))
    if not path.text:
        fail(BAD_INPUT, "--to: a recipient is needed; only --from may be the null reverse-path")
    if not path.domain and settings.server.postmaster:
        return parse_address(settings.server.postmaster)  # as a session takes <postmaster> (RFC 5321 section 4.5.1)
    return path


def _content(headers: Sequence[str]) -> Content:
    found: dict[str, tuple[str, ...]] = {}
    for text in headers:
        name, colon, value = text.partition(":")
        if not colon or not name.strip() or any(not "!" <= char <= "~" for char in name.strip()):
            fail(BAD_INPUT, f"--header: {text!r} is no field: write it as 'X-Confidential: yes'")
        key = name.strip().lower()
        found[key] = (*found.get(key, ()), decode_words(value.strip()))
    return Content(found)


def _nodes(settings: Settings, directory: Directory) -> Nodes:
    """The nodes of the site, if it makes a difference."""
    if not any(one.home for one in directory.resources.organizations):
        return ALONE
    from gatepost.cli.site_store import opened  # noqa: PLC0415 - only homes need what they import
    from gatepost.site.credentials import nodes_of  # noqa: PLC0415

    with opened(settings, keys=False) as records:
        return nodes_of(settings, records.membership())


def _asked(directory: Directory, given: dict[str, Any]) -> Asked:
    """The session that is meant, and what of it was assumed."""
    certificate, tls, ip = given["certificate"], given["tls"], given["ip"]
    if certificate is not None and tls == _CLEAR:
        fail(BAD_INPUT, "--tls none with --certificate: a certificate is presented in a TLS handshake; leave one away")
    if given["requiretls"] and tls == _CLEAR:
        fail(BAD_INPUT, "--tls none with --requiretls: REQUIRETLS is offered over TLS only; leave one away")
    over_tls = certificate is not None or given["requiretls"]
    assumed = []
    if not ip:
        ip = _stranger(directory)
        assumed.append(f"from {ip}, a stranger's address; say --ip ADDRESS to be somebody")
    else:
        try:
            ip = str(ipaddress.ip_address(ip))
        except ValueError:
            fail(BAD_INPUT, f"--ip: {ip!r} is no IP address: write it as 192.0.2.1 or 2001:db8::1")
    if tls is None:
        tls = str(TlsVersion.TLS_1_3) if over_tls else _CLEAR
        assumed.append(f"over {tls}" if over_tls else "in clear; say --tls TLSv1.3 or --certificate FILE")
    if certificate is not None and not given["live"]:
        assumed.append("the certificate is not revoked; --live looks it up")
    return Asked(ip, "" if tls == _CLEAR else tls, certificate, tuple(assumed))


def _stranger(directory: Directory) -> str:
    """An address for documentation that no connector holds."""
    entries = [
        directory.entry(organization, connector)
        for organization in directory.resources.organizations
        for connector in organization.inbound_connectors
    ]
    free = (one for one in _STRANGERS if not any(entry.holds(address_key(one)) for entry in entries))
    return next(free, _STRANGERS[-1])


def _session(settings: Settings, directory: Directory, asked: Asked, *, live: bool) -> SessionFacts:
    if not asked.tls:
        return SessionFacts("", asked.ip)
    from gatepost.checks.presented import (  # noqa: PLC0415 - only TLS needs what they import
        checked_session,
        presented_session,
    )
    from gatepost.checks.probe import revocation_checker  # noqa: PLC0415
    from gatepost.checks.validation import CannotValidate  # noqa: PLC0415
    from gatepost.cli.resolving import resolver_of  # noqa: PLC0415

    pem = _pem(asked.certificate) if asked.certificate else b""
    now, anchors = time.time(), settings.tls.trust_anchors
    try:
        session = presented_session(pem, asked.ip, directory, anchors, now=now, version=asked.tls)
    except CannotValidate as error:
        fail(BAD_INPUT, str(error))

    async def check() -> SessionFacts:
        async with resolver_of(settings) as resolver:
            checker = revocation_checker(settings, resolver)
            try:
                return await checked_session(session, directory, partial(checker.check, now=now))
            finally:
                await checker.close()

    return asyncio.run(check()) if live and pem else session


def _pem(file: Path) -> bytes:
    try:
        if file.stat().st_size > _MAX_PEM:
            fail(BAD_INPUT, f"--certificate: {file} is larger than {_MAX_PEM} bytes")
        pem = file.read_bytes()
    except OSError as error:
        fail(BAD_INPUT, f"--certificate: {file}: {error.strerror}")
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        fail(BAD_INPUT, f"--certificate: {file} has no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
    return pem


# --live


async def _probe(settings: Settings, explanation: Explanation) -> list[HostReport]:
    """What the next hops present, each address; none for a mailbox and for nowhere."""
    from gatepost.cli.explain_live import probe  # noqa: PLC0415 - only --live needs what it imports

    owner = explanation.outbound.organization if explanation.outbound is not None else ""
    return await probe(settings, explanation.route, explanation.asks, owner)
