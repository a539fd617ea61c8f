"""The DNS records that a domain should publish, as values.

Made by `manage.use_cases.publication`; `manage.use_cases.dns_checks` compares the DNS with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatepost.manage.use_cases.mta_sts import PublishedPolicy
    from gatepost.policy.connectors.dkim_key import DkimKey


class SectionKey(StrEnum):
    """The sections, in the order in which they matter."""

    MX = "mx"
    TLSA = "tlsa"
    MTA_STS = "mta-sts"
    TLS_RPT = "tls-rpt"
    DKIM = "dkim"
    SPF = "spf"


@dataclass(frozen=True, slots=True)
class ZoneRecord:
    """A line of a zone. note: what tells it from its neighbours, such as "next, from 2026-12-03"."""

    line: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class ZoneSection:
    """A section. why: what it is for. records: () where there is nothing to publish; then `none` says why."""

    key: SectionKey
    title: str
    why: str
    records: tuple[ZoneRecord, ...] = ()
    none: str = ""


@dataclass(frozen=True, slots=True)
class DnsPublication:
    """All of a domain. hosts: ours, that its MX records are to name. policy: None for a pattern of domains."""

    organization: str
    domain: str
    hosts: tuple[str, ...]
    policy: PublishedPolicy | None
    keys: tuple[DkimKey, ...]
    sections: tuple[ZoneSection, ...]

    @property
    def zone(self) -> str:
        """Every line, to be put into a zone file."""
        return "\n".join(record.line for section in self.sections for record in section.records)

    def lines(self, key: SectionKey) -> list[str]:
        """Those of one section."""
        return [record.line for section in self.sections if section.key == key for record in section.records]
