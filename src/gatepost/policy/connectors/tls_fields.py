"""Fields of connectors, of both directions, that limit TLS beyond its version.

Parts of `policy.connectors.records`. What they mean, and which make no sense, is in `policy.connectors.tls_rules`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gatepost.policy.connectors.fields import Form, Length, Parsed
from gatepost.policy.connectors.values import KeyExchange
from gatepost.protocols.tls.limits import GROUPS, parse_group, parse_suite

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
