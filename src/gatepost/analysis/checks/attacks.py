"""The attacks of a drill: what the far end does, which certificate it shows, and which setting promises to stop it.

Used by `analysis.checks.drill`, which carries them out, and `analysis.checks.drill_report`, which judges what came of
them. What a connector promises is read off its fields here a second time, and not asked of `policy.decisions.outbound`:
a drill that asked the code under test what to expect would find nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Final, assert_never

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.analysis.checks.adversary import Publisher, StartTls
from gatepost.net.anchors import TrustAnchors
from gatepost.net.certificate import certificate_facts
from gatepost.net.engine import ServerContext, server_context
from gatepost.net.identity import ServerIdentity
from gatepost.pki.certificates.authority import Authority, self_signed
from gatepost.policy.connectors.values import Cleartext, KeyExchange, RevocationCheck, TlsSettings
from gatepost.protocols.tls.limits import GROUPS, SUITES, limited, offer
from gatepost.protocols.tls.profile import PROFILES, VERSIONS
from gatepost.texts import N_
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gatepost.policy.connectors.records import Organization, OutboundConnector
    from gatepost.protocols.tls.facts import CertificateFacts


ATTACKER: Final = "mx.attacker.invalid"
"""The attacker's own host: a name that no connector can expect (RFC 6761 section 6.4)."""

CONTROL: Final = "control"
"""The key of what is no attack."""

type Promise = Callable[[Demand], bool]


class Credential(StrEnum):
    """The certificate that the far end shows."""

    GOOD = "good"
    SELF_SIGNED = "self-signed"
    UNKNOWN_CA = "unknown-ca"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    INCOMPLETE = "chain-incomplete"
    WRONG_NAME = "wrong-name"
    REVOKED = "revoked"
    REVOKED_UNPUBLISHED = "revoked-unpublished"


@dataclass(frozen=True, slots=True)
class Demand:
    """The promises of a connector, read off its own fields.

    tls: mail leaves encrypted or not at all. trust: and only to a trusted certificate. name: and only to one of the
    right name. revocation: the treatment of revoked ones; NONE without trust. oldest: the oldest TLS version, of
    `protocols.tls.profile.VERSIONS`. post_quantum: and only by post-quantum key exchange. groups, suites: and only by
    one of these, IANA names; () for any.
    """

    tls: bool
    trust: bool
    name: bool
    revocation: RevocationCheck
    oldest: str
    post_quantum: bool = False
    groups: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()

    @property
    def revoked(self) -> bool:
        """Whether certificates that are known to be revoked are refused."""
        return self.revocation is not RevocationCheck.NONE

    @property
    def unknown(self) -> bool:
        """Whether certificates are refused of which nothing can be learnt."""
        return self.revocation is RevocationCheck.HARD_FAIL

    @property
    def key(self) -> str:
        """The kind of key that a good next hop's certificate has: in TLS 1.2 the suite says which it must be."""
        old = bool(self.suites) and all("_WITH_" in suite for suite in self.suites)
        ecdsa = any("_ECDSA_" in suite for suite in self.suites) and (not self.groups or "P-256" in self.groups)
        return "rsa" if old and not ecdsa else "ecdsa"


def demand_of(
    connector: OutboundConnector, organization: Organization, *, profile: str, rule_requires_tls: bool = False
) -> Demand:
    """profile: the server's own. rule_requires_tls: the mail flow rule that routes by the connector asks for TLS."""
    settings = connector.tls_settings
    trust = settings in {TlsSettings.CERTIFICATE_VALIDATION, TlsSettings.DOMAIN_VALIDATION}
    cleartext = connector.cleartext or organization.cleartext
    chosen = PROFILES[connector.profile or profile]
    post_quantum = connector.min_key_exchange is KeyExchange.POST_QUANTUM
    return Demand(
        tls=settings is not TlsSettings.OPPORTUNISTIC or cleartext is Cleartext.NEVER or rule_requires_tls,
        trust=trust,
        name=settings is TlsSettings.DOMAIN_VALIDATION,
        revocation=connector.revocation_check if trust else RevocationCheck.NONE,
        oldest=max(chosen.min_version, connector.min_tls_version or "", "TLSv1.3" if post_quantum else ""),
        post_quantum=post_quantum,
        groups=connector.groups,
        suites=connector.cipher_suites,
    )


_ENCRYPTED: Final[Promise] = attrgetter("tls")
_TRUSTED: Final[Promise] = attrgetter("trust")
_NAMED: Final[Promise] = attrgetter("name")


@dataclass(frozen=True, slots=True)
class Attack:
    """One thing that an attacker on the way can do.

    key: stable, for machines. title: for the table. deed: one sentence, what the far end does. exposure: where the
    message went if it left under TLS. promise: whether a demand stops it. newest: the newest TLS version that the
    far end speaks, "" for all. groups, suites: those it has, () for all. redirected: the answer of the DNS leads to the
    attacker's own host.
    """

    key: str
    title: str
    deed: str
    exposure: str
    promise: Promise
    starttls: StartTls = StartTls.GIVEN
    credential: Credential = Credential.GOOD
    newest: str = ""
    groups: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    redirected: bool = False

    @property
    def crux(self) -> str:
        """The step that the far end must have seen (`Seen.verbs`) for the attack to count as carried out."""
        if self.credential is not Credential.GOOD:
            return "handshake"
        return "EHLO" if self.starttls is StartTls.STRIPPED else "STARTTLS"


