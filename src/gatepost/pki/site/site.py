"""A site's own certification authority: makes roots, lets nodes join and renew, issues for on-premises servers.

Used by `node.site_host` (nodes over the network), `pki.site.membership` (the node where the authority is kept) and
the `site` commands. Its key is sealed in the store and never leaves it. Certificates of nodes live for days: that a
node's record is gone, and nothing is renewed, is the revocation.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gatepost.net.anchors import TrustAnchors
from gatepost.net.certificate import MALFORMED
from gatepost.net.chain import judge
from gatepost.net.identity import ServerIdentity
from gatepost.pki.certificates.authority import key_pem
from gatepost.pki.site import profile
from gatepost.pki.site.records import (
    IssuedServer,
    JoinRefused,
    Node,
    NodeGrant,
    SiteAuthority,
    SiteError,
    SiteRefusal,
    SiteState,
    Token,
)
from gatepost.pki.site.store import AUTHORITY, ISSUED, NODE, TOKEN, Record, SiteStore, place_of
from gatepost.policy.connectors.names import covers, domain_name
from gatepost.store.changes import ConfigConflict
from gatepost.values import replace

REPEAT_SECONDS: Final = 600.0
"""So long after it joined a node may ask again for the same key."""
SKEW_SECONDS: Final = 600.0
"""A time of a record that is so much later than now was written by a clock that was ahead."""

TOKEN_FORM: Final = "gpj1"  # noqa: S105 - how a token begins
_SECRET_BYTES: Final = 32
_ID_DIGITS: Final = 16
_TRIES: Final = 5  # when others change the configuration at the same time
_EARLY_SECONDS: Final = 60.0
_EARLY_PART: Final = 20  # of a lifetime: so long a node waits at least between two certificates, 60 s at most
_KEPT_SECONDS: Final = 30 * 86400.0  # a certificate for a server stays in the list so long after its end
_SERVICE: Final = "gatepost"


class Site:
    """records: of this data directory. Times are seconds since 1970 UTC. For one thread at a time, as its store is."""

    def __init__(self, records: SiteStore) -> None:
        self._records = records

    def state(self) -> SiteState:
        """Everything that is known of the site. Raises SiteError."""
        return self._records.state()

    # the authority

    def init(self, site: str, domains: Sequence[str], *, author: str, now: float) -> SiteAuthority:
        """Make the first root. domains: the only names it can vouch for. Raises SiteError, StoreFailure."""
        if not profile.is_site_name(site):
            raise SiteError(
                f"{site!r} is not a name of a site: write lower-case letters, digits, hyphens and dots, at most 63"
            )
        state = self.state()
        if state.authorities:
            authority = state.authorities[0]
            raise SiteError(
                f"the site {authority.site} has its authority already ({authority.sha256}); a new one: --replace"
            )
        return self._make(state, site, domains, author, (now, now))

    def replace(self, domains: Sequence[str] | None, signs_from: float, *, author: str, now: float) -> SiteAuthority:
        """Make the next root. Until `signs_from` the one before signs, while nodes learn of the new one as they renew.

        It takes over earlier where that one ends earlier. domains: None for those of the one before. Raises SiteError,
        StoreFailure.
        """
        state = self.state()
        if not state.authorities:
            raise SiteError("there is no authority to replace: gatepost site init")
        newest = state.authorities[0]
        if newest.signs_from > now:
            raise SiteError(f"{newest.sha256} takes over soon: wait until then")
        kept = newest.domains if domains is None else domains
        return self._make(state, newest.site, kept, author, (now, min(signs_from, max(now, newest.not_after))))

    def _make(
        self, state: SiteState, site: str, domains: Sequence[str], author: str, times: tuple[float, float]
    ) -> SiteAuthority:
        now, signs_from = times
        key = ec.generate_private_key(ec.SECP256R1())
        pem = profile.authority_certificate(site, domains, key, now)
        root = x509.load_pem_x509_certificate(pem)
        digest = _thumbprint(pem)
        number = digest[:_ID_DIGITS]
        end = root.not_valid_after_utc.timestamp()
        made = SiteAuthority(number, site, digest, now, signs_from, end, tuple(domains))
        place = place_of(number, "key")
        content = {place_of(number, "certificate"): pem, place: self._records.sealed(key_pem(key), place)}
        self._records.apply(
            {(AUTHORITY, number): made},
            author=author,
            note=f"new authority of the site {site}",
            expected=state.version,
            content=content,
        )
        return made

    def roots_pem(self, state: SiteState) -> bytes:
        """All roots that are trusted now, the newest first."""
        return b"".join(self._records.certificate_pem(authority) for authority in state.authorities)

    def endpoint(self, hostname: str, lifetime: float, now: float) -> ServerIdentity:
        """The identity that proves to nodes that they talk to the site: a new one each call, with the root.

        Raises SiteError.
        """
        state = self.state()
        issuer, signer = self._issuer(state, now)
        key = ec.generate_private_key(ec.SECP256R1())
        _must_cover(issuer, (hostname,))
        leaf = profile.sign_endpoint(signer, issuer.site, hostname, key.public_key(), lifetime)
        return ServerIdentity(leaf + self._records.certificate_pem(issuer), key_pem(key))

    def prune(self, now: float) -> bool:
        """Forget what has run out: tokens, roots that nothing leads to any more, keys that sign no more.

        True if there was any.
        """
        state = self.state()
        records, content = self.expired(state, now)
        if not records and not content:
            return False
        self._records.apply(
            records, author=_SERVICE, note="expired entries removed", expected=state.version, content=content
        )
        return True

    def expired(
        self, state: SiteState, now: float
    ) -> tuple[dict[tuple[str, str], Record | None], dict[str, bytes | None]]:
        """The records and contents to remove, as what they were for has run out."""
        records: dict[tuple[str, str], Record | None] = {
            (TOKEN, token.id): None for token in state.tokens.values() if token.expires <= now
        }
        issued = (server for server in state.issued.values() if server.not_after + _KEPT_SECONDS <= now)
        records |= {(ISSUED, server.serial): None for server in issued}
        content: dict[str, bytes | None] = {}
        issuer = state.issuer(now)
        older = [
            authority
            for authority in state.authorities
            if issuer is not None and authority.signs_from < issuer.signs_from
        ]
        for authority in older:
            place = place_of(authority.id, "key")
            if self._records.content(place):
                content[place] = None
            if not _in_use(authority, state, now):
                records[AUTHORITY, authority.id] = None
                content[place_of(authority.id, "certificate")] = None
        return records, content

    # tokens

    def new_token(self, node: str, *, valid: float, author: str, now: float) -> tuple[Token, str]:
        """A token for a node, or with "" for any that is not known yet; the text is shown once and not kept.

        Raises SiteError, StoreFailure.
        """
        state = self.state()
        issuer = self._signing(state, now)
        if node:
            _must_cover(issuer, (node,))
        secret = secrets.token_bytes(_SECRET_BYTES)
        digest = hashlib.sha256(secret).hexdigest()
        made = Token(digest[:_ID_DIGITS], digest, node, now, now + valid, author)
        note = f"token for {node or 'any node'}"
        self._records.apply({(TOKEN, made.id): made}, author=author, note=note)
        return made, f"{TOKEN_FORM}.{_text(secret)}.{_text(bytes.fromhex(issuer.sha256))}"

    def remove_token(self, number: str, *, author: str) -> Token:
        """Take back a token that was not used. Raises SiteError if there is none."""
        token = self.state().tokens.get(number)
        if token is None:
            raise SiteError(f"there is no open token {number!r}; see `gatepost site status`")
        self._records.apply({(TOKEN, number): None}, author=author, note="token removed")
        return token

    # nodes

    def join(self, secret: bytes, request_pem: bytes, *, lifetime: float, now: float) -> NodeGrant:
        """Use up a token for a node. The same node may ask again with the same key: the answer may have been lost.

        Raises JoinRefused, SiteError, StoreFailure.
        """
        name, key = _read_request(request_pem)
        digest = hashlib.sha256(secret).hexdigest()
        admission = _admission(digest, key)

        def attempt() -> NodeGrant:
            state = self.state()
            known = state.nodes.get(name)
            if known is not None and known.admission == admission and now - known.joined < REPEAT_SECONDS:
                return self._certify(state, known, key, (lifetime, now, f"{name} asked again for its certificate"))
            token = _token(state, digest, name, now)
            note = f"{name} joined with token {token.id} of {token.by}"
            node = Node(name, (), "", now, now, 0.0, admission)
            return self._certify(state, node, key, (lifetime, now, note), token)

        return _again(attempt)

    def renew(self, chain: Sequence[bytes], request_pem: bytes, *, lifetime: float, now: float) -> NodeGrant:
        """A new certificate for who proves with the last one, or the one that it was got with, to be a node.

        However many answers are lost, the certificate that was presented stays good; a copy of the node that renews by
        it in its turn ends that, so one of two machines is refused. chain: as it was presented, DER.

        Raises JoinRefused, SiteError, StoreFailure.
        """
        name, key = _read_request(request_pem)

        def attempt() -> NodeGrant:
            state = self.state()
            node = self._proven(state, chain, now)
            if node.name != name:
                raise JoinRefused(SiteRefusal.REQUEST, f"{node.name} asked for a certificate for {name}")
            since = now - node.renewed
            if -SKEW_SECONDS <= since < least_pause(lifetime):  # before that a clock was ahead, which was set right
                raise JoinRefused(SiteRefusal.EARLY, f"{name} asked again after {since:.0f} s")
            proven = replace(node, thumbprints=(hashlib.sha256(chain[0]).hexdigest(),), admission="")
            return self._certify(state, proven, key, (lifetime, now, f"{name} renewed"))

        return _again(attempt)

    def certify_own(self, name: str, request_pem: bytes, *, lifetime: float, now: float, author: str) -> NodeGrant:
        """A certificate for the node where the authority is kept. Raises SiteError, StoreFailure."""
        text, key = _read_request(request_pem)
        if text != name:
            raise SiteError(f"the request is for {text}, not for {name}")

        def attempt() -> NodeGrant:
            state = self.state()
            node = state.nodes.get(name, Node(name, (), "", now, now, 0.0))
            note = f"{name} renewed" if node.thumbprints else f"{name}, where the authority is kept"
            return self._certify(state, node, key, (lifetime, now, note), author=author)

        return _again(attempt)

    def remove_node(self, name: str, *, author: str, note: str = "") -> Node:
        """Renew nothing for a node any more, and revoke open tokens for it. Raises SiteError if there is none."""
        state = self.state()
        node = state.nodes.get(name)
        if node is None:
            raise SiteError(f"there is no node {name!r}; there are: {', '.join(sorted(state.nodes)) or 'none'}")
        gone: dict[tuple[str, str], Record | None] = {(NODE, name): None}
        gone |= {(TOKEN, token.id): None for token in state.tokens.values() if token.node == name}
        self._records.apply(gone, author=author, note=note or f"{name} removed")
        return node

    def _certify(
        self,
        state: SiteState,
        node: Node,
        key: profile.PublicKey,
        asked: tuple[float, float, str],
        token: Token | None = None,
        author: str = _SERVICE,
    ) -> NodeGrant:
        lifetime, now, note = asked
        issuer, signer = self._issuer(state, now)
        _must_cover(issuer, (node.name,))
        pem = profile.sign_node(signer, issuer.site, node.name, key, lifetime)
        end = x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()
        before = node.thumbprints[:1]
        record = replace(node, thumbprints=(_thumbprint(pem), *before), authority=issuer.id, renewed=now, not_after=end)
        records: dict[tuple[str, str], Record | None] = {(NODE, node.name): record}
        if token is not None:
            records[TOKEN, token.id] = None
        grant = NodeGrant(issuer.site, pem, self.roots_pem(state), node.name)  # before the token is used up
        self._records.apply(records, author=author, note=note, expected=state.version)
        return grant

    def _proven(self, state: SiteState, chain: Sequence[bytes], now: float) -> Node:
        roots = [
            x509.load_pem_x509_certificate(self._records.certificate_pem(authority)) for authority in state.authorities
        ]
        if not roots:
            raise JoinRefused(SiteRefusal.BUSY, "the authority no longer exists")
        anchors = TrustAnchors([root.public_bytes(Encoding.DER) for root in roots], "site")
        verdict = judge(chain, anchors, now=now, purpose="client")
        if not verdict.trusted:
            raise JoinRefused(SiteRefusal.NODE, f"the presented certificate was rejected: {verdict.detail}")
        site, path = profile.site_of(chain[0])
        kind, _, name = path.partition("/")
        node = state.nodes.get(name) if (site, kind) == (state.authorities[0].site, "node") else None
        if node is None:
            raise JoinRefused(SiteRefusal.NODE, f"{path or 'the client'} is not a node of this site")
        if hashlib.sha256(chain[0]).hexdigest() not in node.thumbprints:
            raise JoinRefused(
                SiteRefusal.NODE,
                f"{node.name} presented neither its last certificate nor the one that it got this one with: has another"
                " machine its name, or is one a copy of it?",
            )
        return node

    # other servers

    def issue(self, names: Sequence[str], key: profile.PublicKey, *, lifetime: float, author: str, now: float) -> bytes:
        """A certificate for a server that is not a node, PEM; its root is the newest of `roots_pem`'s that signs now.

        Raises SiteError, StoreFailure.
        """
        state = self.state()
        issuer, signer = self._issuer(state, now)
        _must_cover(issuer, names)
        pem = profile.sign_server(signer, names, key, lifetime)
        made = x509.load_pem_x509_certificate(pem)
        end = made.not_valid_after_utc.timestamp()
        serial = f"{made.serial_number:x}"
        record = IssuedServer(serial, tuple(names), _thumbprint(pem), issuer.id, now, end)
        self._records.apply({(ISSUED, serial): record}, author=author, note=f"issued for {names[0]}")
        return pem

    def issuing_root_pem(self, now: float) -> bytes:
        """The root that signs now. Raises SiteError."""
        return self._records.certificate_pem(self._signing(self.state(), now))

    def _issuer(self, state: SiteState, now: float) -> tuple[SiteAuthority, profile.Signer]:
        authority = self._signing(state, now)
        return authority, self._records.signer(authority, now)

    def _signing(self, state: SiteState, now: float) -> SiteAuthority:
        authority = state.issuer(now)
        if authority is None:
            if any(now < authority.not_after for authority in state.authorities):
                raise SiteError("the authority of the site does not sign yet: is the clock of this machine behind?")
            if state.authorities:
                raise SiteError("the authority of the site has expired: gatepost site init --replace")
            raise SiteError("no site has its authority here; run the command where it is, or gatepost site init first")
        return authority


def read_token(text: str) -> tuple[str, str]:
    """A token's secret, as it is sent, and the thumbprint of the root. Raises SiteError, which does not show it."""
    form, _, rest = text.strip().partition(".")
    secret, _, root = rest.partition(".")
    try:
        parts = _bytes(secret), _bytes(root)
    except ValueError:
        parts = b"", b""
    if form != TOKEN_FORM or [len(part) for part in parts] != [_SECRET_BYTES, 32]:
        raise SiteError(
            f"this is not a join token: one begins with {TOKEN_FORM}. and is one line of `gatepost site token`"
        )
    return secret, parts[1].hex()


