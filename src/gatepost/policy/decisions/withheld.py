"""Redact a trace row that concerns several organizations to what one of them may see.

Asked by `manage.use_cases.trace` for whoever reads, by `store.evidence_chain` for what is written for good, and by
`mail.outbound.deliverer` for the words that queue and notices have. The stored row keeps all of it, for the gateway's
owner. What is shown is a list of what may be, never of what may not: a new member of `detail` is withheld. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final, Protocol

import msgspec

from gatepost.protocols.smtp.replies import Reply

OTHERS_CONNECTOR: Final = "another organization's connector"
_OTHERS_RULE: Final = "another organization's mail flow rule"
_OUTBOUND: Final = ("connector_organization", "domain_organization")
_INBOUND: Final = "recipient_organization"
_MAY_TELL: Final = (_INBOUND, "connector_of_recipient", "passed_over", "content_hooks")
_WORD: Final = re.compile(r"[a-z0-9-]+")

_HANDED_OVER: Final = (
    "another organization accepts the recipient's domain and decides where its mail goes; the demands of your "
    "organization apply too"
)
# What an attempt says of the message and of its own organization. The rest is about the way, which is another's.
_SHOWN_OUTBOUND: Final[tuple[str, ...]] = (
    "configuration", "sender_demands", "delay", "seconds", "attempt", "next_attempt", "expired", "returned", "author",
    "notice", "reason", "text", "suspended", "requiretls", "starttls_offered", "protection_drop", "handover",
    "reverse_path", "journal", "journal_failures_to", "journal_waits",
)  # fmt: skip
_SHOWN_INBOUND: Final[tuple[str, ...]] = (
    "configuration", "basis", "user", "mechanism", "introduction", "handover", "headers", "internal", "requiretls",
    "tls_required", "transcript", "journaled",
)  # fmt: skip
# What the queue keeps of a session beside that.
_SHOWN_SESSION: Final[tuple[str, ...]] = (
    "hello", "peer", "tls", "connector", "requirement", "transcribed", "notice_about", "notice_about_message_id",
    "tls_report", "journal",
)  # fmt: skip
_SHOWN_TLS: Final[tuple[str, ...]] = ("version", "suite", "group", "signature", "resumed", "chain")

_TAKEN = "Taken over for the recipient's organization"
_TEXTS: Final = {
    "4.4.317": "Cannot establish a session as required",
    "4.7.320": "Certificate validation failed",
    "4.7.8": "Cannot log in to the next hop",
    "4.7.5": "Remote certificate failed MTA-STS validation",
}
_WAITS = "The mail cannot be handed over to the recipient's organization now"
_REFUSED = "The recipient's organization, or its server, did not take the mail"


class Hidden(msgspec.Struct, frozen=True):
    """The parts that a reader must not see.

    names: of organizations. anchors: the only trust anchors of connectors that it may see.
    """

    names: frozenset[str] = frozenset()
    anchors: frozenset[str] = frozenset()


class Row(Protocol):
    """The fields of a row that are read here: see `mail.model.trace_event.TraceEvent`."""

    organization: str
    requirement: str
    connector: str
    tls: dict[str, Any]
    detail: dict[str, Any]


def named_in(detail: Mapping[str, Any]) -> frozenset[str]:
    """The other organizations whose connector, mailbox or rule a row tells of."""
    return frozenset(str(detail[name]) for name in (*_OUTBOUND, _INBOUND) if detail.get(name))


def concerns_others(detail: Mapping[str, Any]) -> bool:
    """Whether another organization says which way mail goes, by the detail of an attempt."""
    return any(map(detail.get, _OUTBOUND))


def public_reply(reply: Reply) -> Reply:
    """The code and status of a reply about another organization's way, in words that name nothing of it."""
    if reply.positive:
        return Reply(reply.code, reply.enhanced, (_TAKEN,))
    known = _TEXTS.get(f"4{reply.enhanced[1:]}")
    return Reply(reply.code, reply.enhanced, (known or (_REFUSED if reply.permanent else _WAITS),))


def without_others(row: Row, hidden: Collection[str] = ()) -> dict[str, Any]:
    """The fields of a row that are to be replaced where what it tells of others is not to be seen; {} for none.

    hidden: names of organizations that no sentence may have, beside those that the row itself says it tells of.
    """
    detail = row.detail
    if concerns_others(detail):
        return _outbound(row, _names(detail, row.organization, hidden))
    if not _may_tell_of_others(detail, hidden):
        return {}
    shown = {"detail": _inbound(detail, row.organization, hidden)}
    if detail.get("connector_of_recipient"):  # the client is known by none of its own organization
        return shown | {"connector": "", "requirement": _level(row.requirement)}
    return shown


