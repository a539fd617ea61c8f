"""The actor of a finding, and how much work it is to fix. Pure.

Used by pages and reports that people sort their work by. The work is a guess by what is to be changed, not by who asks.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from gatepost.analysis.checks import partner_advice as advice
from gatepost.analysis.checks.partner_report import Stage

if TYPE_CHECKING:
    from gatepost.analysis.checks.partner_report import Finding


class Actor(StrEnum):
    """The party that must act."""

    OURS = "ours"
    THEIRS = "theirs"
    NOBODY = ""


class Effort(StrEnum):
    """LOW: a record or a setting. MEDIUM: a new certificate or server setting. HIGH: a project, such as DNSSEC."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    NONE = ""


_OF_ADVICE = {advice.SIGN: Effort.HIGH, advice.BOGUS: Effort.HIGH, advice.REVOKED: Effort.MEDIUM}
_OF_STAGE = {
    Stage.DNS: Effort.LOW,
    Stage.CONNECT: Effort.LOW,
    Stage.EHLO: Effort.LOW,
    Stage.TLS: Effort.MEDIUM,
    Stage.CERTIFICATE: Effort.MEDIUM,
    Stage.DANE: Effort.LOW,
    Stage.MTA_STS: Effort.MEDIUM,
    Stage.REVOCATION: Effort.LOW,
    Stage.REQUIRETLS: Effort.LOW,
    Stage.TLS_RPT: Effort.LOW,
}


def actor_of(finding: Finding) -> Actor:
    """As what to do says it: "Here: …" or "They …"."""
    if not finding.fix:
        return Actor.NOBODY
    return Actor.OURS if finding.fix.startswith("Here:") else Actor.THEIRS


def effort_of(finding: Finding) -> Effort:
    """NONE where there is nothing to do."""
    return _OF_ADVICE.get(finding.fix, _OF_STAGE[finding.stage]) if finding.fix else Effort.NONE
