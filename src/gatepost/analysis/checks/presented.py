"""A hypothetical session: an uploaded certificate and an address as the facts that policy decides on.

Called by `manage.use_cases.validation`. The chain is judged as `node.assembly` judges those of real sessions: by the
server's own trust anchors and by those that connectors name.
"""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.analysis.checks.validation import CannotValidate
from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.certificate import MALFORMED, quietly
from gatepost.net.chain import judge
from gatepost.policy.connectors.facts import SessionFacts
from gatepost.policy.connectors.values import ProfileName, TlsVersion
from gatepost.protocols.tls.facts import ChainVerdict, Revocation, TlsFacts
from gatepost.protocols.tls.limits import POST_QUANTUM
from gatepost.protocols.tls.profile import PROFILES, iana_name
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatepost.policy.connectors.directory import Directory


_DEFAULT = PROFILES[ProfileName.DEFAULT]


def assumed_agreement(version: str) -> tuple[str, str]:
    """Key exchange and cipher suite that a current client and the gateway agree on; "" for a suite of old versions."""
    if version == TlsVersion.TLS_1_3:
        return POST_QUANTUM[0], iana_name(_DEFAULT.suites13.partition(":")[0])
    suite = _DEFAULT.suites12.partition(":")[0] if version == TlsVersion.TLS_1_2 else ""
    return "X25519", iana_name(suite) if suite else ""


def presented_session(
    pem: bytes, ip: str, directory: Directory, anchors: str, *, now: float, version: str = "TLSv1.3"
) -> SessionFacts:
    """The session of a client at `ip` over TLS with the certificates in `pem`, leaf first; b"" for none.

    anchors: the server's own. Raises CannotValidate if the address or a certificate is none.
    """
    try:
        address = str(ipaddress.ip_address(ip))
    except ValueError:
        raise CannotValidate(f"{ip!r} is not an IP address", "ip") from None
    chain = _certificates(pem) if pem else ()
    group, suite = assumed_agreement(version)
    tls = TlsFacts(version, suite, group, "", resumed=False, server_name="", peer_chain=chain)
    if not chain:
        return SessionFacts("", address, "", tls)
    own = _judged(chain, anchors, now)
    names = directory.client_anchors(own.leaf if own is not None else None)
    chains = {name: verdict for name in names if (verdict := _judged(chain, name, now))}
    return SessionFacts("", address, "", tls, own, chains)


async def checked_session(
    session: SessionFacts, directory: Directory, check: Callable[[ChainVerdict], Awaitable[Revocation]]
) -> SessionFacts:
    """The same session after the question for revocation, of the chains that `mail.inbound.record` asks for."""
    leaf = session.client_chain.leaf if session.client_chain else None
    names = directory.revocation_anchors(leaf) if leaf else frozenset()
    chains = {name: chain for name in names if (chain := session.chain(name)) is not None and chain.trusted}
    revocations = await asyncio.gather(*(check(chain) for chain in chains.values()))
    checked = {
        name: chain.checked(revocation, hard_fail=False)
        for (name, chain), revocation in zip(chains.items(), revocations, strict=True)
    }
    own = checked.pop("", session.client_chain)
    return replace(session, client_chain=own, chains={**session.chains, **checked})


def _certificates(pem: bytes) -> tuple[bytes, ...]:
    try:
        with quietly():
            certificates = x509.load_pem_x509_certificates(pem)
            return tuple(certificate.public_bytes(Encoding.DER) for certificate in certificates)
    except MALFORMED:
        text = "it contains no readable PEM certificate; give the client certificate, then its intermediates"
        raise CannotValidate(text, "certificate") from None


def _judged(chain: tuple[bytes, ...], anchors: str, now: float) -> ChainVerdict | None:
    try:
        return judge(chain, TrustAnchors.load(anchors), now=now, purpose="client")
    except AnchorsError:  # a task of its own says so
        return None
