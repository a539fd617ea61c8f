"""The names under which we answer over HTTP: a request says one in its Host field. Pure.

A name that is not ours is refused, since a foreign page could otherwise point a name of its own at this address and be
of one origin with it (DNS rebinding); IP addresses cannot be pointed. Asked by `manage.web.request_limits` for the
admin centre, and by `node.metrics_host`.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final

from gatepost.protocols.tls.names import is_ip_address

# A number in brackets is an IPv6 address; one without has no colon.
_AUTHORITY: Final = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{0,5})?"
)


def is_known_host(header: str, names: Container[str]) -> bool:
    """Whether a Host field names one of ours. names: lower case; beside them "localhost" and IP addresses are known."""
    host = host_of(header)
    return host == "localhost" or host in names or is_ip_address(host)


def host_of(header: str) -> str:
    """The host of a Host field (RFC 3986 section 3.2) without its port, lower case; an IPv6 address without brackets.

    "" for what is none, so that nothing behind this has to read such a field once more.
    """
    match = _AUTHORITY.fullmatch(header)
    if match is None or (match["six"] is not None and not is_ip_address(match["six"])):
        return ""
    return (match["six"] or match["name"]).lower().removesuffix(".")
