"""DMARC records as values (RFC 9989 section 4.7).

Used by `protocols.dmarc.discovery`. Tags that only concern reports are not read, but for rua, whose presence makes up
for a bad policy.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.protocols.dkim.tags import read_tags

if TYPE_CHECKING:
    from collections.abc import Sequence


_POLICIES: Final = frozenset({"none", "quarantine", "reject"})
_VERSION: Final = re.compile(rb"v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
_LONGEST: Final = 8192  # octets of a record that is read


class DmarcRecord(msgspec.Struct, frozen=True):
    """policy, subdomain_policy, missing_policy: p=, sp= and np=, "" where not said. strict_dkim, strict_spf: alignment.

    psd: "y", "n" or "u". testing: t=y, the policy is not to be applied in full.
    """

    policy: str
    subdomain_policy: str = ""
    missing_policy: str = ""
    strict_dkim: bool = False
    strict_spf: bool = False
    psd: str = "u"
    testing: bool = False

    def policy_for(self, *, own: bool, exists: bool) -> str:
        """own: the record is that of the author's domain itself. exists: that domain exists in the DNS."""
        if own:
            return self.policy
        missing = "" if exists else self.missing_policy
        return missing or self.subdomain_policy or self.policy


def parse_dmarc(texts: Sequence[bytes]) -> DmarcRecord | None:
    """The DMARC record among the TXT records of a name; None if there is none, or several (section 4.10)."""
    records = [record for record in map(_parsed, texts) if record is not None]
    return records[0] if len(records) == 1 else None


def _parsed(text: bytes) -> DmarcRecord | None:
    if not _VERSION.match(text) or not text.isascii() or len(text) > _LONGEST:
        return None
    try:
        tags = {name.lower(): value for name, value in read_tags(text.decode("ascii"), "the record").items()}
    except ValueError:
        return None
    policy = tags.get("p", "").lower()
    if policy not in _POLICIES:
        if not tags.get("rua"):
            return None
        policy = "none"
    return DmarcRecord(
        policy,
        _policy(tags, "sp"),
        _policy(tags, "np"),
        tags.get("adkim", "").lower() == "s",
        tags.get("aspf", "").lower() == "s",
        _psd(tags),
        tags.get("t", "").lower() == "y",
    )


def _policy(tags: dict[str, str], name: str) -> str:
    value = tags.get(name, "").lower()
    return value if value in _POLICIES else ""


def _psd(tags: dict[str, str]) -> str:
    value = tags.get("psd", "").lower()
    return value if value in {"y", "n"} else "u"
