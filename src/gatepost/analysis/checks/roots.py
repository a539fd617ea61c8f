"""`gatepost check roots`: does this machine trust the authorities of a bundle? For the day on which roots change.

Called by `manage.cli.check_chain`. Each certificate of the bundle is looked for by its thumbprint in each store; an
intermediate is trusted if it leads to a root that is. Nothing is fetched.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from gatepost.analysis.checks.chain import link, public_key
from gatepost.analysis.checks.chain_facts import From, Link, Store
from gatepost.analysis.checks.chain_file import CertificateFile, ChainFileError
from gatepost.analysis.checks.chain_report import certificate_record
from gatepost.analysis.checks.partner_report import Mark
from gatepost.net.certificate import MALFORMED, CertificateError, parse, quietly
from gatepost.net.chain import Purpose, judge, strong_key
from gatepost.net.path import issued
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.analysis.checks.chain_stores import RootStores
    from gatepost.net.anchors import TrustAnchors
    from gatepost.protocols.tls.facts import CertificateFacts


MAX_CERTIFICATES = 1000
_MOST_ABOVE = 50
_SOON = 90 * 86400.0  # seconds: a root that ends sooner is told


type _Bundle = Mapping[bytes, list[bytes]]
"""Certificates by their subject, both DER."""


class RootKind(StrEnum):
    """The kind of a certificate in a bundle."""

    ROOT = "root"
    INTERMEDIATE = "intermediate"
    LEAF = "leaf"  # of a server or a client: it does not belong there


@dataclass(frozen=True, slots=True)
class RootRow:
    """One certificate of the bundle.

    stores: which of them hold it, by SHA-256. trusted: this machine would trust what it issues; None: it has ended or
    has not begun, so that nobody asks. verdict, text, fix: what is to be said of it.
    """

    facts: CertificateFacts
    kind: RootKind
    stores: tuple[Store, ...]
    trusted: bool | None
    verdict: Mark
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class RootsCheck:
    """A whole bundle. anchors: name of the store that decides. repeated: certificates that are there more than once."""

    source: str
    anchors: str
    at: float
    rows: tuple[RootRow, ...]
    repeated: int = 0

    @property
    def outcome(self) -> bool:
        """Whether everything in it that is valid now is trusted here."""
        return all(row.trusted is not False for row in self.rows)

    @property
    def counts(self) -> Counter[Mark]:
        """The number of certificates by verdict."""
        return Counter(row.verdict for row in self.rows)

    @property
    def last_line(self) -> str:
        """For scripts: always these keys, in this order."""
        trusted = Counter(row.trusted for row in self.rows)
        return (
            f"verdict={'trusted' if self.outcome else 'not-trusted'} certificates={len(self.rows)} "
            f"trusted={trusted[True]} missing={trusted[False]} ended={trusted[None]} "
            f"warnings={self.counts[Mark.WARN]}"
        )


def check_roots(file: CertificateFile, stores: RootStores, *, now: float) -> RootsCheck:
    """Look at each certificate of a bundle at `now`, seconds since 1970 UTC. Raises ChainFileError."""
    distinct = list(dict.fromkeys(file.certificates))
    if len(distinct) > MAX_CERTIFICATES:
        raise ChainFileError(f"{file.source}: more than {MAX_CERTIFICATES} certificates; divide the file")
    try:
        with quietly():
            bundle: dict[bytes, list[bytes]] = {}
            for der in distinct:
                bundle.setdefault(parse(der).subject.public_bytes(), []).append(der)
            rows = tuple(_row(link(der, From.FILE), bundle, stores, now) for der in distinct)
    except (CertificateError, *MALFORMED) as failure:
        raise ChainFileError(f"{file.source}: a certificate that cannot be read: {failure}"[:500]) from failure
    return RootsCheck(file.source, stores.name, now, rows, len(file.certificates) - len(distinct))


def _row(link: Link, bundle: _Bundle, stores: RootStores, now: float) -> RootRow:
    holding = stores.holding(link.der)
    kind = _kind(link)
    facts = link.facts
    if not facts.not_before <= now <= facts.not_after:
        when = (
            f"expired on {day_text(facts.not_after)}"
            if facts.not_after < now
            else f"begins on {day_text(facts.not_before)}"
        )
        fix = "It no longer proves anything: leave it out." if facts.not_after < now else "Check again then."
        return RootRow(facts, kind, holding, None, Mark.WARN, when, fix)
    if kind is RootKind.ROOT:
        return _root(link, holding, stores, now)
    return _below(link, kind, holding, bundle, stores, now)


def _kind(link: Link) -> RootKind:
    certificate = parse(link.der)
    if link.self_issued and issued(certificate, certificate):
        return RootKind.ROOT
    return RootKind.INTERMEDIATE if link.authority else RootKind.LEAF


def _root(link: Link, holding: tuple[Store, ...], stores: RootStores, now: float) -> RootRow:
    facts = link.facts
    where = [store.name for store in holding if store.holds_root]
    if stores.name in where:
        text, fix = f"it is in {', '.join(where)}", ""
        verdict = Mark.PASS
        if not strong_key(facts.key):
            verdict, fix = Mark.FAIL, "Ask the authority for its present root: RSA-2048 or P-256 is the least."
            text += f"; but its key {facts.key} is too weak, so that nothing below it is trusted"
        elif facts.not_after - now < _SOON:
            verdict, text = Mark.WARN, f"{text}; ends on {day_text(facts.not_after)}"
            fix = "Ask the authority which root follows, and look for that one."
        return RootRow(facts, RootKind.ROOT, holding, strong_key(facts.key), verdict, text, fix)
    if other := _same_authority(link, stores.anchors):
        text = f"not by this thumbprint, but {stores.name} has the same authority (name and key) as {other.upper()}"
        return RootRow(facts, RootKind.ROOT, holding, True, Mark.INFO, text)
    elsewhere = f"; it is in {', '.join(where)}" if where else ""
    fix = (
        "What it issues is not trusted here. If its thumbprint is the one that the authority publishes, put it into "
        "/usr/local/share/ca-certificates as NAME.crt and run update-ca-certificates (Debian, Ubuntu)."
    )
    text = f"it is not in {stores.name}{elsewhere}"
    return RootRow(facts, RootKind.ROOT, holding, False, Mark.FAIL, text, fix)


def _same_authority(one: Link, anchors: TrustAnchors) -> str:
    """SHA-256 of an anchor with the same name and key as a root, "" if there is none."""
    certificate = parse(one.der)
    if certificate.subject.public_bytes() not in anchors.subjects:
        return ""
    key = public_key(certificate)
    for der in anchors.certificates:
        anchor = parse(der)
        if anchor.subject == certificate.subject and public_key(anchor) == key:
            return link(der, From.STORE).facts.sha256
    return ""


def _below(
    link: Link, kind: RootKind, holding: tuple[Store, ...], bundle: _Bundle, stores: RootStores, now: float
) -> RootRow:
    """An intermediate, or what does not belong into a bundle of authorities."""
    chain = _above(link.der, bundle)
    purpose: Purpose = "authority" if kind is RootKind.INTERMEDIATE else "server"
    verdict = judge(chain, stores.anchors, now=now, purpose=purpose, max_chain=len(chain))
    note = "" if kind is RootKind.INTERMEDIATE else "; it is no authority's and need not be in a bundle"
    if verdict.trusted:
        mark = Mark.WARN if note else Mark.PASS
        return RootRow(link.facts, kind, holding, True, mark, f"leads to {verdict.anchor}{note}")
    fix = "Its root must be trusted here first: look at that one's line, or ask the authority for the root."
    return RootRow(link.facts, kind, holding, False, Mark.FAIL, f"{verdict.detail}{note}", fix)


def _above(der: bytes, bundle: _Bundle) -> list[bytes]:
    """A certificate and those of the bundle that may be above it, by their names."""
    result = [der]
    for above in result:  # grows while it is walked through
        if len(result) > _MOST_ABOVE:
            break
        result += [each for each in bundle.get(parse(above).issuer.public_bytes(), ()) if each not in result]
    return result


def roots_record(check: RootsCheck) -> dict[str, Any]:
    """The check as JSON shows it. The keys do not change; trusted: null for what has ended or has not begun."""
    trusted = Counter(row.trusted for row in check.rows)
    return {
        "file": check.source,
        "kind": "roots",
        "at": round(check.at, 3),
        "verdict": "trusted" if check.outcome else "not-trusted",
        "store": check.anchors,
        "trusted": trusted[True],
        "missing": trusted[False],
        "ended": trusted[None],
        "repeated": check.repeated,
        "certificates": [_row_record(row) for row in check.rows],
    }


def _row_record(row: RootRow) -> dict[str, Any]:
    return certificate_record(row.facts) | {
        "kind": str(row.kind),
        "trusted": row.trusted,
        "stores": {store.name: None if store.missing else store.holds_root for store in row.stores},
        "verdict": str(row.verdict),
        "text": row.text,
        "fix": row.fix,
    }
