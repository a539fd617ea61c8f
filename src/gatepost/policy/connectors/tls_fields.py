"""Fields of connectors, of both directions, that limit TLS beyond its version; and the limits that they set.

Parts of `policy.connectors.records`. What makes no sense is refused by `policy.connectors.tls_rules`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from gatepost.policy.connectors.fields import Form, Length, Parsed
from gatepost.policy.connectors.values import KeyExchange
from gatepost.protocols.tls.limits import GROUPS, NO_LIMITS, limited, parse_group, parse_suite

if TYPE_CHECKING:
    from gatepost.policy.connectors.records import InboundConnector, OutboundConnector
    from gatepost.protocols.tls.limits import TlsLimits


Group = Annotated[str, Parsed(parse_group), Form(", ".join(f'"{group}"' for group in GROUPS))]
CipherSuite = Annotated[str, Parsed(parse_suite), Form("IANA or OpenSSL name of a cipher suite")]

MinKeyExchange = Annotated[
    KeyExchange,
    Field(
        description="Weakest key exchange that meets the requirement. classical: whatever the profile allows. "
        "post-quantum: only X25519MLKEM768, which needs TLS 1.3."
    ),
]
Groups = Annotated[
    tuple[Group, ...],
    Length(most=100),
    Field(
        description="Groups for the key exchange. No other key exchange meets the requirement. Their order has no "
        "effect. Empty: whatever the profile allows."
    ),
]
CipherSuites = Annotated[
    tuple[CipherSuite, ...],
    Length(most=100),
    Field(
        description="Cipher suites, of TLS 1.3 and of older versions, as `gatepost tls profiles` lists them. No other "
        "suite meets the requirement, and a version without a listed suite does not either. Their order has no "
        "effect. Empty: whatever the profile allows."
    ),
]


def limits_of(connector: InboundConnector | OutboundConnector) -> TlsLimits:
    """The limits that a connector sets."""
    post_quantum = connector.min_key_exchange is KeyExchange.POST_QUANTUM
    if not (post_quantum or connector.groups or connector.cipher_suites):
        return NO_LIMITS
    return limited(post_quantum=post_quantum, groups=connector.groups, suites=connector.cipher_suites)
