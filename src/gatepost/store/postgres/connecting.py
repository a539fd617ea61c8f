"""Errors of connecting to PostgreSQL, in words of what to do next. No I/O, but for a look at files that the URL names.

Used by `store.postgres.server`, so that every command and process says the same. No text has a password: a URL with one
is refused before (`settings.store_url`), and what a server or a library says of one is not repeated.
"""

from __future__ import annotations

import configparser
import ipaddress
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

import asyncpg

from gatepost.settings.store_url import role_of, unverified_host
from gatepost.store.interface import StoreBusy, StoreFailure
from gatepost.store.postgres.timelines import OlderPrimaryError
from gatepost.store.postgres.url_files import FILE_SUMMARY, LINE_OF_PASSFILE, tls_file_fault, when_ended
from gatepost.texts import own

SQL: Final = "deploy/postgresql/roles.sql has the SQL"


class Address:
    """The parts of store.url that errors name."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.parameters = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        self._hosts = self.parameters.get("host") or unquote(parts.netloc.rpartition("@")[2])
        self.role = role_of(url) or "of the system account"
        self.database = self.parameters.get("dbname") or unquote(parts.path.lstrip("/")) or self.role
        self.passfile = self.parameters.get("passfile", "")
        self.certificate = self.parameters.get("sslcert", "")

    @property
    def place(self) -> str:
        """The database, for sentences."""
        return f"the database {self.database} of {own(str(self))}"

    def __str__(self) -> str:
        if service := self.parameters.get("service"):
            return f"PostgreSQL (service {service})"
        return f"PostgreSQL at {self._hosts or 'the local socket'}"


def summary_of(error: BaseException) -> str:
    """The kind of an error in words without a name or an address (`StoreFailure.summary`); "" for any other."""
    return next((summary for kind, summary in _SUMMARIES if isinstance(error, kind)), "")


def connect_failure(error: BaseException, url: str) -> StoreFailure:
    """The failure for an error of connecting: StoreBusy if trying again may help, else StoreFailure."""
    where = Address(url)
    # A firewall that lets nothing out is a PermissionError, too.
    if isinstance(error, PermissionError | IsADirectoryError) and (fault := tls_file_fault(where.parameters)):
        return StoreFailure(f"store.url: {fault}; nothing was changed", summary=FILE_SUMMARY)
    failure = _connect_failure(_specific(error), where)
    failure.summary = summary_of(error) or failure.summary
    return failure


def _connect_failure(error: BaseException, where: Address) -> StoreFailure:
    for kind, text in _TEXTS:
        if isinstance(error, kind):
            return StoreFailure(f"store.url: {text(where, error)}; nothing was changed")
    if isinstance(error, asyncpg.exceptions.TargetServerAttributeNotMatched):
        return StoreBusy(f"store.url: {where} is a standby or read-only; nothing was changed")
    if isinstance(error, OlderPrimaryError):
        return StoreBusy(
            f"store.url: {where} is not used: another server took over from it (timeline {error.newest}, it has "
            f"{error.timeline}). Stop it, and let it come back only as a standby (pg_rewind); if an earlier state was "
            "restored there, restart the gateway; nothing was changed"
        )
    if isinstance(error, ValueError | asyncpg.InterfaceError):
        return StoreFailure(f"store.url: {where}: {first_line(error)}; nothing was changed")
    if isinstance(error, OSError | asyncpg.PostgresConnectionError | asyncpg.InternalClientError):
        return StoreBusy(f"store.url: {_unreachable(where, error)}; nothing was changed")
    kind_of_failure = StoreBusy if isinstance(error, _PASSING) else StoreFailure
    return kind_of_failure(f"store.url: {where}: {first_line(error)}; nothing was changed")


def _unreachable(where: Address, error: BaseException) -> str:
    """With TLS 1.3, a server that does not take the certificate of a client ends the connection without a word."""
    why = first_line(error)
    if ended := when_ended(where.certificate):
        return (
            f"{where} cannot be reached: {why}. The certificate in sslcert {where.certificate} ended at {ended}: "
            "renew it"
        )
    if where.certificate:
        return (
            f"{where} cannot be reached: {why}. Check that it runs, host and port in store.url, and in its log whether "
            f"it takes the certificate in sslcert {where.certificate}"
        )
    return f"{where} cannot be reached: {why}. Check that it runs, and host and port in store.url"


def nobody_answers(errors: Sequence[Exception]) -> Exception:
    """The failure of all hosts: it may pass if that of one of them may. An error that is none of ours comes first."""
    failures = [error for error in errors if isinstance(error, StoreFailure)]
    if len(errors) == 1 or len(failures) < len(errors):
        return next((error for error in errors if error not in failures), errors[0])
    kind = StoreBusy if any(isinstance(failure, StoreBusy) for failure in failures) else StoreFailure
    texts = [str(failure).removeprefix("store.url: ").removesuffix("; nothing was changed") for failure in failures]
    summary = next((failure.summary for failure in failures if failure.summary not in _OF_THE_OTHER), _NO_PRIMARY)
    return kind(f"store.url: no server takes writes: {'; '.join(texts)}; nothing was changed", summary=summary)


_AWAY_SUMMARY: Final = "PostgreSQL cannot be reached"
_STANDBY_SUMMARY: Final = "PostgreSQL is read-only"
_NO_PRIMARY: Final = "no PostgreSQL server takes writes"
_OF_THE_OTHER: Final = {_AWAY_SUMMARY, _STANDBY_SUMMARY}  # what is said of a server that is not the primary
# In this order: a time-out is an OSError, too.
_SUMMARIES: Final[tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...]] = (
    (asyncpg.TooManyConnectionsError, "PostgreSQL has no connection left"),
    (asyncpg.DiskFullError, "the disk of PostgreSQL is full"),
    (
        (asyncpg.ReadOnlySQLTransactionError, asyncpg.exceptions.TargetServerAttributeNotMatched, OlderPrimaryError),
        _STANDBY_SUMMARY,
    ),
    ((asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError, TimeoutError), "PostgreSQL does not answer in time"),
    (asyncpg.OperatorInterventionError, "PostgreSQL starts or stops"),
    (asyncpg.InvalidAuthorizationSpecificationError, "PostgreSQL does not let the gateway in"),
    (ssl.SSLCertVerificationError, "the certificate of PostgreSQL is not the right one"),
    (ssl.SSLError, "no TLS with PostgreSQL"),
    (
        (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError),
        _AWAY_SUMMARY,
    ),
)


# The server starts, stops, recovers, or has no connection to spare.
_PASSING: Final = (asyncpg.OperatorInterventionError, asyncpg.InsufficientResourcesError)


def first_line(error: BaseException) -> str:
    """The text of an error on one line: what a server adds below may be a whole row of a table.

    What the library says to itself when a connection ends under it is said in our words.
    """
    # Subclasses have a meaning of their own.
    if type(error) is asyncpg.InternalClientError or "connection_lost()" in str(error):
        return "the connection ended"
    unsaid = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    return (str(getattr(error, "strerror", None) or error) or unsaid).splitlines()[0]


def _password(where: Address, _error: BaseException) -> str:
    return (
        f"{where} does not take the password of role {where.role}: {own(_passfile_fault(where.passfile))}. The line "
        f"of the file is {LINE_OF_PASSFILE}; a role of the server has a password by: ALTER ROLE … PASSWORD"
    )


def _passfile_fault(passfile: str) -> str:
    if not passfile:
        return "store.url names no file with one: add ?passfile=/PATH, mode 0600"
    return f"passfile {passfile} {'has another one' if Path(passfile).exists() else 'is not there'}"


def given_to_library(url: str) -> tuple[str, dict[str, str]]:
    """The URL and the options by which asyncpg finds what the URL says: it takes no `servicefile` from a URL.

    Raises StoreFailure if a service is named that no file has (asyncpg would go to this machine's own server instead),
    and if a password would go to a server that is not proven to be the right one.
    """
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query)
    query = dict(pairs)
    file = (
        query.get("servicefile") or os.environ.get("PGSERVICEFILE") or _service_file_at_home()
        if "service" in query
        else ""
    )
    service = _service(query["service"], file) if file else {}
    # In this order asyncpg looks for them.
    hosts = parts.netloc.rpartition("@")[2] or query.get("host") or service.get("host") or os.environ.get("PGHOST", "")
    mode = query.get("sslmode") or service.get("sslmode") or os.environ.get("PGSSLMODE", "")
    if away := unverified_host(hosts, mode):
        raise StoreFailure(
            f"store.url: the server {away} would not be verified: add sslmode=verify-full and sslrootcert to store.url,"
            " or to the service file that names it; nothing was changed"
        )
    if not file:
        return url, {}
    rest = urlencode([(name, value) for name, value in pairs if name != "servicefile"])
    # Put together by hand: without a host, urlunsplit leaves the slashes out.
    return f"{parts.scheme}://{parts.netloc}{parts.path}?{rest}", {"servicefile": file}


def _service(name: str, file: str) -> Mapping[str, str]:
    services = configparser.ConfigParser(interpolation=None)
    try:
        services.read_string(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, configparser.Error) as error:
        raise StoreFailure(f"store.url: servicefile {file}: {first_line(error)}; nothing was changed") from error
    if name not in services.sections():
        raise StoreFailure(f"store.url: servicefile {file} has no service [{name}]; nothing was changed")
    return services[name]


def _service_file_at_home() -> str:
    try:
        return str(Path.home() / ".pg_service.conf")
    except RuntimeError:  # as in a container that runs under any number
        raise StoreFailure("store.url: this account has no home directory: name the servicefile") from None


def _not_let_in(where: Address, error: BaseException) -> str:
    text = first_line(error)
    if "no encryption" in text:
        return f"{where} wants TLS: add ?sslmode=verify-full&sslrootcert=/PATH"
    if "pg_hba.conf" in text:
        return (
            f"{where} does not let role {where.role} into database {where.database} from here: add a line to its "
            f"pg_hba.conf, such as: hostssl {where.database} {where.role} NETWORK scram-sha-256"
        )
    if "certificate" in text:
        return (
            f"{where} does not let role {where.role} in: {text}. Name a certificate for this role with sslcert and "
            f"sslkey (now: {where.certificate or 'none'}); its common name is the role, or pg_ident.conf maps it"
        )
    return f"{where} does not let role {where.role} in: {text}. Create the role ({SQL})"


def _no_database(where: Address, _error: BaseException) -> str:
    return f"{where} has no database {where.database}: create it ({SQL}), or correct the name"


def _no_privilege(where: Address, error: BaseException) -> str:
    return (
        f"role {where.role} may not use database {where.database} of {where}: {first_line(error)}. Grant it: "
        f"GRANT CONNECT ON DATABASE {where.database} TO {where.role}"
    )


def _certificate(where: Address, error: BaseException) -> str:
    if not isinstance(error, ssl.SSLCertVerificationError):
        text = str(getattr(error, "reason", "") or first_line(error)).replace("_", " ").lower()
        return tls_file_fault(where.parameters) or f"no TLS with {where}: {text}. Look into its log"
    cure = _CURES.get(getattr(error, "verify_code", 0)) or (
        f"Give the authority of the server with sslrootcert (now: {where.parameters.get('sslrootcert', 'none')})"
    )
    reason = getattr(error, "verify_message", "") or first_line(error)
    return f"the certificate of {where} is not the right one: {reason.removesuffix('.')}. {cure}"


_NAMED_OTHERWISE: Final = "Write the host into store.url as this certificate names it, or give the server another one"
# By code of X509_verify_cert_error_string(3).
_CURES: Final = {
    9: "Compare the clocks of the server and of this machine",
    10: "Renew it on the server, which then has to read it: pg_ctl reload",
    62: _NAMED_OTHERWISE,
    64: _NAMED_OTHERWISE,
}


def _no_tls(where: Address, _error: BaseException) -> str:
    return f"{where} has no TLS, and store.url demands it: set ssl = on and a certificate on the server"


def _missing_file(where: Address, error: BaseException) -> str:
    fault = tls_file_fault(where.parameters)
    return fault or f"{where}: {first_line(error)}; the socket, or a file that store.url names, is not there"


def _pooled(where: Address, _error: BaseException) -> str:
    return (
        f"{where} is a connection pooler, such as PgBouncer: settings of one session would hold for another, and mail "
        "be acknowledged before it is durable. Name PostgreSQL itself: a process has few connections, and they stay"
    )


class PoolerError(ConnectionError):
    """Something is between that lends connections: it does not take the settings of our sessions, or lends them on."""


class _NoTlsError(ConnectionError):
    """Stands for what asyncpg raises as a plain ConnectionError."""


# In this order: a certificate's error is an OSError and a ValueError, too.
_TEXTS: Final[tuple[tuple[type[BaseException], Callable[[Address, BaseException], str]], ...]] = (
    (asyncpg.InvalidPasswordError, _password),
    (asyncpg.InvalidAuthorizationSpecificationError, _not_let_in),
    (asyncpg.InvalidCatalogNameError, _no_database),
    (asyncpg.InsufficientPrivilegeError, _no_privilege),
    (ssl.SSLError, _certificate),
    (_NoTlsError, _no_tls),
    (PoolerError, _pooled),
    (FileNotFoundError, _missing_file),
)


def _specific(error: BaseException) -> BaseException:
    """The error that asyncpg means: it says with a plain ConnectionError that the server has no TLS, which stays so."""
    if "unsupported startup parameter" in str(error):
        return PoolerError()
    return _NoTlsError() if type(error) is ConnectionError and "SSL upgrade" in str(error) else error


def check_verified(connection: Any, url: str) -> None:
    """Raise StoreFailure if mail could go to a server that is not proven to be the right one.

    What names say is known before (`given_to_library`); a name of this machine may still lead elsewhere.
    """
    transport = connection._transport  # noqa: SLF001 - asyncpg has no name for it
    peer = transport.get_extra_info("peername")
    secured = transport.get_extra_info("ssl_object")
    if not is_here(peer) and (secured is None or not secured.context.check_hostname):
        raise StoreFailure(
            f"store.url: {Address(url)} was reached without being verified: add sslmode=verify-full and sslrootcert to "
            "the service file; nothing was changed"
        )


def is_here(peer: object) -> bool:
    """Whether the other side, as a socket names it, is this machine: a Unix socket or loopback."""
    return not isinstance(peer, tuple) or ipaddress.ip_address(peer[0].partition("%")[0]).is_loopback
