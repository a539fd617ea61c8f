"""Make a TLS report of ours, from counts to gzip, and schedule it (RFC 8460 sections 4.4, 4.5, 5.1, 5.5).

Called by `analysis.reports.tlsrpt_sending` and `gatepost report send`. Pure: the same day and domain always make the
same octets under the same name at the same time of day, so that whoever gets a report twice can see that it is one.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote

import msgspec

CONTENT_TYPE: Final = "application/tlsrpt+gzip"

GRACE: Final = 900.0
"""Seconds after the end of a day before its reports: workers write their last counts, and clocks differ."""

_DAY: Final = 86_400.0
_FIRST: Final = 300.0  # seconds before the second try; each further wait is twice as long
_LONGEST: Final = 14_400.0
_GIVE_UP: Final = 86_400.0  # after the first try (section 5.5)


class GivenUp(Exception):  # noqa: N818 - not an error of the program
    """A report has been tried for as long as one is."""


class Reporter(msgspec.Struct, frozen=True):
    """The sender of reports: the fields of section 4.4. submitter: our domain, A-labels (section 5.3)."""

    organization: str
    contact: str
    submitter: str


class Outgoing(msgspec.Struct, frozen=True):
    """One report. report_id: as id-left "@" id-right of RFC 5322. file_name: of section 5.1. content: JSON, packed."""

    domain: str
    submitter: str
    report_id: str
    file_name: str
    document: dict[str, Any]

    @property
    def content(self) -> bytes:
        """As it is sent: JSON, compressed (section 5.2)."""
        text = json.dumps(self.document, separators=(",", ":")).encode("ascii")
        return gzip.compress(text, mtime=0)


def outgoing(report: Mapping[str, Any], reporter: Reporter, day: str, domain: str) -> Outgoing:
    """The report of a UTC day ("2026-11-25") to a policy domain. report: without what says who sends it."""
    name = f"{day.replace('-', '')}x{_digest(reporter.submitter, domain, day).hex()[:24]}"
    report_id = f"{name}@{reporter.submitter}"
    begin = int(_begin(day))
    document = {
        "organization-name": reporter.organization,
        "date-range": report["date-range"],
        "contact-info": reporter.contact,
        "report-id": report_id,
        "policies": report["policies"],
    }
    file_name = f"{reporter.submitter}!{domain}!{begin}!{begin + int(_DAY) - 1}!{name}.json.gz"
    return Outgoing(domain, reporter.submitter, report_id, file_name, document)


def due_at(day: str, domain: str, spread: float) -> float:
    """The time to send the report of a day, seconds since 1970: within `spread` seconds after the day and its grace.

    Always the same for a domain, and spread evenly over domains: not all reports come at midnight (section 4.1).
    """
    return _begin(day) + _DAY + GRACE + spread * _fraction(domain)


def back_off(tries: int, salt: str, first: float, now: float) -> float:
    """The time of the next try, seconds since 1970.

    tries: the number of failed tries, the first of which was at `first`. salt: spreads the next tries of reports that
    failed together. Raises GivenUp 24 hours after the first try (section 5.5).
    """
    if now - first >= _GIVE_UP:
        raise GivenUp
    pause = min(_FIRST * 2.0 ** min(tries - 1, 10), _LONGEST)
    return min(now + pause * (1 + _fraction(f"{salt}\n{tries}") / 2), max(first + _GIVE_UP, now + 1))


def mail_address(uri: str) -> str:
    """The address in a mailto: URI (RFC 6068) of `protocols.tlsrpt.record`; what it asks for besides is not done."""
    return unquote(uri[len("mailto:") :].partition("?")[0])


def _begin(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


def _fraction(text: str) -> float:
    """0 to 1, evenly spread, always the same for a text."""
    return int.from_bytes(_digest(text)[:6]) / (1 << 48)


def _digest(*texts: str) -> bytes:
    return hashlib.sha256("\n".join(texts).encode()).digest()
