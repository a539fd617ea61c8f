"""The report of a drill: each attack with what was promised and what happened, and the summary.

Made by `analysis.checks.drill`, printed by `manage.cli.connector_drill`, kept by `analysis.checks.evidence`. Pure
values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatepost.analysis.checks.attacks import CONTROL, Attack
from gatepost.policy.connectors.values import Mode
from gatepost.policy.decisions.outbound import describe
from gatepost.policy.decisions.requirement import Opportunistic, Requirement
from gatepost.quantity import quantity
from gatepost.texts import N_, own
from gatepost.times import rfc3339

if TYPE_CHECKING:
    from gatepost.analysis.checks.adversary import Seen
    from gatepost.analysis.checks.drill_context import DrillContext
    from gatepost.policy.connectors.records import OutboundConnector
    from gatepost.protocols.tls.facts import CertificateFacts


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of delivery. number: 1 is the first. reply: what the queue would keep as its last error.

    delivered: the deliverer believes that the message was taken. message: Exchange's word for what was missing, "" if
    none. result_type: RFC 8460, "" unless TLS failed. seen: what the far end was given.
    """

    number: int
    delivered: bool
    reply: str
    message: str
    result_type: str
    seen: Seen


@dataclass(frozen=True, slots=True)
class Played:
    """One attack, carried out. promised: whether the requirement promises to stop it. certificate: what was shown.

    attempts: all that were made, at least one; none follows one in which the message left.
    """

    attack: Attack
    promised: bool
    certificate: CertificateFacts
    attempts: tuple[Attempt, ...]

    @property
    def left(self) -> bool:
        """Whether anything of the message left, or was believed to have."""
        return any(attempt.delivered or attempt.seen.leaked for attempt in self.attempts)

    @property
    def carried_out(self) -> bool:
        """Whether the connection came as far as the attack in every attempt, so that to have held means something."""
        return all(self.attack.crux in attempt.seen.verbs for attempt in self.attempts)

    @property
    def in_clear(self) -> bool:
        """Whether anything of the message left without TLS."""
        return any(attempt.seen.clear.leaked for attempt in self.attempts)

    @property
    def decisive(self) -> Attempt:
        """The attempt in which the message left, else the last."""
        return self.attempts[-1]

    @property
    def happened(self) -> str:
        """In a few words: "waited", "LEFT unencrypted", "LEFT to an impostor, on attempt 2"."""
        if self.attack.key == CONTROL:
            return N_("arrived") if self.left else "did NOT arrive"
        if not self.left:
            return N_("waited")
        return f"LEFT {own(self.where)}"

    @property
    def where(self) -> str:
        """The way on which the message left: "unencrypted", "to an impostor, on attempt 2"."""
        where = N_("unencrypted") if self.in_clear else self.attack.exposure
        if not any(attempt.seen.leaked for attempt in self.attempts):
            where = "somewhere: the far end saw nothing"
        return f"{own(where)}, on attempt {self.decisive.number}" if self.decisive.number > 1 else where

    @property
    def seen(self) -> str:
        """The traffic at the far end: "EHLO, STARTTLS, handshake, EHLO; 2 attempts, 0 MAIL, 0 octets of content"."""
        tries = f"{len(self.attempts)} attempts, " if len(self.attempts) > 1 else ""
        mail = sum(attempt.seen.mail for attempt in self.attempts)
        octets = sum(attempt.seen.octets for attempt in self.attempts)
        return f"{_run_together(self.decisive.seen.verbs)}; {tries}{mail} MAIL, {quantity(octets, 'octet')} of content"

    def record(self) -> dict[str, Any]:
        """As evidence keeps it."""
        return {
            "scenario": self.attack.key,
            "title": self.attack.title,
            "deed": self.attack.deed,
            "promised": self.promised,
            "result": "left" if self.left else "held",
            "happened": self.happened,
            "far_end_saw": self.seen,
            "certificate": _certificate(self.certificate),
            "attempts": [
                {
                    "attempt": attempt.number,
                    "delivered": attempt.delivered,
                    "reply": attempt.reply,
                    "message": attempt.message,
                    "result_type": attempt.result_type,
                    "far_end": attempt.seen.record(),
                }
                for attempt in self.attempts
            ],
        }


