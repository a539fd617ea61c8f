"""Narrower limits than a profile's: post-quantum key exchange, groups, cipher suites.

A connector's fields become `TlsLimits` (`policy.connectors.record_fields`), requirements carry them
(`policy.decisions.requirement`), `offer` makes of a profile what a handshake may negotiate under them, and
`TlsLimits.unmet` holds a finished handshake against them. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.protocols.tls.profile import PROFILES, Profile, group_name, iana_name
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.protocols.tls.facts import TlsFacts


_TLS13: Final = "TLSv1.3"
_SHOWN: Final = 3  # entries of a list in a sentence, the rest is counted


def _groups_in(text: str) -> tuple[str, ...]:
    """The groups of OpenSSL's list, in its order, without its marks."""
    return tuple(entry.strip().lstrip("?*") for part in text.split("/") for entry in part.split(":"))


GROUPS: Final = tuple(dict.fromkeys(group for profile in PROFILES.values() for group in _groups_in(profile.groups)))
"""Every group that a profile has, post-quantum ones first, as `TlsFacts.group` names them."""
SUITES: Final = tuple(
    dict.fromkeys(
        iana_name(suite)
        for profile in PROFILES.values()
        for suite in (*profile.suites13.split(":"), *profile.suites12.split(":"))
    )
)
"""Every cipher suite that a profile has, by its IANA name, those of TLS 1.3 first."""
_SPELLINGS: Final = {group.lower(): group for group in GROUPS}
_SUITE_SPELLINGS: Final = {suite.lower(): suite for suite in SUITES} | {
    suite.lower(): iana_name(suite) for profile in PROFILES.values() for suite in profile.suites12.split(":")
}


def is_post_quantum(group: str) -> bool:
    """Whether a group withstands a quantum computer: those with ML-KEM (FIPS 203)."""
    return "MLKEM" in group


POST_QUANTUM: Final = tuple(filter(is_post_quantum, GROUPS))
"""The groups that meet a demand of post-quantum key exchange."""


def parse_group(text: str) -> str:
    """The group that `text` names, whatever its case or library ("secp256r1" is "P-256"). Raises ValueError."""
    known = _SPELLINGS.get(group_name(text.strip().lower()).lower())
    if known is None:
        raise ValueError(f"{text!r} is no group that the gateway negotiates; choose from: {', '.join(GROUPS)}")
    return known


def parse_suite(text: str) -> str:
    """The IANA name of the suite that `text` names, in IANA's or OpenSSL's way. Raises ValueError."""
    known = _SUITE_SPELLINGS.get(text.strip().lower())
    if known is None:
        raise ValueError(
            f"{text!r} is no cipher suite that the gateway negotiates; `gatepost tls profiles` lists them, by names "
            f"such as {SUITES[0]} or ECDHE-RSA-AES256-GCM-SHA384"
        )
    return known


class TlsLimits(msgspec.Struct, frozen=True):
    """The limits that a handshake must keep beyond its version. None: no limit of that kind; (): nothing is allowed.

    post_quantum: only groups of `POST_QUANTUM`. groups, suites: allowed ones, out of `GROUPS` and `SUITES` and in their
    order, which carries no preference; see `limited`.
    """

    post_quantum: bool = False
    groups: tuple[str, ...] | None = None
    suites: tuple[str, ...] | None = None

    @property
    def limits_groups(self) -> bool:
        """Whether the key exchange is limited: only groups count then, no other kind of key exchange."""
        return self.post_quantum or self.groups is not None

    @property
    def allowed_groups(self) -> tuple[str, ...]:
        """The groups that meet the limits."""
        allowed = GROUPS if self.groups is None else self.groups
        return tuple(group for group in allowed if is_post_quantum(group) or not self.post_quantum)

    @property
    def allowed_suites(self) -> tuple[str, ...]:
        """The suites that meet the limits; a limit of groups leaves none without a group (DHE, RSA key exchange)."""
        allowed = SUITES if self.suites is None else self.suites
        return tuple(suite for suite in allowed if not self.limits_groups or not suite.startswith(_GROUPLESS))

    def joined(self, other: TlsLimits) -> TlsLimits:
        """The conjunction of these limits and others: commutative, associative, idempotent."""
        return TlsLimits(
            self.post_quantum or other.post_quantum,
            _common(self.groups, other.groups),
            _common(self.suites, other.suites),
        )

    @property
    def texts(self) -> tuple[str, ...]:
        """The limits in words, whole, each to follow "with": () if there is none."""
        texts = ["post-quantum key exchange"] if self.post_quantum else []
        texts += [f"groups {','.join(self.groups) or 'none'}"] if self.groups is not None else []
        texts += [f"cipher suites {','.join(self.suites) or 'none'}"] if self.suites is not None else []
        return tuple(texts)

    @property
    def expectation(self) -> str:
        """The abilities that a peer must have, as the end of a sentence: "key exchange by P-256 or P-384"."""
        return "; ".join(filter(None, (self._key_exchange(), self._suite())))

    def _key_exchange(self) -> str:
        allowed = _either(self.allowed_groups)
        if self.post_quantum:
            return f"post-quantum key exchange ({allowed})"
        return f"key exchange by {allowed}" if self.groups is not None else ""

    def _suite(self) -> str:
        return f"cipher suite {_either(self.allowed_suites)}" if self.suites is not None else ""

    def unmet(self, tls: TlsFacts) -> UnmetLimit | None:
        """The first limit that a handshake does not keep, None if it keeps all.

        What counts is what the facts prove. Without a known group no limit of groups is met. In TLS 1.3 a resumed
        session has a key exchange, and so a group, of its own (RFC 8446 section 4.2.9: psk_dhe_ke); in TLS 1.2 it goes
        on with the keys, and so with the group, of the handshake that began it, which the library keeps.
        """
        if self.limits_groups and tls.group not in self.allowed_groups:
            return UnmetLimit("key-exchange", self._key_exchange(), tls.group or "none with a group")
        if self.suites is not None and tls.suite not in self.suites:
            return UnmetLimit("cipher-suite", self._suite(), tls.suite)
        return None


