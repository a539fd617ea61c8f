"""The address of the store: `sqlite:`, or a URL of PostgreSQL, checked before anything is opened.

A password never stands in it, since settings are read by many; the server is verified unless it is on this machine.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

SQLITE = "sqlite:"

_SCHEMES = frozenset({"postgresql", "postgres"})
# Parameters of libpq that asyncpg knows too, without those that name a password or a secret.
_PARAMETERS = frozenset(
    {
        "host",
        "port",
        "user",
        "dbname",
        "passfile",
        "service",
        "servicefile",
        "sslmode",
        "sslrootcert",
        "sslcert",
        "sslkey",
        "sslcrl",
        "target_session_attrs",
        "application_name",
    }
)


def store_url(value: str) -> str:
    """The address as it was written. Raises ValueError with what is wrong and what to write."""
    if value == SQLITE:
        return value
    scheme = value.partition(":")[0]
    if scheme not in _SCHEMES:
        raise ValueError(
            f'{scheme!r} is not a store; write "sqlite:", which keeps mail in data_dir, or "postgresql://USER@HOST/DATABASE"'
        )
    parts = urlsplit(value)
    if parts.password is not None:
        raise ValueError(
            "has a password in it; put it into a file of mode 0600 (as libpq's .pgpass) and add ?passfile=/PATH"
        )
    query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    if "password" in query or "sslpassword" in query:
        raise ValueError("has a password in it; put it into a file of mode 0600 and add ?passfile=/PATH")
    if unknown := sorted(set(query) - _PARAMETERS):
        raise ValueError(f"has the unknown parameter {unknown[0]!r}; known are {', '.join(sorted(_PARAMETERS))}")
    if query.get("target_session_attrs", "read-write") not in {"read-write", "primary"}:
        raise ValueError(
            "looks for a server that takes no writes; write target_session_attrs=read-write, or leave it out"
        )
    written = parts.netloc.rpartition("@")[2]
    _check_ports(written, query)
    if written and query.get("host"):
        raise ValueError(f"names the server twice, as {written[:100]!r} and with host=; write it once")
    # What a service file adds, `store.postgres.connecting` looks at before it connects.
    if "service" not in query and (away := unverified_host(written or query.get("host", ""), query.get("sslmode", ""))):
        raise ValueError(
            f"does not verify the server {away}; add ?sslmode=verify-full&sslrootcert=/PATH (only a Unix socket or "
            "a loopback address needs no TLS)"
        )
    return value


def worker_url(value: str) -> str:
    """The address for workers as it was written; "" for none. Raises ValueError as `store_url`, and without a role."""
    if not value:
        return value
    if store_url(value) == SQLITE:
        raise ValueError('is for PostgreSQL; with "sqlite:" leave it out')
    if not role_of(value):
        raise ValueError("names no role; write postgresql://ROLE@HOST/DATABASE")
    return value


def role_of(url: str) -> str:
    """The role that an address of PostgreSQL names; "" if it names none. Of two, asyncpg takes the first."""
    parts = urlsplit(url)
    return unquote(parts.username or "") or dict(parse_qsl(parts.query)).get("user", "")


def secret_files(url: str) -> dict[str, str]:
    """The files with secrets that an address names, by parameter."""
    query = dict(parse_qsl(urlsplit(url).query))
    return {name: query[name] for name in ("passfile", "sslkey", "servicefile") if name in query}


def without_secrets(url: str, nowhere: str) -> str:
    """The same address without them. nowhere: the path of a file that is not there."""
    parts = urlsplit(url)
    query = {name: value for name, value in parse_qsl(parts.query) if name not in {"sslkey", "sslcert"}}
    rest = urlencode(query | {"passfile": nowhere})
    # Put together by hand: without a host, urlunsplit leaves the slashes out.
    return f"{parts.scheme}://{parts.netloc}{parts.path}?{rest}"


def _check_ports(hosts: str, query: dict[str, str]) -> None:
    """Raises ValueError for a port that is none."""
    written = [
        host.rpartition("]")[2].rpartition(":")[2] for host in hosts.split(",") if ":" in host.rpartition("]")[2]
    ]
    for port in (*written, *query.get("port", "").split(",")):
        if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
            raise ValueError(f"has the port {port[:20]!r}; write a number from 1 to 65535, as in HOST:5432")


def unverified_host(hosts: str, mode: str) -> str:
    """The first host that would not be proven to be the right one; "" if all are, or are this machine.

    hosts: hosts and socket folders of an address, several with commas. mode: sslmode.
    """
    if mode == "verify-full":
        return ""
    names = (_without_port(unquote(part)) for part in hosts.split(",") if part)
    return next((name or hosts for name in names if not _is_here(name)), "")


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.startswith("/") else host.partition(":")[0]


def _is_here(host: str) -> bool:
    if host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