def read_secret(text: str) -> bytes:
    """The secret as it was sent. Raises JoinRefused."""
    try:
        return _bytes(text)
    except ValueError as error:
        raise JoinRefused(SiteRefusal.TOKEN, "the text sent as a token is not one") from error


def _text(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)


def least_pause(lifetime: float) -> float:
    """Seconds for which a node waits at least between two certificates. lifetime: of them, seconds."""
    return min(_EARLY_SECONDS, lifetime / _EARLY_PART)


def _admission(digest: str, key: profile.PublicKey) -> str:
    """Who joins, by the token's digest and the key: the token alone, which may be read on its way, is not enough."""
    octets = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(bytes.fromhex(digest) + octets).hexdigest()


def _thumbprint(pem: bytes) -> str:
    return hashlib.sha256(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)).hexdigest()


def _token(state: SiteState, digest: str, name: str, now: float) -> Token:
    tokens = [candidate for candidate in state.tokens.values() if hmac.compare_digest(candidate.sha256, digest)]
    if not tokens:
        raise JoinRefused(SiteRefusal.TOKEN, f"{name} has no open token: it was used, taken back, or never existed")
    token = tokens[0]
    if token.expires <= now:
        raise JoinRefused(SiteRefusal.TOKEN, f"{name} came with token {token.id}, which has expired")
    if token.node not in {"", name}:
        raise JoinRefused(SiteRefusal.TOKEN, f"{name} came with token {token.id}, which is for {token.node}")
    if not token.node and state.is_taken(name, now):
        what = "a node" if name in state.nodes else "a server with a certificate of this site"
        raise JoinRefused(SiteRefusal.TAKEN, f"{name} is {what} already, and token {token.id} is not for it by name")
    return token