class UnmetLimit(msgspec.Struct, frozen=True):
    """kind: "key-exchange" or "cipher-suite". expected: as the end of a sentence. presented: the group or suite."""

    kind: str
    expected: str
    presented: str


NO_LIMITS: Final = TlsLimits()
"""Whatever the profile allows."""

_GROUPLESS = ("TLS_DHE_", "TLS_RSA_")


def limited(*, post_quantum: bool = False, groups: Iterable[str] = (), suites: Iterable[str] = ()) -> TlsLimits:
    """Limits in their one form. groups, suites: as `TlsFacts.group` and `suite` name them; empty is no limit.

    Names that no profile has are left out: `parse_group` and `parse_suite` refuse them before.
    """
    chosen, named = frozenset(groups), frozenset(suites)
    return TlsLimits(
        post_quantum,
        tuple(group for group in GROUPS if group in chosen) if chosen else None,
        tuple(suite for suite in SUITES if suite in named) if named else None,
    )


def offer(profile: Profile, limits: TlsLimits) -> Profile:
    """The profile without what the limits exclude; the order stays. Raises ValueError if nothing can be negotiated.

    A version of which no suite or no group is left is not offered: post-quantum groups need TLS 1.3.
    """
    if limits == NO_LIMITS:
        return profile
    groups = _narrowed_groups(profile.groups, limits)
    if not groups:
        raise ValueError(f"no group is left to negotiate: {limits.expectation}")
    allowed = limits.allowed_suites
    new = [suite for suite in profile.suites13.split(":") if suite in allowed]
    old = [suite for suite in profile.suites12.split(":") if iana_name(suite) in allowed]
    if all(map(is_post_quantum, _groups_in(groups))):
        old = []
    # A list of a version that is not offered stays as it is: no list may be empty.
    narrowed = replace(
        profile,
        min_version=profile.min_version if old else _TLS13,
        max_version=profile.max_version if new else min(profile.max_version, "TLSv1.2"),
        groups=groups,
        suites12=":".join(old) or profile.suites12,
        suites13=":".join(new) or profile.suites13,
    )
    if narrowed.min_version > narrowed.max_version:
        needed = f"for {profile.min_version} or newer" if old else "for TLS 1.3"
        raise ValueError(f"no cipher suite is left to negotiate {needed}: {limits.expectation}")
    return narrowed


def _narrowed_groups(text: str, limits: TlsLimits) -> str:
    """OpenSSL's list without what is excluded; each tuple keeps a group that a key share is sent for."""
    tuples = []
    for part in text.split(" / "):
        kept = [entry for entry in part.split(":") if entry.lstrip("?*") in limits.allowed_groups]
        if kept and not any("*" in entry for entry in kept):
            kept[0] = f"?*{kept[0].lstrip('?')}"
        tuples.append(":".join(kept))
    return " / ".join(filter(None, tuples))


def _common(one: tuple[str, ...] | None, other: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if one is None or other is None:
        return other if one is None else one
    return tuple(entry for entry in one if entry in other)


def _either(names: tuple[str, ...]) -> str:
    """Names in a sentence: "P-256 or P-384", "A, B, C or 4 more"."""
    shown, rest = names[:_SHOWN], len(names) - _SHOWN
    parts = [*shown, *([f"{rest} more"] if rest > 0 else [])] or ["none"]
    return " or ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
