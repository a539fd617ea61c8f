"""The report of `gatepost check chain`: findings by part, records to publish, and the overall result.

Pure. `analysis.checks.chain` gathers, `analysis.checks.chain_stages` makes the findings, `manage.cli.check_chain`
prints them.
"""

from __future__ import annotations

import base64
import math
import re
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from gatepost.analysis.checks.partner_report import Mark

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.analysis.checks.chain_facts import ChainFacts, Link, Store, UrlResult
    from gatepost.protocols.tls.facts import CertificateFacts


_MAX_TEXT = 600
_MAX_URL = 200
_PORTS = {"http": 80, "https": 443}
_TLSA_NAMES = 3
_MAX_TITLE = 100
_HOST = re.compile(r"[\w.:-]{1,253}", re.ASCII)  # what may be pasted into another program


class Part(StrEnum):
    """The part of the check, in the order of the report."""

    FILE = "file"
    KEY = "key"
    CHAIN = "chain"
    ROOT = "root"
    DATES = "dates"
    STRENGTH = "strength"
    PURPOSE = "purpose"
    NAMES = "names"
    REVOCATION = "revocation"
    STAPLING = "stapling"
    ISSUERS = "issuers"


class Readiness(StrEnum):
    """Whether a certificate may be put into service."""

    READY = "ready"
    NOT_READY = "not-ready"
    UNKNOWN = "unknown"


class ChainFinding(msgspec.Struct, frozen=True):
    """One thing that was learnt. text: a sentence. evidence: what shows it. fix: what to do, "" if there is nothing.

    options: of `gatepost check chain`, by which the fix is done there ("anchors"); the text names none, as it is shown
    elsewhere, too.
    """

    part: Part
    verdict: Mark
    text: str
    evidence: str = ""
    fix: str = ""
    options: tuple[str, ...] = ()


class ChainCheck(msgspec.Struct, frozen=True):
    """A whole check. seconds: how long it took."""

    facts: ChainFacts
    findings: tuple[ChainFinding, ...]
    seconds: float

    @property
    def outcome(self) -> Readiness:
        """NOT_READY if anything failed, else UNKNOWN if anything could not be told, else READY."""
        counts = self.counts
        if counts[Mark.FAIL]:
            return Readiness.NOT_READY
        return Readiness.UNKNOWN if counts[Mark.UNKNOWN] else Readiness.READY

    @property
    def counts(self) -> Counter[Mark]:
        """The number of findings by verdict."""
        return Counter(finding.verdict for finding in self.findings)

    @property
    def leaf(self) -> CertificateFacts:
        """The certificate that is to be put into service."""
        return self.facts.path[0].facts

    @property
    def last_line(self) -> str:
        """For scripts: always these keys, in this order."""
        counts = self.counts
        return (
            f"verdict={self.outcome} chain={self.facts.verdict.status} days={days_left(self.leaf, self.facts.now)} "
            f"key={self.leaf.key} fails={counts[Mark.FAIL]} warnings={counts[Mark.WARN]} unknown={counts[Mark.UNKNOWN]}"
        )


def title(certificate: CertificateFacts) -> str:
    """The title of a certificate: its common name, else its first name (public authorities leave the former out)."""
    names = (certificate.common_name, *certificate.dns_names[:1], *certificate.ip_addresses[:1], certificate.subject)
    return next(filter(None, names), f"serial {certificate.serial}")[:_MAX_TITLE]


def days_left(certificate: CertificateFacts, now: float) -> int:
    """Whole days until it ends, negative if it has."""
    return math.floor((certificate.not_after - now) / 86400)


def send_order(path: tuple[Link, ...]) -> tuple[Link, ...]:
    """The certificates that a server must send: the leaf, and each issuer below the root (RFC 8446 section 4.4.2)."""
    return (path[0], *(link for link in path[1:] if not link.self_issued))