def _may_tell_of_others(detail: Mapping[str, Any], hidden: Collection[str]) -> bool:
    """Whether anything of how a message came may have to be left out; for most mail nothing has."""
    return bool(hidden) or any(map(detail.get, _MAY_TELL))


def inbound_without_others(inbound: dict[str, Any], organization: str, hidden: Hidden) -> dict[str, Any]:
    """The same of what the queue keeps of the session that a message came by."""
    shown = {name: inbound[name] for name in _SHOWN_SESSION if name in inbound} if inbound.get(_INBOUND) else {}
    shown |= _inbound(inbound, organization, hidden.names)
    if inbound.get("connector_of_recipient"):
        shown["connector"] = ""
    return shown | {"tls": own_chains(inbound["tls"], hidden)} if "tls" in inbound else shown


def own_chains(tls: dict[str, Any], hidden: Hidden) -> dict[str, Any]:
    """A handshake without the chain as judged by the trust anchors of others' connectors: they are named there."""
    if "chains" not in tls:
        return tls
    return tls | {"chains": {name: chain for name, chain in tls["chains"].items() if name in hidden.anchors}}


def _names(detail: Mapping[str, Any], organization: str, hidden: Collection[str]) -> frozenset[str]:
    """Of organizations, in lower case: those that are hidden anyway, and whose part a row tells of."""
    return frozenset(text.lower() for text in (*hidden, *named_in(detail))) - {organization.lower()}


def _outbound(row: Row, names: Collection[str]) -> dict[str, Any]:
    detail = row.detail
    shown = {name: detail[name] for name in _SHOWN_OUTBOUND if name in detail}
    shown["reasons"] = [_HANDED_OVER]
    if sources := detail.get("requirement_sources"):
        shown["requirement_sources"] = list(dict.fromkeys(_source(str(source), names) for source in sources))
    return {
        "connector": "",
        "peer_host": "",
        "peer_address": "",
        "requirement": _level(row.requirement),
        "tls": {name: row.tls[name] for name in _SHOWN_TLS if name in row.tls},
        "detail": shown | {"withheld": OTHERS_CONNECTOR},
    }


def _level(requirement: str) -> str:
    """A requirement without what others' connectors say of it: "authenticated" of "authenticated(a.b) with …"."""
    return requirement.partition("(")[0].partition(" ")[0]


def _source(source: str, names: Collection[str]) -> str:
    """Name the source of a demand; one of another organization without its name."""
    if any(source.lower().endswith(f" of {name}") for name in names):
        return _OTHERS_RULE if source.startswith("rule:") else OTHERS_CONNECTOR
    return source


def _inbound(detail: Mapping[str, Any], organization: str, hidden: Collection[str]) -> dict[str, Any]:
    """Of how a message came: what was said before the recipient's organization was asked, where that is another."""
    names = _names(detail, organization, hidden)
    return _said(_before_recipient(detail) if detail.get(_INBOUND) else detail, names, organization)


def _before_recipient(detail: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: detail[name] for name in _SHOWN_INBOUND if name in detail}
    own = int(detail.get("own_reasons", 0))
    shown["reasons"] = [*detail.get("reasons", ())[:own], "another organization accepts the recipient's domain"]
    for name in ("passed_over", "content_hooks"):
        if name in detail:
            shown[name] = detail[name]
    return shown


def _said(detail: Mapping[str, Any], names: Collection[str], own: str) -> dict[str, Any]:
    """A detail without sentences that name others, their connectors and hooks."""
    shown = dict(detail)
    for name in ("reasons", "why"):
        said = shown.get(name)
        if isinstance(said, list):
            shown[name] = [candidate for candidate in said if _is_free(str(candidate), names)]
        elif said is not None and not _is_free(str(said), names):
            del shown[name]
    if "passed_over" in shown:
        shown["passed_over"] = [candidate for candidate in shown["passed_over"] if _is_own(candidate, names, own)]
    if "content_hooks" in shown:
        shown["content_hooks"] = [hook for hook in shown["content_hooks"] if hook.get("organization", own) == own]
    return shown


def _is_free(text: str, names: Collection[str]) -> bool:
    """Whether a sentence names nobody. One too many is left out where a name is a common word."""
    return not any(name in names for name in _WORD.findall(text.lower()))


def _is_own(passed_over: Mapping[str, str], names: Collection[str], own: str) -> bool:
    label, why = str(passed_over.get("connector", "")), str(passed_over.get("why", ""))
    return (not own or label.endswith(f" of {own}")) and _is_free(why, names)