def control() -> Attack:
    """No attack: what a good next hop does. It must get the message, else the drill proves nothing."""
    deed = "A good next hop: STARTTLS, the newest TLS, a trusted certificate of the right name."
    return Attack(CONTROL, N_("control"), deed, "to the good next hop", lambda _demand: False)


def attacks(demand: Demand) -> list[Attack]:
    """All that is tried against a connector, in the order in which it is printed."""
    return [
        *_on_the_channel(),
        *_on_versions(demand),
        *_on_limits(demand),
        *_on_the_certificate(),
        *_on_revocation(),
        _redirection(),
    ]


def _on_the_channel() -> list[Attack]:
    return [
        Attack(
            "starttls-stripped",
            "STARTTLS stripped",
            "The offer of STARTTLS is removed from the reply to EHLO.",
            "unencrypted",
            _ENCRYPTED,
            StartTls.STRIPPED,
        ),
        Attack(
            "starttls-refused",
            "STARTTLS refused",
            "STARTTLS is offered, and answered with 454.",
            "unencrypted",
            _ENCRYPTED,
            StartTls.REFUSED,
        ),
        Attack(
            "handshake-broken",
            "handshake broken",
            "STARTTLS is answered with 220, then with bytes that are not a handshake.",
            "unencrypted",
            _ENCRYPTED,
            StartTls.BROKEN,
        ),
        Attack(
            "response-injection",
            "response injection",
            "Unencrypted replies follow the 220 to STARTTLS, a sound handshake follows (RFC 3207 section 6).",
            "past injected replies",
            _ENCRYPTED,
            StartTls.INJECTED,
        ),
        Attack(
            "response-injection-begun",
            "response injection, begun",
            "The same with the beginning of a reply, which would be ended by what comes under TLS.",
            "past an injected reply",
            _ENCRYPTED,
            StartTls.INJECTED_PART,
        ),
    ]


def _on_versions(demand: Demand) -> list[Attack]:
    """Old versions; the one just below what is asked for is tried too, where that is a case of its own."""
    result = [
        Attack(
            "tls-1.0-only",
            "TLS 1.0 only",
            "The far end speaks TLS 1.0 and 1.1, nothing newer.",
            "over TLS 1.1 or older",
            lambda demand: demand.tls and demand.oldest > "TLSv1.1",
            newest="TLSv1.1",
        )
    ]
    below = VERSIONS[max(VERSIONS.index(demand.oldest) - 1, 0)]
    if demand.tls and below not in {"TLSv1.1", demand.oldest}:
        result.append(
            Attack(
                "below-min-tls-version",
                "below min_tls_version",
                f"The far end speaks {below} at most; {demand.oldest} or newer is asked for.",
                f"over {below} or older",
                _ENCRYPTED,
                newest=below,
            )
        )
    return result


def _on_limits(demand: Demand) -> Iterator[Attack]:
    """Key exchanges and cipher suites that are not allowed, where the connector limits them."""
    if demand.post_quantum:
        yield Attack(
            "classical-key-exchange",
            "classical key exchange",
            "The far end has no post-quantum key exchange; a quantum computer could read later what is recorded now.",
            "by a classical key exchange",
            _ENCRYPTED,
            groups=tuple(group for group in GROUPS if "MLKEM" not in group),
        )
    if demand.groups and (others := tuple(group for group in GROUPS if group not in demand.groups)):
        yield Attack(
            "group-not-allowed",
            "group not allowed",
            f"The far end has only groups that are not in the connector's list: {', '.join(others)}.",
            "by a group that is not allowed",
            _ENCRYPTED,
            groups=others,
        )
    if demand.suites and (others := tuple(suite for suite in SUITES if suite not in demand.suites)):
        yield Attack(
            "cipher-suite-not-allowed",
            "suite not allowed",
            "The far end has only cipher suites that are not in the connector's list.",
            "by a cipher suite that is not allowed",
            _ENCRYPTED,
            suites=others,
        )


def _on_the_certificate() -> list[Attack]:
    def shown(credential: Credential, title: str, deed: str, exposure: str, promise: Promise = _TRUSTED) -> Attack:
        return Attack(str(credential), title, deed, exposure, promise, credential=credential)

    return [
        shown(
            Credential.SELF_SIGNED,
            N_("self-signed"),
            "The certificate has the right name, and no authority issued it.",
            "to an impostor",
        ),
        shown(
            Credential.UNKNOWN_CA,
            "unknown CA",
            "The certificate has the right name, and an authority issued it that is not a trust anchor.",
            "to an impostor",
        ),
        shown(
            Credential.EXPIRED,
            N_("expired"),
            "The certificate expired three months ago.",
            "to an expired certificate",
        ),
        shown(
            Credential.NOT_YET_VALID,
            "not yet valid",
            "The certificate is valid from tomorrow on.",
            "to a certificate that is not valid yet",
        ),
        shown(
            Credential.INCOMPLETE,
            "chain incomplete",
            "The certificate comes without its intermediate.",
            "to an incomplete chain",
        ),
        shown(
            Credential.WRONG_NAME,
            "wrong name",
            f"The certificate is trusted, and has another name: {ATTACKER}.",
            "to an impostor",
            _NAMED,
        ),
    ]


