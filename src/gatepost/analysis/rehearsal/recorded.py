"""Read the facts that `policy` decides on from a trace row: of a session or of a next hop.

Used by `analysis.rehearsal.replay`, which decides such rows again. No I/O. The inverse of `events.trace` and
`mail.outbound.record`, as far as they keep facts; nothing here guesses what they did not keep.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gatepost.policy.connectors.facts import Introduction, SessionFacts
from gatepost.policy.decisions.facts import HopFacts
from gatepost.policy.decisions.requirement import MxLevel
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus, ChainVerdict, TlsFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.mail.model.trace_event import TraceEvent


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
