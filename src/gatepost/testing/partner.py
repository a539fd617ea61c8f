"""A mail server of another organization, with the defect of TLS that a test is about."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.sink import Behaviour, Sink, server_context
from gatepost.testing.status_server import StatusServer


class Defect(StrEnum):
    """A defect of a partner's TLS. meaning: in a few words, for a table."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        """A member with its meaning."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    NONE = "none", "sound: TLS 1.3, a certificate for its name, of the trusted authority"
    NO_STARTTLS = "no-starttls", "does not offer STARTTLS"
    STARTTLS_REFUSED = "starttls-refused", "offers STARTTLS, and answers 454"
    STARTTLS_CUT = "starttls-cut", "closes the connection instead of an answer to STARTTLS"
    BROKEN_HANDSHAKE = "broken-handshake", "answers 220 to STARTTLS, and no handshake follows"
    OLD_TLS = "old-tls", "speaks TLS 1.1 and no newer version"
    WRONG_NAME = "wrong-name", "a certificate for another name"
    EXPIRED = "expired", "a certificate that ended yesterday"
    NOT_YET_VALID = "not-yet-valid", "a certificate that begins tomorrow"
    SELF_SIGNED = "self-signed", "a certificate that no authority issued"
    UNKNOWN_AUTHORITY = "unknown-authority", "a certificate of an authority that nobody trusts"
    INCOMPLETE_CHAIN = "incomplete-chain", "does not send its intermediate"
    WRONG_USAGE = "wrong-usage", "a certificate for clients alone"
    WEAK_KEY = "weak-key", "an RSA key of 1024 bits"
    REVOKED = "revoked", "its certificate is revoked, and its CRL says so"


@dataclass(frozen=True, slots=True)
class _Certificate:
    """How the certificate of a defect is made, of the trusted authority, for the partner's name."""

    make: Callable[[Pki, str], Leaf]
    weak: bool = False


def _of_strangers(pki: Pki, name: str) -> Leaf:
    return Pki(pki.folder / "strangers", "Strangers").leaf(name)


_SOUND: Final = _Certificate(lambda pki, name: pki.leaf(name))
_CERTIFICATES: Final = {
    Defect.WRONG_NAME: _Certificate(lambda pki, _: pki.leaf("other.example")),
    Defect.EXPIRED: _Certificate(lambda pki, name: pki.expired(name)),
    Defect.NOT_YET_VALID: _Certificate(lambda pki, name: pki.not_yet_valid(name)),
    Defect.SELF_SIGNED: _Certificate(lambda pki, name: pki.self_signed(name)),
    Defect.UNKNOWN_AUTHORITY: _Certificate(_of_strangers),
    Defect.INCOMPLETE_CHAIN: _Certificate(lambda pki, name: pki.leaf(name, incomplete=True)),
    Defect.WRONG_USAGE: _Certificate(lambda pki, name: pki.client(name)),
    Defect.WEAK_KEY: _Certificate(lambda pki, name: pki.leaf(name, key="rsa1024"), weak=True),
}
_BEHAVIOURS: Final = {
    Defect.NO_STARTTLS: Behaviour(starttls="absent"),
    Defect.STARTTLS_REFUSED: Behaviour(replies={"STARTTLS": "454 4.7.0 TLS not available"}),
    Defect.STARTTLS_CUT: Behaviour(drops=frozenset({"STARTTLS"})),
    Defect.BROKEN_HANDSHAKE: Behaviour(starttls="garbage"),
}


class Partner(Sink):
    """A mail server on loopback that takes all it can get, and keeps it in `messages`. Use it with `with`.

    pki: the authority that the gateway trusts, and that issues this server's certificate unless the defect is another
    one. name: of the host; its domain is what follows the first label, unless `domain` names it: ValueError without
    either. options: of `gatepost.testing.sink.Sink`, such as `host` and `port`.
    """

    def __init__(
        self,
        pki: Pki,
        name: str = "mail.partner.example",
        defect: Defect = Defect.NONE,
        *,
        domain: str = "",
        **options: Any,
    ) -> None:
        defect = Defect(defect)  # type: ignore[call-arg]  # by value: a word that is none would make a sound partner
        super().__init__(hostname=name, **{"behaviour": _BEHAVIOURS.get(defect), **options})
        self.pki = pki
        self.domain = domain or name.partition(".")[2]
        if not self.domain:
            raise ValueError(f"a partner {name!r} has no domain: name one, domain=…, or a host in it")
        self._running = ExitStack()
        self._status = StatusServer(pki) if defect is Defect.REVOKED else None
        if self._status is not None:
            self.certificate = pki.leaf(name, crl=self._status.crl)
            pki.revoke(self.certificate)
        else:
            self.certificate = _CERTIFICATES.get(defect, _SOUND).make(pki, name)
        weak = _CERTIFICATES.get(defect, _SOUND).weak
        self.tls = server_context(self.certificate, old=defect is Defect.OLD_TLS, weak=weak)

    def __enter__(self) -> Self:
        with ExitStack() as running:  # what began ends where the rest cannot
            if self._status is not None:
                running.enter_context(self._status)
            super().__enter__()
            self._running = running.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._running.close()

    @property
    def tlsa(self) -> str:
        """A TLSA record (RFC 6698) of its key, as a line of a `gatepost.testing.signed_zone.Zone`, below the domain."""
        key = self.certificate.x509.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        label = self.hostname.removesuffix(f".{self.domain}")
        return f"_{self.port}._tcp.{label} TLSA 3 1 1 {hashlib.sha256(key).hexdigest()}"

    def connector(self, **fields: Any) -> dict[str, Any]:
        """An outbound connector that sends the domain's mail here, and requires TLS with a certificate of its name.

        fields: change it, as in docs/resources.md: tls_settings="encryption-only".
        """
        connector: dict[str, Any] = {
            "name": self.domain,
            "connector_type": "partner",
            "recipient_domains": [self.domain],
            "use_mx_record": False,
            "smart_hosts": [self.address],
            "tls_settings": "domain-validation",
            **fields,
        }
        if connector["tls_settings"] == "domain-validation":
            connector.setdefault("tls_domain", self.hostname)
        if connector["tls_settings"] in {"domain-validation", "certificate-validation"}:
            connector.setdefault("trust_anchors", str(self.pki.root))
        return connector
