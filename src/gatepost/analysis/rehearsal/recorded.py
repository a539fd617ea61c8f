"""Read the facts that `policy` decides on from a trace row, and what several decisions on such a row come to together.

Used by `analysis.rehearsal.replay`, which decides rows again. No I/O. The inverse of `events.trace` and
`mail.outbound.record`, as far as they keep facts; nothing here guesses what they did not keep. How several possible
decisions become one honest answer is compared by `analysis.rehearsal.blast_radius`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from gatepost.policy.connectors.facts import Introduction, SessionFacts
from gatepost.policy.decisions.facts import HopFacts
from gatepost.policy.decisions.requirement import MxLevel, Requirement
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus, ChainVerdict, TlsFacts
from gatepost.texts import N_
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatepost.mail.model.trace_event import TraceEvent


class Effect(StrEnum):
    """The effect of a decision on a message. UNKNOWN: the stored facts do not suffice."""

    ACCEPTED = N_("accepted")
    REFUSED = N_("refused")
    DELIVERED = N_("delivered")
    HELD = N_("held")
    RETURNED = N_("returned")
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, slots=True)
class Decision:
    """One row decided again.

    owner, connector: the connector that applied and whose it is, "" for none. requirement: in the words of `policy`.
    reply: the refusal's code and text, or what a message is held for ("UntrustedRoot"). result_type: RFC 8460, "".
    rehearsed: the refusal that a connector in rehearsal (`rehearsed_by`) would have given. why: one sentence, for
    UNKNOWN what is missing. refused_by: of mail that came, the recipient's organization, where its rules refuse what is
    another's. demand: an outbound requirement itself, to be compared. others: for UNKNOWN, owner and
    connector of every decision that is possible.
    """

    outcome: Effect
    owner: str = ""
    connector: str = ""
    requirement: str = ""
    reply: str = ""
    result_type: str = ""
    rehearsed: str = ""
    rehearsed_by: str = ""
    why: str = ""
    demand: Requirement | None = None
    others: tuple[tuple[str, str], ...] = ()
    refused_by: str = ""

    @property
    def ways(self) -> set[tuple[str, str]]:
        """Owner and connector of every way that the message could take."""
        return {(self.owner, self.connector), *self.others}

    @property
    def identity(self) -> tuple[Effect, str, str, str, str, str]:
        """The parts that two decisions must share to be the same for a message; the words may differ."""
        return self.outcome, self.owner, self.connector, self.requirement, self.reply[:10], self.rehearsed_by


def settled(decisions: Iterable[Decision], missing: str) -> Decision:
    """The decision if all that are possible agree in what becomes of the message; else that it cannot be told.

    missing: why it cannot. Where only the reasons differ, all of them are told.
    """
    listed = list(decisions)
    first = listed[0]
    if all(decision.identity == first.identity for decision in listed):
        return first
    ways = {(decision.owner, decision.connector, decision.requirement) for decision in listed}
    if len(ways) == 1 and all(decision.outcome is first.outcome for decision in listed):
        replies = dict.fromkeys(decision.reply for decision in listed if decision.reply)
        return replace(first, reply=" or ".join(replies), why=missing)
    others = tuple((decision.owner, decision.connector) for decision in listed)
    owner, connector, requirement = ways.pop() if len(ways) == 1 else ("", "", "")
    demand = first.demand if all(decision.demand == first.demand for decision in listed) else None
    return Decision(Effect.UNKNOWN, owner, connector, requirement, why=missing, demand=demand, others=others)


INBOUND = ("RECEIVE", "REFUSE")
"""Events that tell of an inbound session."""

OUTBOUND = ("SEND", "DELIVER", "DEFER", "FAIL", "EXPIRE")
"""Events that tell of an attempt to deliver."""

NAMES_KEPT = 20
"""Names of a certificate that a row has at most: a certificate of so many may have borne more."""

_MX = {"none": MxLevel.NONE, "mta-sts": MxLevel.MTA_STS, "dnssec": MxLevel.DNSSEC}


def session_facts(event: TraceEvent) -> SessionFacts:
    """The facts of the session of a RECEIVE or REFUSE row."""
    tls = _tls(event.tls)
    login: dict[str, Any] = {key: event.detail[key] for key in ("user", "mechanism") if key in event.detail}
    if "introduction" in event.detail:
        login["introduction"] = Introduction.read(event.detail["introduction"])
    if tls is None:
        return SessionFacts(event.session, event.peer_address, event.peer_host, **login)
    own = _chain(event.tls)
    leaf = own.leaf if own else None
    kept: dict[str, dict[str, str]] = event.tls.get("chains", {})
    chains = {
        name: ChainVerdict(_status(verdict.get("status", "")), verdict.get("detail", ""), leaf)
        for name, verdict in kept.items()
    }
    return SessionFacts(event.session, event.peer_address, event.peer_host, tls, own, chains, **login)


def hop_facts(event: TraceEvent) -> HopFacts | None:
    """The facts of the next hop of an outbound row; None where no connection got as far as EHLO."""
    if event.event not in OUTBOUND or not (event.tls or "starttls_offered" in event.detail):
        return None
    return HopFacts(
        event.peer_host,
        event.peer_address,
        starttls_offered=event.detail.get("starttls_offered", True),
        tls=_tls(event.tls),
        handshake_error=event.detail.get("handshake_error", ""),
        chain=_chain(event.tls),
        mx=_MX.get(event.achieved.partition("/")[0], MxLevel.NONE),
    )


def _tls(record: Mapping[str, Any]) -> TlsFacts | None:
    if not record:
        return None
    return TlsFacts(
        record.get("version", ""),
        record.get("suite", ""),
        record.get("group", ""),
        record.get("signature", ""),
        record.get("resumed", False),
        record.get("server_name", ""),
    )


def _chain(record: Mapping[str, Any]) -> ChainVerdict | None:
    if "chain" not in record:
        return None
    kept: dict[str, Any] | None = record.get("certificate")
    leaf = _certificate(kept) if kept else None
    return ChainVerdict(_status(record["chain"]), record.get("chain_detail", ""), leaf)


def _status(text: str) -> ChainStatus:
    """A status of a newer version counts as INVALID: not trusted."""
    return ChainStatus(text) if text in ChainStatus else ChainStatus.INVALID


def _certificate(kept: Mapping[str, Any]) -> CertificateFacts:
    return CertificateFacts(
        subject=kept.get("subject", ""),
        issuer=kept.get("issuer", ""),
        serial=kept.get("serial", ""),
        common_name=kept.get("common_name") or _common_name(kept.get("subject", "")),
        dns_names=tuple(kept.get("names", ())),
        ip_addresses=tuple(kept.get("ip_addresses", ())),
        sha256=kept.get("sha256", ""),
        sha1=kept.get("sha1", ""),
        spki_sha256=kept.get("spki_sha256", ""),
        not_before=kept.get("not_before", 0.0),
        not_after=kept.get("not_after", 0.0),
        key=kept.get("key", ""),
        uris=tuple(kept.get("uris", ())),
    )


# The subject in RFC 4514's form has its last CN first.
_COMMON_NAME = re.compile(r"(?:^|(?<!\\)[,+])CN=((?:[^,+\\]|\\.)*)")
_ESCAPED = re.compile(r"\\(.)")


def _common_name(subject: str) -> str:
    """The subject's last CN, as `net.certificate` reads it, "" if there is none."""
    match = _COMMON_NAME.search(subject)
    return _ESCAPED.sub(r"\1", match[1]) if match else ""
