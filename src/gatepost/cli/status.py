"""`gatepost status`: whether the gateway of these settings runs, and what it works by, seen from outside.

Asks the listeners for their greeting as a client would, looks whether the workers that own the queue's shards live, and
reads the configuration and the queue. Takes no lock and changes nothing.
"""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

import click

from gatepost.administration.alarms import alarms, summary
from gatepost.administration.refusal import Refusal
from gatepost.administration.status import COUNTED, Found, configuration, queue_depth, workers
from gatepost.cli.chosen import stored_directory
from gatepost.cli.options import NO, administrator, config_option, gateway_of, json_option
from gatepost.cli.tables import moment, print_json, printable
from gatepost.connectors.names import host_port
from gatepost.inbound.login import mechanisms
from gatepost.settings.model import ListenerRole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.administration.gateway import Gateway
    from gatepost.settings.model import Listener, Settings

__all__ = ["status"]

_PATIENCE = 3.0  # seconds for a greeting, and as many for the connection
_GREETING = 600  # bytes: more than a reply line may have
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound, these are looked for


@click.command()
@config_option
@json_option
def status(config: str | None, as_json: bool) -> None:
    """Whether the gateway runs: listeners, workers, the configuration in force, the queue, certificates.

    Exit codes: 0 every listener greets and every worker lives, 1 something does not, 2 settings, 3 not readable.
    """
    gateway = gateway_of(config)
    settings = gateway.settings
    in_force, queue = configuration(gateway)._asdict(), queue_depth(gateway, administrator())
    told_alarms = _alarms(gateway)
    listeners = [*(_greeting(one) for one in settings.listeners), *_served(settings)]
    logins = _logins(settings) if any(one.role.for_users for one in settings.listeners) else None
    alive = workers(gateway)
    well = all(one.ok for one in [*listeners, *alive]) and bool(listeners)
    if as_json:
        print_json(
            {
                "ok": well,
                "configuration": in_force,
                "listeners": [one._asdict() for one in listeners],
                "workers": [one._asdict() for one in alive],
                "queue": queue,
                "logins": logins,
                **told_alarms,
            }
        )
    else:
        for one in listeners:
            _line(f"listener {one.name}", one.detail)
        for one in alive:
            _line(f"worker {one.name}", one.detail)
        _line("configuration", _changed(in_force))
        _line("queue", _waiting(queue))
        for name, told in told_alarms.items():
            _line(name, told["text"])
        if logins is not None:
            _line("log-ins", _ways(logins))
        click.echo("it runs" if well else "it does not run as it should", err=True)
    if not well:
        raise SystemExit(NO)


def _line(name: str, text: str) -> None:
    click.echo(f"{name:28} {printable(text)}")


def _changed(configuration: dict[str, Any]) -> str:
    if not configuration["version"]:
        return "version 0: nothing was applied yet, so all mail is refused"
    return f"version {configuration['version']}, {moment(configuration['at'])}, by {configuration['author']}"


def _alarms(gateway: Gateway) -> dict[str, dict[str, Any]]:
    """How much is wrong with the gateway's own certificates, and with mail; None if it cannot be told. A line each."""
    try:
        found = alarms(gateway, administrator(), time.time())
    except Refusal as refusal:
        untold = {"alarms": None, "text": f"cannot be told: {refusal.text}"}
        return {"certificates": untold, "mail": untold}
    own, mail = found.of_certificates(), found.of_mail()
    return {
        "certificates": {"alarms": len(own.alarms), "text": summary(own, "gatepost certificate alarms")},
        "mail": {"alarms": len(mail.alarms), "text": summary(mail)},
    }


def _served(settings: Settings) -> Iterator[Found]:
    """What is served beside mail, where an address was written for it."""
    for name, address, what in (
        ("mta-sts", settings.mta_sts.address, "policies"),
        ("certificate-table", settings.certificate_table.address, "the certificate table"),
        ("tls-reports", settings.tls_reports.address, "TLS reports of others"),
    ):
        if address:
            yield _https(name, address, what)
    if settings.metrics_address:
        yield _http("metrics", settings.metrics_address)


def _logins(settings: Settings) -> dict[str, Any]:
    """By what users log in: the mechanisms that are offered, and the OAuth issuers of each organization."""
    directory = stored_directory(settings)
    issuers = {
        one.name: [issuer.name for issuer in one.oauth_issuers if issuer.enabled]
        for one in directory.resources.organizations
    }
    return {
        "mechanisms": list(mechanisms(directory)),
        "issuers": {organization: names for organization, names in issuers.items() if names},
        "without_passwords": [one.name for one in directory.resources.organizations if not one.allow_basic_auth_smtp],
    }


def _ways(logins: dict[str, Any]) -> str:
    parts = [", ".join(logins["mechanisms"])]
    if logins["issuers"]:
        named = (f"{organization} ({', '.join(names)})" for organization, names in logins["issuers"].items())
        parts.append(f"tokens of {', '.join(named)}")
    if logins["without_passwords"]:
        parts.append(f"no passwords for {', '.join(logins['without_passwords'])}")
    return "; ".join(parts)


def _waiting(queue: dict[str, int]) -> str:
    text = ", ".join(f"{count} {state}" for state, count in queue.items())
    return f"{text} (only {COUNTED} were counted)" if sum(queue.values()) == COUNTED else text


def _greeting(listener: Listener) -> Found:
    """What the listener says to whoever connects."""
    name = f"{listener.role} {listener.address}"
    try:
        with _connected(listener.address) as plain, _as_offered(listener, plain) as connection:
            line = connection.recv(_GREETING).decode("ascii", "replace").partition("\r\n")[0]
    except OSError as error:
        return Found(name, ok=False, detail=f"does not answer: {error.strerror or error}")
    if listener.role is ListenerRole.INTERNAL and line.startswith("554"):
        return Found(name, ok=True, detail="turns away who is no node of the site, as it must")
    return Found(name, ok=line.startswith("220"), detail=line or "closes the connection without a word")


def _https(role: str, address: str, what: str) -> Found:
    """Whether something is served over HTTPS: any answer will do. The port alone is open without the process."""
    name = f"{role} {address}"
    try:
        with _connected(address) as plain, _over_tls(plain) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: status\r\n\r\n")
            answers = connection.recv(_GREETING).startswith(b"HTTP/1.1 ")
    except OSError as error:
        return Found(name, ok=False, detail=f"does not answer: {error.strerror or error}")
    return Found(name, ok=answers, detail=f"serves {what}" if answers else "does not answer as an HTTPS server")


def _http(role: str, address: str) -> Found:
    """Whether metrics are served."""
    name = f"{role} {address}"
    try:
        with _connected(address) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: status\r\n\r\n")
            answers = connection.recv(_GREETING).startswith(b"HTTP/1.1 200 ")
    except OSError as error:
        return Found(name, ok=False, detail=f"does not answer: {error.strerror or error}")
    return Found(name, ok=answers, detail="serves metrics" if answers else "does not answer as it should")


def _as_offered(listener: Listener, plain: socket.socket) -> socket.socket:
    """The connection as the listener speaks on it: under TLS from the start for users and between nodes."""
    return _over_tls(plain) if listener.role in {ListenerRole.SUBMISSIONS, ListenerRole.INTERNAL} else plain


def _over_tls(plain: socket.socket) -> ssl.SSLSocket:
    """The connection under TLS, with whatever certificate: we only look whether somebody answers. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain)


def _connected(address: str) -> socket.socket:
    """Raises OSError."""
    host, port = host_port(address, None, lowest=0)
    return socket.create_connection((_EVERYWHERE.get(host, host), port), timeout=_PATIENCE)