def firewall_hosts(path: Iterable[Link]) -> tuple[str, ...]:
    """HOST:PORT of all addresses of the path, sorted."""
    urls = (url for link in path for url in (*link.published.crl, *link.published.ocsp, *link.issuers))
    return tuple(sorted(filter(None, {endpoint(url) for url in urls})))


def endpoint(url: str) -> str:
    """HOST:PORT of an address, "" if it has none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return ""
    if not host or not port or not _HOST.fullmatch(host):
        return ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def shown(url: str) -> str:
    """An address that somebody else wrote, for a sentence."""
    return url if len(url) <= _MAX_URL else f"{url[:_MAX_URL]}..."


def tlsa_record(facts: ChainFacts) -> tuple[str, ...]:
    """TLSA records 3 1 1 (RFC 7672 section 3.1.1) as a zone file has them, one for each host name asked about.

    Without such names the first three of the certificate that are no wildcards; HOST stands for one to be filled in.
    """
    leaf = facts.path[0].facts
    own = [name for name in leaf.dns_names if not name.startswith("*")][:_TLSA_NAMES]
    return tuple(f"_25._tcp.{name}. IN TLSA 3 1 1 {leaf.spki_sha256}" for name in facts.names or own or ("HOST",))


def certificate_record(facts: CertificateFacts) -> dict[str, Any]:
    """A certificate as JSON shows it: what a partner needs to know it by."""
    return {
        "subject": facts.subject,
        "issuer": facts.issuer,
        "serial": facts.serial,
        "names": list(facts.dns_names),
        "ip_addresses": list(facts.ip_addresses),
        "key": facts.key,
        "not_before": round(facts.not_before),
        "not_after": round(facts.not_after),
        "sha1": facts.sha1,
        "sha256": facts.sha256,
        "spki_sha256": facts.spki_sha256,
        "spki_pin": base64.b64encode(bytes.fromhex(facts.spki_sha256)).decode("ascii"),
    }


def chain_record(check: ChainCheck) -> dict[str, Any]:
    """The check as JSON shows it. The keys do not change."""
    facts, counts = check.facts, check.counts
    return {
        "file": facts.file.source,
        "kind": "chain",
        "at": round(facts.now, 3),
        "seconds": round(check.seconds, 3),
        "verdict": str(check.outcome),
        "chain": str(facts.verdict.status),
        "chain_detail": facts.verdict.detail,
        "days": days_left(check.leaf, facts.now),
        "fails": counts[Mark.FAIL],
        "warnings": counts[Mark.WARN],
        "unknown": counts[Mark.UNKNOWN],
        "findings": [_finding_record(finding) for finding in check.findings],
        "certificates": [_link_record(link) for link in facts.path],
        "send": [link.facts.sha256 for link in send_order(facts.path)],
        "stores": [_store_record(store) for store in facts.stores],
        "firewall": list(firewall_hosts(facts.path)),
        "tlsa": list(tlsa_record(facts)),
    }


def _finding_record(finding: ChainFinding) -> dict[str, Any]:
    return {
        "part": str(finding.part),
        "verdict": str(finding.verdict),
        "text": finding.text[:_MAX_TEXT],
        "evidence": finding.evidence[:_MAX_TEXT],
        "fix": finding.fix,
    }


def _link_record(link: Link) -> dict[str, Any]:
    return certificate_record(link.facts) | {
        "place": str(link.place),
        "signature": link.signature,
        "must_staple": link.must_staple,
        "addresses": [_answer_record(answer) for answer in link.answers],
    }


def _answer_record(answer: UrlResult) -> dict[str, Any]:
    return {
        "kind": str(answer.kind),
        "url": answer.url,
        "result": str(answer.result),
        "status": answer.status,
        "detail": answer.detail[:_MAX_TEXT],
        "seconds": round(answer.seconds, 3),
        "size": answer.size,
        "this_update": round(answer.since),
        "next_update": round(answer.until),
    }


def _store_record(store: Store) -> dict[str, Any]:
    return {
        "name": store.name,
        "holds_root": store.holds_root,
        "certificates": store.size,
        "missing": store.missing,
    }
