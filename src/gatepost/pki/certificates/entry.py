"""An entry of the certificate inventory, with purpose, place of the key and state; and requests for such.

Values only: `pki.certificates.inventory` stores them, `pki.certificates.presented` chooses among them, pages and
commands show them. The states are those of the published table (exchange.md section 1, S12), with the two around them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec

from gatepost.protocols.tls.facts import CertificateFacts
from gatepost.protocols.tls.token_uri import is_token_uri

TIMES: Final = ("added", "since", "current_from", "current_until", "switch_at")
"""The fields of an entry that are times."""

_ID_DIGITS = 16


class State(StrEnum):
    """The state of a certificate; each is entered once, in this order, except by a roll back."""

    NEXT = "next"  # staged: shown to partners, presented to nobody
    CURRENT = "current"  # presented
    DEPRECATED = "deprecated"  # not presented any more; may come back while its key is kept
    RETIRED = "retired"  # its key is gone; it stays in the table as history


class Origin(StrEnum):
    """The origin of a certificate, which says who renews it."""

    SETTINGS = "settings"  # files named in [[certificate]], read again when they change
    FILES = "files"  # files named to `certificate add`, left in place
    UPLOAD = "upload"
    ACME = "acme"
    AUTHORITY = "authority"  # the internal CA


class Purpose(StrEnum):
    """The end of a connection that a certificate is for."""

    SERVER = "server"
    CLIENT = "client"


class Entry(msgspec.Struct, frozen=True):
    """A certificate and its course.

    id: the first 16 hexadecimal digits of the leaf's SHA-256 thumbprint. leaf: what it says. organization: whose client
    certificate it is, "" for the gateway's own. label: a name for people, and by which connectors name a client
    certificate. key_file: where the key was left, a file or the `pkcs11:` URI
    of a key in a token; "" if it is sealed in the store. Times in seconds since 1970 UTC, 0.0
    if not yet: added; since: in this state; current_from, current_until: presented, as the published table says it;
    switch_at: when a staged one is to become current, 0.0 for not planned. replaces: ids of those that it takes the
    place of. must_staple: the TLS feature extension asks for a stapled response (RFC 7633). told: partners notified of
    it. forced: why it is to become current at switch_at whatever the gates say then, "" if it is not. held: why it did
    not become current at the time that was planned, "" if nothing kept it. chain: the first 16 hexadecimal digits of
    the SHA-256 of its file, where that has other intermediates than when the certificate came, else "".
    """

    id: str
    leaf: CertificateFacts
    purpose: Purpose = Purpose.SERVER
    organization: str = ""
    label: str = ""
    state: State = State.NEXT
    origin: Origin = Origin.UPLOAD
    key_file: str = ""
    chain_file: str = ""
    added: float = 0.0
    since: float = 0.0
    current_from: float = 0.0
    current_until: float = 0.0
    switch_at: float = 0.0
    replaces: tuple[str, ...] = ()
    must_staple: bool = False
    told: tuple[str, ...] = ()
    forced: str = ""
    held: str = ""
    chain: str = ""

    @property
    def in_token(self) -> bool:
        """Whether the key is in a token: then `key_file` is its URI, and the chain may be in the store."""
        return is_token_uri(self.key_file)

    @property
    def key_family(self) -> str:
        """The key's kind without its size ("RSA", "EC", …)."""
        return self.leaf.key.split("-", maxsplit=1)[0]


def entry_id(leaf: CertificateFacts) -> str:
    """The id under which a certificate is stored and shown."""
    return leaf.sha256[:_ID_DIGITS]


# A URI names a node of a site, whose certificate is never in the inventory.
_LEAF = tuple(name for name in CertificateFacts.__struct_fields__ if name != "uris")
_PLAIN = ("organization", "label", "key_file", "chain_file", "must_staple", "forced", "held", "chain")


def document_of(entry: Entry) -> dict[str, Any]:
    """The entry as the store keeps it, as JSON. No key is in it."""
    leaf = {name: getattr(entry.leaf, name) for name in _LEAF}
    document = {"leaf": {name: list(value) if isinstance(value, tuple) else value for name, value in leaf.items()}}
    course = {"purpose": str(entry.purpose), "state": str(entry.state), "origin": str(entry.origin)}
    rest = {name: getattr(entry, name) for name in (*_PLAIN, *TIMES)}
    return document | course | rest | {"replaces": list(entry.replaces), "told": list(entry.told)}


def entry_of(number: str, document: dict[str, Any]) -> Entry:
    """An entry as it was stored. number: its id. Raises ValueError if it is none of this version."""
    try:
        leaf: dict[str, Any] = {name: document["leaf"][name] for name in _LEAF}
        leaf |= {name: tuple(value) for name, value in leaf.items() if isinstance(value, list)}
        rest = {name: document[name] for name in (*_PLAIN, *TIMES) if name in document}
        return Entry(
            id=number,
            leaf=CertificateFacts(**leaf),
            purpose=Purpose(document["purpose"]),
            state=State(document["state"]),
            origin=Origin(document["origin"]),
            replaces=tuple(document.get("replaces", ())),
            told=tuple(document.get("told", ())),
            **rest,
        )
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"certificate {number} is stored in a form that this version does not know: {error}"
        ) from error


class CertificateRequestSpec(msgspec.Struct, frozen=True):
    """The content of a request to an authority.

    names: DNS names (A-labels), the first also the CN; a client may have none, and its label is the CN. key: one of
    `request.KEY_TYPES`. must_staple: the TLS feature extension (RFC 7633).
    """

    names: tuple[str, ...]
    key: str = "ec-p256"
    purpose: Purpose = Purpose.SERVER
    organization: str = ""
    label: str = ""
    must_staple: bool = False


class PendingRequest(msgspec.Struct, frozen=True):
    """A request that waits for its certificate.

    id: the first 16 hexadecimal digits of the SHA-256 of its public key (SubjectPublicKeyInfo). added: seconds since
    1970 UTC. key_file: where the key is, "" if it is sealed in the store.
    """

    id: str
    wish: CertificateRequestSpec
    added: float
    key_file: str = ""
