"""Words that the command line and pages share: of an explanation, and of a trace event's details. Pure.

A trace event holds what strangers wrote: who prints its text makes it harmless for where it is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from gatepost.manage.use_cases.times import stamp
from gatepost.policy.connectors.values import Mode
from gatepost.texts import N_

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


REASON = N_("why")
"""Names a reason of a decision, which is a sentence of ours."""

# Keys of `detail` as a person reads them; the rest are words already.
_LABELS = {
    "content_hooks": N_("content hook"),
    "forged_results": N_("forged results removed"),
    "arc": N_("ARC seal"),
    "arc_unsealed": N_("not sealed"),
    "passed_over": N_("passed over"),
    "would_refuse": N_("would refuse"),
    "would_refuse_connector": N_("in rehearsal"),
    "requirement_sources": N_("required by"),
    "handshake_error": N_("handshake"),
    "classical_only": N_("classical groups only"),
    "starttls_offered": N_("STARTTLS"),
    "next_attempt": N_("next attempt"),
    "reasons": REASON,
    "dsn_passed_on": N_("DSN passed on"),
    "requiretls": N_("REQUIRETLS"),
    "tls_required": N_("TLS-Required"),
    "protection_drop": N_("less than"),
    "handover": N_("between nodes"),
    "journaled": N_("journaled"),
    "journal_waits": N_("journal copy waits after"),
    "journal_failures_to": N_("sent instead to"),
    "journal_message": N_("as message"),
    "quarantine": N_("quarantine of"),
    "holds": N_("held by"),
    "until": N_("expires"),
}
_TIMES = {"not_before", "not_after", "next_attempt", "since", "until"}


def tls_lines(tls: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The facts of a handshake: pairs of a label and a text."""
    for name, value in tls.items():
        if name == "certificate":
            yield from (
                ("certificate", f"{key}: {_shown(key, item)}") for key, item in value.items() if item not in ("", [])
            )
        elif name == "chains":
            for anchors, judged in value.items():
                yield "tls", f"by {anchors}: {', '.join(text for text in judged.values() if text)}"
        elif value != "":
            yield "tls", f"{name}: {_shown(name, value)}"


def detail_lines(detail: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The reasons of a decision and whatever else the event knows: pairs of a label and a text, a list one by one."""
    for name, value in detail.items():
        if name == REASON and value in detail.get("reasons", ()):
            continue  # the last of the reasons, which log lines have alone
        for item in value if isinstance(value, list) else [value]:
            yield _LABELS.get(name, name), _line(name, item)


def _line(name: str, value: Any) -> str:
    if not isinstance(value, dict):
        return _shown(name, value)
    if set(value) == {"connector", "why"}:
        return f"{value['connector']} {value['why']}"
    said = {each: _shown(each, item) for each, item in value.items() if item is not None}
    return "; ".join(f"{each}: {item}" for each, item in said.items() if item)


def _shown(name: str, value: Any) -> str:
    """One value for a person."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return stamp(value) if name in _TIMES and isinstance(value, float) else str(value)
