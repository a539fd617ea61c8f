"""The table `recipient_directory` of an accepted domain: the LDAP directory that knows its recipients (RFC 4511).

A part of `policy.connectors.accepted_domain`. The password is never part of a resource: it is sealed in the gateway's
store (`pki.certificates.directory_secrets`), or in a file. All of it is the gateway owner's, since it names hosts of
the operator's network and what is asked of them; a tenant's administrator who could change the filter could read from
the directory, question by question, what is in it.
"""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from gatepost.policy.connectors.fields import Access, FilePath, Form, Owned, Text, TrustAnchorsText
from gatepost.policy.connectors.names import host_port
from gatepost.policy.connectors.record_base import Record
from gatepost.protocols.ldap.search_filter import parse_filter

DEFAULT_FILTER: Final = "(|(mail={address})(proxyAddresses=smtp:{address}))"
"""Finds users, groups and contacts of Exchange and Active Directory, and entries with inetOrgPerson's mail."""

_PORTS: Final = {"ldap": 389, "ldaps": 636}
# Of the other fields tenants change none while there is a granted server: `policy.connectors.grants`.
_OWNED: Final = Owned(lambda value: Access.MACHINE if value else None, 'use recipient_validation = "list" or "callout"')


def server_of(url: str) -> tuple[str, int, bool]:
    """Host, port, and whether TLS comes first. Raises ValueError for what is not an address of an LDAP server."""
    scheme, _, place = url.partition("://")
    if scheme.lower() not in _PORTS or not place or urlsplit(url).netloc != place.removesuffix("/"):
        raise ValueError(
            f"{url!r} is not an address of a server: write ldaps://HOST or ldap://HOST, with :PORT if needed"
        )
    host, port = host_port(place.removesuffix("/"), _PORTS[scheme.lower()])
    return host, port, scheme.lower() == "ldaps"


def _url(value: str) -> str:
    host, port, implicit = server_of(value)
    scheme = "ldaps" if implicit else "ldap"
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}" if port == _PORTS[scheme] else f"{scheme}://{name}:{port}"


def _filter(value: str) -> str:
    search_filter = parse_filter(value)
    if not search_filter.placeholders & {"address", "local"}:
        raise ValueError("the filter has no {address}, so it would say the same of every recipient")
    return value


class RecipientDirectory(Record):
    """The directory that is asked whether a recipient exists. Always under TLS that proves the server's name."""

    urls: tuple[
        Annotated[str, AfterValidator(_url), Form("ldaps://HOST[:PORT] or ldap://HOST[:PORT]"), _OWNED], ...
    ] = Field(
        default=(),
        description="Servers of the directory, tried in this order. ldaps: TLS from the first octet (port 636; "
        "3269 is the global catalog of Active Directory). ldap: StartTLS (port 389). The certificate must be "
        "trusted and contain HOST; nothing is asked without TLS.",
    )
    base_dn: Text = Field(
        default="",
        description='Entry to search below, such as "dc=contoso,dc=example". Empty: the root of the directory, which '
        "only the global catalog of Active Directory searches.",
    )
    search_filter: Annotated[Text, AfterValidator(_filter), Form("search filter (RFC 4515)")] = Field(
        default=DEFAULT_FILTER,
        description="Search filter (RFC 4515); a recipient exists if it finds an entry. {address} stands for the "
        'address, {local} and {domain} for its parts. Write "*", "(", ")", "\\" and braces of a value as \\2a, \\28, '
        "\\29, \\5c, \\7b and \\7d.",
    )
    bind_dn: Text = Field(
        default="",
        description='Name to log in with: a DN, or for Active Directory also "gatepost@contoso.example". It needs to '
        "read only what the filter compares. Empty: no log-in.",
    )
    password_file: Annotated[FilePath, _OWNED] = Field(
        default="",
        description="File with the password on its first line, mode 0600. Empty: the password is encrypted in the "
        "store (`gatepost domain password NAME`).",
    )
    trust_anchors: TrustAnchorsText = Field(
        default="",
        description='Roots for the servers\' certificates: "system", certificates in PEM, or a file or directory. '
        "Empty: the server's setting.",
    )