def _read_request(pem: bytes) -> tuple[str, profile.PublicKey]:
    """Host name and key of a request for a node's certificate; all else in it is ignored."""
    try:
        request = x509.load_pem_x509_csr(pem)
        key = request.public_key()
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        values = names.get_values_for_type(x509.DNSName)
        good = request.is_signature_valid and isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
        if not good or len(values) != 1:
            raise ValueError("it needs one DNS name, and the signature of its own key")
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in {"secp256r1", "secp384r1"}:
            raise ValueError("its key must be of P-256 or P-384")
        return domain_name(values[0]), key
    except (x509.ExtensionNotFound, *MALFORMED) as error:
        raise JoinRefused(SiteRefusal.REQUEST, f"the request cannot be used: {error}") from error


def _must_cover(issuer: SiteAuthority, names: Sequence[str]) -> None:
    outside = [name for name in names if not any(covers(f"*.{domain}", name) for domain in issuer.domains)]
    if outside and issuer.domains:
        limits = ", ".join(issuer.domains)
        why = f"the authority may issue only for names in {limits}, and {outside[0]} is not one"
        raise JoinRefused(SiteRefusal.REQUEST, why)


def _in_use(authority: SiteAuthority, state: SiteState, now: float) -> bool:
    if authority.not_after <= now:
        return False
    live: list[Node | IssuedServer] = [*state.nodes.values(), *state.issued.values()]
    return any(certificate.authority == authority.id and certificate.not_after > now for certificate in live)


def _again[T](attempt: Callable[[], T]) -> T:
    """Others may change the configuration at the same time; then everything is looked at anew."""
    for _ in range(_TRIES):
        try:
            return attempt()
        except ConfigConflict:
            continue
    raise JoinRefused(
        SiteRefusal.BUSY, "gave up after repeated conflicts: others changed the configuration at each try"
    )
