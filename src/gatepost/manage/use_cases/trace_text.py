"""Details of a trace event beyond its columns, as lines for a person: for commands and the admin centre.

Pure. The text holds what strangers wrote: whoever prints it makes it harmless for where it is printed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatepost.manage.use_cases.times import stamp
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


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
