"""Hold a handshake against the floor of a requirement: the TLS version, the key exchange, the cipher suite.

Used by `policy.decisions.outbound`. Pure. Only what the handshake proved counts (`protocols.tls.facts`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gatepost.policy.decisions.requirement import Opportunistic

if TYPE_CHECKING:
    from gatepost.policy.decisions.requirement import Authenticated, Encrypted, Requirement
    from gatepost.protocols.tls.facts import TlsFacts


_UNMET: Final = {"key-exchange": "KeyExchangeNotAllowed", "cipher-suite": "CipherSuiteNotAllowed"}


class FloorShortfall(NamedTuple):
    """word: as `Shortfall.message`. expected, presented: each the end of a sentence."""

    word: str
    expected: str
    presented: str


def below_floor(requirement: Encrypted | Authenticated, tls: TlsFacts) -> FloorShortfall | None:
    """Find what a handshake lacks, None if it meets the floor. Versions compare as text in their order."""
    if tls.version < requirement.min_version:
        return FloorShortfall("TlsVersionTooOld", f"{requirement.min_version} or newer", tls.version)
    unmet = requirement.limits.unmet(tls)
    if unmet is None:
        return None
    return FloorShortfall(_UNMET[unmet.kind], unmet.expected, f"{unmet.presented}, over {tls.version}")


def floor_text(requirement: Requirement) -> str:
    """The floor as the end of a sentence: "TLSv1.3 or newer; post-quantum key exchange (…)"; "" if there is none."""
    if isinstance(requirement, Opportunistic):
        return ""
    oldest = f"{requirement.min_version} or newer" if requirement.min_version else ""
    return "; ".join(filter(None, (oldest, requirement.limits.expectation)))


def offered_text(requirement: Requirement) -> str:
    """Name the limits that we set in a handshake that failed, beyond the usual: no alert of the peer names them."""
    if floor := floor_text(requirement):
        return f"Expected: {floor}. "
    return "" if requirement.profile == "default" else f"Offered: TLS profile {requirement.profile}. "
