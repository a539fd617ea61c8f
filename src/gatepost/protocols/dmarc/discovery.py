"""Find the DMARC policy for an author's domain by the DNS tree walk, and judge alignment (RFC 9989 section 4.10).

Driven by `net.lookups.evaluation`, as `protocols.spf.evaluation` is. The tree walk needs no list of public suffixes,
which would be old the day it is installed. At most 8 look-ups for each domain.

Records are values (section 4.7). Tags that only concern reports are not read, but for rua, whose presence makes up for
a bad policy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from gatepost.protocols.dkim.tags import read_tags
from gatepost.protocols.dns.lookups import Evaluation, Query

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
        _policy_tag(tags, "sp"),
        _policy_tag(tags, "np"),
        tags.get("adkim", "").lower() == "s",
        tags.get("aspf", "").lower() == "s",
        _psd(tags),
        tags.get("t", "").lower() == "y",
    )


def _policy_tag(tags: dict[str, str], name: str) -> str:
    value = tags.get(name, "").lower()
    return value if value in _POLICIES else ""


def _psd(tags: dict[str, str]) -> str:
    value = tags.get("psd", "").lower()
    return value if value in {"y", "n"} else "u"


_MOST_LABELS: Final = 8
_KEPT_LABELS: Final = 7  # of a domain with more: the walk leaves out those between
_MOST_DOMAINS: Final = 10  # that are compared with the author's


class Identifier(msgspec.Struct, frozen=True):
    """A domain that was authenticated or not. method: "spf" or "dkim". result: as the method says."""

    method: str
    domain: str
    result: str


class DmarcResult(msgspec.Struct, frozen=True):
    """result: "pass", "fail", "none", "temperror" or "permerror". policy: as published, "" if none. why: a clause."""

    result: str
    policy: str = ""
    why: str = ""


class _NoAnswer(Exception):  # noqa: N818 - it is what was found
    """A look-up failed for now. The text says which."""


type _Walk = list[tuple[str, DmarcRecord]]


def evaluate_dmarc(author: str, identifiers: Sequence[Identifier]) -> Evaluation[DmarcResult]:
    """Evaluate DMARC for the domain of the author, in A-labels."""
    try:
        return (yield from _evaluated(author, identifiers))
    except _NoAnswer as failure:
        return DmarcResult("temperror", "", str(failure))


def _evaluated(author: str, identifiers: Sequence[Identifier]) -> Evaluation[DmarcResult]:
    walk = yield from _walked(author)
    home = _organizational(author, walk)
    applicable = _applicable(author, home, walk)
    if applicable is None:
        return DmarcResult("none")
    record, own = applicable
    policy = yield from _policy(author, record, own=own)
    passed = [identifier for identifier in identifiers if identifier.result == "pass"]
    for domain, strict in _distinct(passed, record):
        if (yield from _is_aligned(author, home, domain, strict=strict)):
            return DmarcResult("pass", policy)
    if any(identifier.result == "temperror" for identifier in identifiers):
        return DmarcResult("temperror", policy, "SPF or DKIM have no result now")
    return DmarcResult("fail", policy, "neither SPF nor DKIM passes for the author's domain")


def _distinct(passed: Sequence[Identifier], record: DmarcRecord) -> list[tuple[str, bool]]:
    """Each domain once with whether its alignment is strict, those that need no look-up first."""
    strict = {"spf": record.strict_spf, "dkim": record.strict_dkim}
    domains = dict.fromkeys((identifier.domain.lower(), strict[identifier.method]) for identifier in passed)
    return list(domains)[:_MOST_DOMAINS]


def _is_aligned(author: str, home: str, domain: str, *, strict: bool) -> Evaluation[bool]:
    """Section 4.4: the same domain, or with relaxed alignment one with the same organizational domain."""
    if domain == author:
        return True
    if strict or not (domain == home or domain.endswith(f".{home}")):
        return False
    walk = yield from _walked(domain)
    return _organizational(domain, walk) == home


def _policy(author: str, record: DmarcRecord, *, own: bool) -> Evaluation[str]:
    exists = True
    if not own and record.missing_policy:
        answer = yield Query(author, "A")
        exists = not answer.nxdomain
    return record.policy_for(own=own, exists=exists)


def _walked(domain: str) -> Evaluation[_Walk]:
    """The records at a domain and above it, the longest name first."""
    walk: _Walk = []
    for name in _names(domain):
        answer = yield Query(f"_dmarc.{name}", "TXT")
        if answer.failure:
            raise _NoAnswer(answer.failure)
        record = parse_dmarc(answer.texts)
        if record is not None:
            walk.append((name, record))
            if record.psd == "n" or (record.psd == "y" and name != domain):
                break
    return walk


def _names(domain: str) -> list[str]:
    labels = domain.split(".")
    names = [domain]
    above = labels[1:] if len(labels) < _MOST_LABELS else labels[-_KEPT_LABELS:]
    return names + [".".join(above[at:]) for at in range(len(above))]


def _organizational(domain: str, walk: _Walk) -> str:
    """Section 4.10.2."""
    for name, record in walk:
        if record.psd == "n":
            return name
        if record.psd == "y" and name != domain:
            labels = domain.split(".")
            return ".".join(labels[-(name.count(".") + 2) :])
    return walk[-1][0] if walk else domain


def _applicable(author: str, home: str, walk: _Walk) -> tuple[DmarcRecord, bool] | None:
    """Section 4.10.1: the record of the author's domain, of its organizational domain, or of the suffix above that."""
    by_name = dict(walk)
    for name in (author, home):
        if name in by_name:
            return by_name[name], name == author
    suffixes = [record for _, record in walk if record.psd == "y"]
    return (suffixes[0], False) if suffixes else None
