"""Words of an explanation that the command line and the page share, from its record. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gatepost.policy.connectors.values import Mode
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


KINDS: Final = {
    "no-starttls": N_("no STARTTLS offered"),
    "handshake-fails": N_("handshake fails"),
    "tls-1.1-only": N_("TLS 1.1 only"),
    "no-post-quantum": N_("no post-quantum"),
    "other-groups": N_("other groups only"),
    "other-cipher-suites": N_("other suites only"),
    "self-signed": N_("self-signed"),
    "unknown-root": N_("unknown root"),
    "chain-incomplete": N_("chain incomplete"),
    "expired": N_("expired"),
    "revoked": N_("revoked"),
    "revocation-unknown": N_("revocation unknown"),
    "wrong-name": N_("wrong name"),
    "no-requiretls": N_("no REQUIRETLS offered"),
}
CHECKED_BY: Final = {
    "gateway": N_("SPF, DKIM, DMARC and ARC are checked by the gateway"),
    "rspamd": N_("SPF, DKIM, DMARC and ARC are checked by the rspamd content hook"),
}
"""Who authenticates mail of others, as a sentence, by `authentication_results` of a verdict's record."""
RESULTS: Final = {
    "delivered": N_("delivered"),
    "delivered-in-clear": N_("delivered unencrypted"),
    "delivered-in-clear-later": N_("waits, then delivered unencrypted on a later attempt"),
}
_WAYS: Final = {
    "mailbox": "to the mailbox {}",
    "lmtp": "over LMTP to {}",
    "internal": "to the node {}",
    "smart-hosts": "to the smart hosts {}",
    "mx": "to the MX hosts of {}",
}


def hook_text(asked: Mapping[str, str]) -> str:
    """The scanner of a content hook, and what happens without its answer. asked: of `policy.decisions.decision`."""
    whose = f"{asked['hook']} of {asked['organization']}"
    trial = " (in rehearsal)" if asked["mode"] == Mode.REHEARSE else ""
    without = f"if it does not answer within {asked['timeout']}: {asked['on_failure']}"
    scans = f"{whose}{trial}: {asked['type']} at {asked['address']} scans the message"
    if actions := asked.get("quarantine", ""):
        holds = N_("would hold") if trial else "holds"
        scans += f"; if the result is {actions.replace(', ', ' or ')}, the gateway {holds} it in quarantine"
    return f"{scans}; {without}"


def route_text(outbound: Mapping[str, Any]) -> str:
    """Where mail goes, or why nowhere. outbound: record of an `OutboundDecision`."""
    if reply := outbound.get("reply"):
        return f"no route, {'waits with' if is_transient(reply) else 'returned with'} {reply}"
    way = _WAYS.get(outbound["way"], f"{outbound['way']} {{}}")
    return way.format(", ".join(outbound["next_hops"]))


def demand_text(requirement: str, sources: Iterable[str]) -> str:
    """A requirement and its sources: connectors, rules and policies, or the default."""
    origin = ", ".join(sources)
    return f"{requirement}  ({origin if origin == 'default' else f'required by {origin}'})"


def is_transient(reply: str) -> bool:
    """Whether a reply says that it may go better later (RFC 5321 section 4.2.1)."""
    return reply.startswith("4")


def reply_code_text(reply: str) -> str:
    """Code and enhanced code of a reply that has both: "450 4.4.317"."""
    return " ".join(reply.split()[:2])
