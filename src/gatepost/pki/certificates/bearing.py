"""Find the service's certificates that cover a name, and what a client would find wrong with them.

Used by `node.certificate_manager`, `node.policy_host` and `gatepost domain mta-sts`. The choice itself is made in the
handshake (`net.engine`), by the same names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.net.identity import read_identity
from gatepost.protocols.tls.names import matches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.net.identity import ServerIdentity
    from gatepost.protocols.tls.facts import CertificateFacts


def bearing(identities: Sequence[ServerIdentity], host: str) -> list[CertificateFacts]:
    """The certificates that bear the name `host`, a name in full before a wildcard, as a handshake chooses.

    Raises IdentityError for an identity that cannot be read.
    """
    leaves = [read_identity(identity).leaf for identity in identities]
    exact = [leaf for leaf in leaves if host in leaf.dns_names]
    return exact or [leaf for leaf in leaves if matches(host, leaf)]


def foremost(identities: Sequence[ServerIdentity], host: str) -> list[ServerIdentity]:
    """Those that bear the name `host` first, otherwise in their order: the first is shown to clients without SNI.

    Raises IdentityError for an identity that cannot be read.
    """
    return sorted(identities, key=lambda identity: not bearing([identity], host))