@dataclass(frozen=True, slots=True)
class DrillReport:
    """The whole drill. control: without an attack. played: the attacks; () if the control did not arrive.

    at: seconds since 1970. marker: stood in the envelope and in the content of every message. anchors: SHA-256 by name:
    of the drill's own trust anchors, and of those that it stood in for.
    """

    context: DrillContext
    at: float
    marker: str
    anchors: dict[str, str]
    control: Played
    arrived: bool
    played: tuple[Played, ...]

    @property
    def promised(self) -> list[Played]:
        """The attacks that the connector promises to stop."""
        return [candidate for candidate in self.played if candidate.promised]

    @property
    def broken(self) -> list[Played]:
        """Of those, the ones that it did not stop."""
        return [candidate for candidate in self.promised if candidate.left]

    @property
    def void(self) -> list[Played]:
        """Of those promised, the ones that held only because they were not carried out."""
        return [candidate for candidate in self.promised if not candidate.left and not candidate.carried_out]

    @property
    def open(self) -> list[Played]:
        """The attacks that it does not promise to stop, and that took the message."""
        return [candidate for candidate in self.played if not candidate.promised and candidate.left]

    @property
    def passed(self) -> bool:
        """The control arrived, something is promised, and all that is promised was kept."""
        return self.arrived and bool(self.promised) and not self.broken

    @property
    def rehearsing(self) -> bool:
        """Whether real mail is not protected yet."""
        return self.context.connector.mode is Mode.REHEARSE

    @property
    def verdict(self) -> str:
        """The last line: "drill passed: N attacks, 0 messages left…" or "drill FAILED: …"."""
        total, lost = len(self.played), [candidate for candidate in self.played if candidate.left]
        if not self.arrived:
            return "drill FAILED: the message did not arrive even without an attack, so the drill shows nothing"
        if not self.promised:
            clear = sum(scenario.in_clear for scenario in lost)
            return (
                f"drill FAILED: the connector requires no TLS: {len(lost)} of {total} attacks took the message,"
                f" {clear} of them unencrypted"
            )
        if self.broken:
            titles = ", ".join(scenario.attack.title for scenario in self.broken)
            return f"drill FAILED: {len(self.broken)} of {len(self.promised)} attacks took the message: {own(titles)}"
        text = f"drill passed: {quantity(len(self.promised), 'attack')}, 0 messages left"
        if self.open:
            text = f"{own(text)}; {quantity(len(self.open), 'out-of-scope attack')} succeeded"
        return (
            f"{own(text)}; but the connector is in rehearsal: real mail is not protected yet"
            if self.rehearsing
            else text
        )

    @property
    def weaknesses(self) -> list[str]:
        """One sentence for each attack that the connector does not stop."""
        return [
            f"this connector does not protect against '{own(scenario.attack.title)}': {own(scenario.attack.deed)} "
            f"The message left {own(scenario.where)}."
            for scenario in self.open
        ]

    def record(self) -> dict[str, Any]:
        """As evidence keeps it: nothing but text, whole numbers, truth values, lists and tables."""
        context = self.context
        return {
            "at": rfc3339(self.at),
            "configuration": context.directory.version,
            "organization": context.organization,
            "connector": context.connector.name,
            "resource": resource_of(context.connector),
            "requirement": requirement_record(context.requirement),
            "next_hops": [{"host": host, "requirement": describe(demand)} for host, demand in context.demands],
            "trust_anchors": self.anchors,
            "notes": list(context.notes),
            "sender": context.sender,
            "recipient": context.recipient,
            "marker": self.marker,
            "passed": self.passed,
            "verdict": self.verdict,
            "attacks": len(self.played),
            "promised": len(self.promised),
            "messages_left": len([candidate for candidate in self.played if candidate.left]),
            "weaknesses": self.weaknesses,
            "control_arrived": self.arrived,
            "scenarios": [scenario.record() for scenario in (self.control, *self.played)],
        }


def resource_of(connector: OutboundConnector) -> dict[str, Any]:
    """The connector with all its fields, those left to their defaults too."""
    return connector.model_dump(mode="json", by_alias=True, exclude_none=True)


def requirement_record(requirement: Requirement) -> dict[str, Any]:
    """A requirement with all that a drill measures it by."""
    record: dict[str, Any] = {
        "text": describe(requirement),
        "sources": [str(source) for source in requirement.sources],
        "profile": requirement.profile,
        "min_tls_version": getattr(requirement, "min_version", ""),
    }
    if not isinstance(requirement, Opportunistic):
        limits = requirement.limits
        record["min_key_exchange"] = "post-quantum" if limits.post_quantum else "classical"
        record |= {"groups": list(limits.groups)} if limits.groups is not None else {}
        record |= {"cipher_suites": list(limits.suites)} if limits.suites is not None else {}
    if revocation := getattr(requirement, "revocation", ""):
        record["revocation_check"] = str(revocation)
    if isinstance(requirement, Opportunistic):
        record["cleartext"] = str(requirement.cleartext)
    return record


def _certificate(facts: CertificateFacts) -> dict[str, Any]:
    return {
        "subject": facts.subject,
        "issuer": facts.issuer,
        "serial": facts.serial,
        "names": [*facts.dns_names, *facts.ip_addresses],
        "not_before": rfc3339(facts.not_before),
        "not_after": rfc3339(facts.not_after),
        "sha256": facts.sha256,
    }


def _run_together(verbs: list[str]) -> str:
    """As "EHLO, STARTTLS, EHLO"; "nothing" if nothing was said. QUIT is left out, the same again is counted."""
    verbs = [verb for verb in verbs if verb != "QUIT"]
    if not verbs:
        return "nothing"
    for length in range(1, len(verbs) // 2 + 1):
        times, rest = divmod(len(verbs), length)
        if times > 1 and not rest and verbs == verbs[:length] * times:
            return f"{times} x ({', '.join(verbs[:length])})"
    shown = verbs[:12]
    return ", ".join(shown) + (", …" if len(verbs) > len(shown) else "")
