"""The words of an explanation that the command line and the page share. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatepost.connectors.units import format_duration
from gatepost.connectors.values import Mode
from gatepost.policy.outbound import describe

if TYPE_CHECKING:
    from gatepost.connectors.hook_index import AskedHook
    from gatepost.policy.decision import OutboundDecision
    from gatepost.policy.requirement import Requirement

__all__ = ["KINDS", "RESULTS", "demand_words", "hook_words", "way_words"]

KINDS: Final = {
    "no-starttls": "no STARTTLS offered",
    "handshake-fails": "handshake fails",
    "tls-1.1-only": "TLS 1.1 only",
    "self-signed": "self-signed",
    "unknown-root": "unknown root",
    "chain-incomplete": "chain incomplete",
    "expired": "expired",
    "revoked": "revoked",
    "revocation-unknown": "revocation unknown",
    "wrong-name": "wrong name",
    "no-requiretls": "no REQUIRETLS offered",
}
RESULTS: Final = {
    "delivered": "delivered",
    "delivered-in-clear": "delivered in clear",
    "delivered-in-clear-later": "waits, then delivered in clear by a later attempt",
}
_WAYS: Final = {
    "mailbox": "into the mailbox {}",
    "lmtp": "over LMTP to {}",
    "internal": "to the node {}",
    "smart-hosts": "to the smart hosts {}",
    "mx": "to the MX hosts of {}",
}


def hook_words(asked: AskedHook) -> str:
    """Who will be asked about the content, and what happens without an answer."""
    hook = asked.hook
    whose = f"{hook.name} of {asked.organization}"
    trial = " (in rehearsal)" if hook.mode is Mode.REHEARSE else ""
    without = f"without its answer within {format_duration(hook.timeout)}: {hook.on_failure}"
    return f"{whose}{trial}: {hook.type} at {hook.address} is asked when the message has come; {without}"


def way_words(outbound: OutboundDecision) -> str:
    """Where mail goes, or why nowhere."""
    if outbound.reply is not None:
        verb = "waits with" if outbound.reply.transient else "returned with"
        return f"nowhere, {verb} {outbound.reply.text}"
    return _WAYS[outbound.way].format(", ".join(outbound.next_hops))


def demand_words(requirement: Requirement) -> str:
    """What the way must achieve, and who asks it."""
    sources = ", ".join(str(source) for source in requirement.sources)
    return f"{describe(requirement)}  (asked by {sources})"
