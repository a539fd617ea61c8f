"""`gatepost status`: whether the gateway of these settings runs, and what it works by, seen from outside.

Asks the listeners for their greeting as a client would, looks whether the workers that own the queue's shards live, and
reads the configuration and the queue. Takes no lock and changes nothing.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from gatepost.cli.alarms import found_alarms, summary
from gatepost.cli.chosen import stored_directory
from gatepost.cli.options import NO, UNKNOWN, config_option, fail, json_option, settings_of
from gatepost.cli.tables import moment, print_json, printable
from gatepost.connectors.names import host_port
from gatepost.inbound.login import mechanisms
from gatepost.settings.model import ListenerRole
from gatepost.store.administration import Administration
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import QueueFilter, StoreFailure
from gatepost.store.schema import LOCK_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.settings.model import Listener, Settings

__all__ = ["status"]

_PATIENCE = 3.0  # seconds for a greeting, and as many for the connection
_GREETING = 600  # bytes: more than a reply line may have
_COUNTED = 10_000
_STATES = ("active", "deferred", "held")
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound, these are looked for


class _Answer(NamedTuple):
    """What was found where something should run."""

    name: str
    ok: bool
    detail: str


@click.command()
@config_option
@json_option
def status(config: str | None, as_json: bool) -> None:
    """Whether the gateway runs: listeners, workers, the configuration in force, the queue, certificates.

    Exit codes: 0 every listener greets and every worker lives, 1 something does not, 2 settings, 3 not readable.
    """
    settings = settings_of(config)
    configuration, queue = _configuration(settings), _queue(settings)
    alarms = _alarms(settings)
    listeners = [*(_greeting(one) for one in settings.listeners), *_served(settings)]
    logins = _logins(settings) if any(one.role.for_users for one in settings.listeners) else None
    workers = [_worker(settings, index) for index in range(settings.server.workers or len(os.sched_getaffinity(0)))]
    well = all(one.ok for one in [*listeners, *workers]) and bool(listeners)
    if as_json:
        print_json(
            {
                "ok": well,
                "configuration": configuration,
                "listeners": [one._asdict() for one in listeners],
                "workers": [one._asdict() for one in workers],
                "queue": queue,
                "logins": logins,
                **alarms,
            }
        )
    else:
        for one in listeners:
            _line(f"listener {one.name}", one.detail)
        for one in workers:
            _line(f"worker {one.name}", one.detail)
        _line("configuration", _changed(configuration))
        _line("queue", _waiting(queue))
        for name, told in alarms.items():
            _line(name, told["text"])
        if logins is not None:
            _line("log-ins", _ways(logins))
        click.echo("it runs" if well else "it does not run as it should", err=True)
    if not well:
        raise SystemExit(NO)


def _line(name: str, text: str) -> None:
    click.echo(f"{name:28} {printable(text)}")


def _configuration(settings: Settings) -> dict[str, Any]:
    """The version in force, and who made it when."""
    try:
        with closing(ConfigStore(Path(settings.server.data_dir) / "config.db")) as store:
            newest = store.history(limit=1)
    except StoreFailure as failure:
        fail(UNKNOWN, f"{settings.server.data_dir}: {failure}")
    if not newest:
        return {"version": 0, "at": 0.0, "author": ""}
    return {"version": newest[0].version, "at": newest[0].at, "author": newest[0].author}


def _changed(configuration: dict[str, Any]) -> str:
    if not configuration["version"]:
        return "version 0: nothing was applied yet, so all mail is refused"
    return f"version {configuration['version']}, {moment(configuration['at'])}, by {configuration['author']}"


def _alarms(settings: Settings) -> dict[str, dict[str, Any]]:
    """How much is wrong with the gateway's own certificates, and with mail; None if it cannot be told. A line each."""
    try:
        found = found_alarms(settings, time.time())
    except StoreFailure as failure:
        untold = {"alarms": None, "text": f"cannot be told: {failure}"}
        return {"certificates": untold, "mail": untold}
    own = replace(found, alarms=tuple(one for one in found.alarms if not one.kind.of_mail))
    mail = replace(found, alarms=tuple(one for one in found.alarms if one.kind.of_mail), unknown=())
    return {
        "certificates": {"alarms": len(own.alarms), "text": summary(own, "gatepost certificate alarms")},
        "mail": {"alarms": len(mail.alarms), "text": summary(mail)},
    }


def _served(settings: Settings) -> Iterator[_Answer]:
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


def _queue(settings: Settings) -> dict[str, int]:
    """How many deliveries there are, by state; the counting ends at 10,000."""
    data = Path(settings.server.data_dir)
    try:
        entries = Administration(data / "queue", data / "trace").entries(QueueFilter(limit=_COUNTED))
    except StoreFailure as failure:
        fail(UNKNOWN, str(failure))
    return {state: sum(entry.state == state for entry in entries) for state in _STATES}


def _waiting(queue: dict[str, int]) -> str:
    text = ", ".join(f"{count} {state}" for state, count in queue.items())
    return f"{text} (only {_COUNTED} were counted)" if sum(queue.values()) == _COUNTED else text


def _greeting(listener: Listener) -> _Answer:
    """What the listener says to whoever connects."""
    name = f"{listener.role} {listener.address}"
    try:
        with _connected(listener.address) as plain, _as_offered(listener, plain) as connection:
            line = connection.recv(_GREETING).decode("ascii", "replace").partition("\r\n")[0]
    except OSError as error:
        return _Answer(name, ok=False, detail=f"does not answer: {error.strerror or error}")
    if listener.role is ListenerRole.INTERNAL and line.startswith("554"):
        return _Answer(name, ok=True, detail="turns away who is no node of the site, as it must")
    return _Answer(name, ok=line.startswith("220"), detail=line or "closes the connection without a word")


def _https(role: str, address: str, what: str) -> _Answer:
    """Whether something is served over HTTPS: any answer will do. The port alone is open without the process."""
    name = f"{role} {address}"
    try:
        with _connected(address) as plain, _over_tls(plain) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: status\r\n\r\n")
            answers = connection.recv(_GREETING).startswith(b"HTTP/1.1 ")
    except OSError as error:
        return _Answer(name, ok=False, detail=f"does not answer: {error.strerror or error}")
    return _Answer(name, ok=answers, detail=f"serves {what}" if answers else "does not answer as an HTTPS server")


def _http(role: str, address: str) -> _Answer:
    """Whether metrics are served."""
    name = f"{role} {address}"
    try:
        with _connected(address) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: status\r\n\r\n")
            answers = connection.recv(_GREETING).startswith(b"HTTP/1.1 200 ")
    except OSError as error:
        return _Answer(name, ok=False, detail=f"does not answer: {error.strerror or error}")
    return _Answer(name, ok=answers, detail="serves metrics" if answers else "does not answer as it should")


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


def _worker(settings: Settings, index: int) -> _Answer:
    """Whether the process that took the worker's shard of the queue lives."""
    try:
        pid = int((Path(settings.server.data_dir) / "queue" / str(index) / LOCK_FILE).read_text(encoding="ascii"))
        os.kill(pid, 0)
    except PermissionError:
        return _Answer(str(index), ok=True, detail="runs, under another account")
    except (OSError, ValueError):
        return _Answer(str(index), ok=False, detail="does not run")
    return _Answer(str(index), ok=True, detail=f"runs, process {pid}")
