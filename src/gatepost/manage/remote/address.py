"""Address of another gateway and proof of it: URL, token to send, certificate that it must have.

Made by the command line of its options. Reads the files that they name; asks nobody.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from gatepost.manage.use_cases.refusal import Refusal, RefusalKind

_PORT: Final = 443
_TOKEN = re.compile(r"[\x21-\x7e]{1,200}")
_HOST = re.compile(r"[A-Za-z0-9.:_-]{1,253}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST: Final = 4096  # bytes of a file with a token
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Address:
    """url: "https://gate.example:8443". token: the secret. ca: a file of trust anchors, "" is the machine's.

    fingerprint: SHA-256 of the certificate itself, hex, "" for any that the anchors vouch for.
    """

    url: str
    host: str
    port: int
    token: str = field(repr=False)
    ca: str = ""
    fingerprint: str = ""


def address(url: str, *, token: str = "", token_file: str = "", ca: str = "", fingerprint: str = "") -> Address:
    """The gateway that is meant. Raises Refusal (INPUT) for what cannot be right; no text of it has the token."""
    host, port = _host_port(url)
    if token and token_file:
        raise Refusal(RefusalKind.INPUT, "--token and --token-file: give one of them")
    secret = (_read(token_file) if token_file else token).strip()
    if not secret:
        text = (
            "--server needs an API token: GATEPOST_TOKEN, --token-file FILE or --token; `gatepost token add NAME "
            "--scope read` makes one on the gateway's machine"
        )
        raise Refusal(RefusalKind.INPUT, text)
    if not _TOKEN.fullmatch(secret):
        raise Refusal(RefusalKind.INPUT, "the API token has blanks or other characters that no token has")
    pin = fingerprint.replace(":", "").strip().lower()
    if pin and not _SHA256.fullmatch(pin):
        raise Refusal(RefusalKind.INPUT, f"--fingerprint {fingerprint!r}: it must be 64 hexadecimal digits (SHA-256)")
    shown = f"[{host}]" if ":" in host else host
    return Address(f"https://{shown}:{port}", host, port, secret, ca, pin)


def _host_port(url: str) -> tuple[str, int]:
    example = "write it like https://gate.example:8443"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Refusal(RefusalKind.INPUT, f"--server {url!r} is not an address: {error}; {example}") from error
    if parts.scheme != "https":
        raise Refusal(RefusalKind.INPUT, f"--server {url!r} must begin with https://, since a token is sent; {example}")
    if parts.username is not None or parts.query or parts.fragment or parts.path not in {"", "/"}:
        raise Refusal(RefusalKind.INPUT, f"--server must be a host and a port, no more; {example}")
    host = parts.hostname or ""
    if not _HOST.fullmatch(host):
        raise Refusal(RefusalKind.INPUT, f"--server {url!r} names no host in ASCII; {example}")
    return host, port or _PORT


def _read(name: str) -> str:
    """The token in a file that others cannot read; a pipe is not a file."""
    try:
        with Path(name).open("rb") as file:
            mode = Path(name).stat().st_mode
            if stat.S_ISREG(mode) and mode & _OTHERS:
                raise Refusal(RefusalKind.INPUT, f"--token-file {name}: others can read it; chmod 600 {name}")
            return file.read(_MOST).decode("ascii", "replace")
    except OSError as error:
        raise Refusal(RefusalKind.INPUT, f"--token-file {name}: {error.strerror}") from error