def _on_revocation() -> list[Attack]:
    return [
        Attack(
            "revoked",
            N_("revoked"),
            "The certificate is in its authority's revocation list.",
            "to a revoked certificate",
            attrgetter("revoked"),
            credential=Credential.REVOKED,
        ),
        Attack(
            "revocation-blocked",
            "revocation blocked",
            "The certificate is revoked, and the attacker keeps the revocation list from us.",
            "to a revoked certificate",
            attrgetter("unknown"),
            credential=Credential.REVOKED_UNPUBLISHED,
        ),
    ]


def _redirection() -> Attack:
    return Attack(
        "mx-redirected",
        "MX redirected",
        f"A forged answer of the DNS leads to {ATTACKER}, which has a trusted certificate of its own name.",
        "to an impostor",
        _NAMED,
        credential=Credential.WRONG_NAME,
        redirected=True,
    )


@dataclass(frozen=True, slots=True)
class Shown:
    """A certificate with its key, ready to be shown, and what it says."""

    identity: ServerIdentity = field(repr=False)
    facts: CertificateFacts

    def context(self, attack: Attack) -> ServerContext:
        """A server that speaks everything that the attack leaves it, as willing as can be."""
        profile = PROFILES["legacy"]
        if attack.newest:
            profile = replace(profile, max_version=attack.newest)
        if attack.groups:
            profile = replace(profile, groups=":".join(f"?{group}" for group in attack.groups))
        if attack.suites:
            profile = offer(profile, limited(suites=attack.suites))
        return server_context([self.identity], profile, ask_client_certificate=True)


class DrillPki:
    """The authorities of one drill: one that is trusted in place of the connector's own anchors, one that is not.

    Made anew for every drill and forgotten with it. publisher: where the revocation lists are put. key: the kind of
    key of its leaves. anchors: the trusted root, as the sending side takes it.
    """

    def __init__(self, publisher: Publisher, key: str = "ecdsa") -> None:
        self._publisher = publisher
        self._root = Authority("gatepost drill root")
        self._issuer = Authority("gatepost drill intermediate", issuer=self._root, crl_url=publisher.url("/root.crl"))
        self._key = key
        self._issue = partial(self._issuer.issue, key=key)
        self._stranger = Authority("gatepost drill: nobody's root")
        root = x509.load_pem_x509_certificate(self._root.certificate_pem)
        self.anchors = TrustAnchors([root.public_bytes(Encoding.DER)], "the drill's own authority")
        self._revoked: list[bytes] = []
        self._publish()

    def show(self, credential: Credential, names: Sequence[str]) -> Shown:
        """A fresh certificate of that kind. names: those that the connector expects."""
        chain, key = self._make(credential, names)
        leaf = x509.load_pem_x509_certificates(chain)[0]
        return Shown(ServerIdentity(chain, key), certificate_facts(leaf.public_bytes(Encoding.DER)))

    def _make(self, credential: Credential, names: Sequence[str]) -> tuple[bytes, bytes]:
        listed, now = self._publisher.url("/intermediate.crl"), datetime.now(UTC)
        match credential:
            case Credential.GOOD:
                made = self._issue(names, crl_url=listed)
            case Credential.SELF_SIGNED:
                made = self_signed(names, key=self._key)
            case Credential.UNKNOWN_CA:
                chain, key = self._stranger.issue(names, key=self._key)
                made = chain + self._stranger.certificate_pem, key
            case Credential.EXPIRED:
                made = self._issue(names, not_before=now - timedelta(days=180), crl_url=listed)
            case Credential.NOT_YET_VALID:
                made = self._issue(names, not_before=now + timedelta(days=1), crl_url=listed)
            case Credential.INCOMPLETE:
                chain, key = self._issue(names, crl_url=listed)
                made = x509.load_pem_x509_certificates(chain)[0].public_bytes(Encoding.PEM), key
            case Credential.WRONG_NAME:
                made = self._issue([ATTACKER], crl_url=listed)
            case Credential.REVOKED:
                made = self._revoke(self._issue(names, crl_url=listed))
            case Credential.REVOKED_UNPUBLISHED:
                made = self._revoke(self._issue(names, crl_url=self._publisher.url("/blocked.crl")))
            case _:
                assert_never(credential)
        return made

    def _revoke(self, issued: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
        self._revoked.append(issued[0])
        self._publish()
        return issued

    def _publish(self) -> None:
        self._publisher.files["/root.crl"] = self._root.crl()
        self._publisher.files["/intermediate.crl"] = self._issuer.crl(self._revoked)
