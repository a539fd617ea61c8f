"""Find the mail flow rules for a message and a recipient, and combine their actions (exchange.md section 4).

Rules may send mail by an outbound connector that its domain would not have chosen, may demand TLS of whatever way it
takes, that the content itself is protected, and that it is journaled. `policy.decisions.route` asks a `RuleSet` for
each recipient that is sent on, `policy.connectors.journal_index` about each that is accepted, and
`policy.decisions.explain` asks `unmet`. Pure: what a rule wants to know of the header was read before, by whoever has
the message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gatepost.policy.connectors.names import parents
from gatepost.policy.connectors.values import ContentProtection, Mode
from gatepost.protocols.smtp.grammar import GrammarError, parse_address

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gatepost.policy.connectors.mail_flow_rule import MailFlowRule
    from gatepost.policy.connectors.records import Organization, OutboundConnector


class Content(msgspec.Struct, frozen=True):
    """The parts of a message beyond its envelope that rules may test.

    header: field name in lower case, and the values of all fields of that name, decoded as far as possible; {} if the
    header is not known, so that no rule about it holds.
    """

    header: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)


class RuleNames(NamedTuple):
    """The names of the rules that demand something: those in force, and those in rehearsal that would."""

    enforced: tuple[str, ...] = ()
    rehearsed: tuple[str, ...] = ()


_NOBODY = RuleNames()


class MailFlow(msgspec.Struct, frozen=True):
    """The actions that an organization's rules take on a message to one recipient.

    connector: the one that a rule sends it by, disabled or not; routed_by: that rule's name, or "". require_tls: names
    of the enforcing rules that require TLS. rehearsed_tls: names of the rehearsing rules that would. encrypt, sign: the
    rules that demand that of the content. quarantine: those that hold the message when it arrives. reasons: a sentence
    for each rule that matches, naming the fields it tested but never the message's own text, so that equal outcomes are
    equal.
    """

    connector: OutboundConnector | None = None
    routed_by: str = ""
    require_tls: tuple[str, ...] = ()
    rehearsed_tls: tuple[str, ...] = ()
    encrypt: RuleNames = _NOBODY
    sign: RuleNames = _NOBODY
    quarantine: RuleNames = _NOBODY
    reasons: tuple[str, ...] = ()


_NO_RULE = MailFlow()


class _Conditions(msgspec.Struct, frozen=True, eq=False):
    """The conditions of a rule made ready for comparing."""

    rule: MailFlowRule
    connector: OutboundConnector | None
    senders: frozenset[str]
    except_senders: frozenset[str]
    recipients: frozenset[str]
    except_recipients: frozenset[str]
    header_name: str
    words: tuple[str, ...]

    def unmet(self, sender: _Address, recipient: _Address, header: _Header) -> str:
        """The first condition that the message does not meet, by the name of its field; "" if it meets all."""
        if self.senders and not sender.among(self.senders):
            return "senders"
        if self.recipients and not recipient.among(self.recipients):
            return "recipients"
        if self.except_senders and sender.among(self.except_senders):
            return "except_senders"
        if self.except_recipients and recipient.among(self.except_recipients):
            return "except_recipients"
        return header.unmet(self) if self.header_name else ""


class _Header:
    """What rules look for in the header of one message: once for all of its recipients, which may be many."""

    __slots__ = ("_known", "_values", "content")

    def __init__(self, content: Content) -> None:
        self.content = content
        self._values: dict[str, list[str]] = {}
        self._known: dict[int, str] = {}

    def unmet(self, conditions: _Conditions) -> str:
        """The condition about the header that the message does not meet, "" if it meets both."""
        known = self._known.get(id(conditions))
        if known is None:
            known = self._known[id(conditions)] = self._unmet(conditions)
        return known

    def _unmet(self, conditions: _Conditions) -> str:
        name = conditions.header_name
        if (values := self.content.header.get(name)) is None:
            return "header_name"
        if (folded := self._values.get(name)) is None:
            folded = self._values[name] = [value.casefold() for value in values]
        words = conditions.words
        return "header_contains" if words and not any(word in value for value in folded for word in words) else ""


class _Address:
    """An address of an envelope in the form of `names.address_pattern`, and every pattern that takes it in."""

    __slots__ = ("_patterns",)

    def __init__(self, text: str) -> None:
        whole, domain = _plain(text)
        wider = (f"*.{parent}" for parent in parents(domain))
        self._patterns = frozenset((whole, domain, "*", *wider) if domain else (whole, "*"))

    def among(self, patterns: frozenset[str]) -> bool:
        """Whether one of the patterns takes the address in."""
        return not patterns.isdisjoint(self._patterns)


def _plain(text: str) -> tuple[str, str]:
    """An address in lower case, its quoting undone and its domain in A-labels, and that domain; "" where it has none.

    What is not an address is compared as it is: only "*" takes it in.
    """
    if '"' not in text and text.isascii():
        lower = text.lower()
        return lower, lower.rpartition("@")[2] if "@" in lower else ""
    try:
        path = parse_address(text)
    except GrammarError:
        return text.lower(), ""
    return f"{path.local_part}@{path.domain}".lower(), path.domain


class RuleSet:
    """The enabled mail flow rules of one organization in the order in which they are looked at: priority, then name.

    header_names: the fields of a message, in lower case, that they ask for.
    """

    __slots__ = ("_header", "_ordered", "_organization", "header_names")

    def __init__(self, organization: Organization) -> None:
        self._header = _Header(Content())
        self._organization = organization.name
        enabled = (rule for rule in organization.mail_flow_rules if rule.enabled)
        connectors = {connector.name.lower(): connector for connector in organization.outbound_connectors}
        self._ordered = [
            _conditions(rule, connectors) for rule in sorted(enabled, key=lambda rule: (rule.priority, rule.name))
        ]
        self.header_names = frozenset(conditions.header_name for conditions in self._ordered if conditions.header_name)

    def __bool__(self) -> bool:
        """Whether there is any rule."""
        return bool(self._ordered)

    def flow(self, reverse_path: str, recipient: str, content: Content) -> MailFlow:
        """Combine the actions of the rules that match a message. reverse_path, recipient: without brackets, "" if null.

        The first rule with route_via_connector routes it; require_tls of any rule applies. A rule in rehearsal does
        nothing but report what it would do, and stops no other rule.
        """
        holding = self._holding(reverse_path, recipient, content)
        return self._together(holding) if holding else _NO_RULE

    def journaling(self, reverse_path: str, recipient: str, content: Content) -> list[MailFlowRule]:
        """Return the rules in force that journal a message, in their order. The arguments are those of `flow`."""
        rules = (conditions.rule for conditions in self._holding(reverse_path, recipient, content))
        return [rule for rule in rules if rule.journal_to and rule.mode is Mode.ENFORCE]

    def _holding(self, reverse_path: str, recipient: str, content: Content) -> list[_Conditions]:
        sender, to = _Address(reverse_path), _Address(recipient)
        header, holding = self._header, []
        if header.content is not content:
            header = self._header = _Header(content)
        for conditions in self._ordered:
            if conditions.unmet(sender, to, header):
                continue
            holding.append(conditions)
            if conditions.rule.stop_rule_processing and conditions.rule.mode is Mode.ENFORCE:
                break
        return holding

    def _together(self, holding: list[_Conditions]) -> MailFlow:
        enforcing = [conditions for conditions in holding if conditions.rule.mode is Mode.ENFORCE]
        chosen = next((conditions for conditions in enforcing if conditions.connector is not None), None)
        place = len(holding) if chosen is None else holding.index(chosen)
        return MailFlow(
            chosen.connector if chosen else None,
            chosen.rule.name if chosen else "",
            tuple(conditions.rule.name for conditions in enforcing if conditions.rule.require_tls),
            tuple(
                conditions.rule.name
                for conditions in holding
                if conditions.rule.require_tls and conditions.rule.mode is Mode.REHEARSE
            ),
            _asking(holding, lambda rule: rule.encrypt is ContentProtection.SMIME),
            _asking(holding, lambda rule: rule.sign is ContentProtection.SMIME),
            _asking(holding, lambda rule: rule.quarantine),
            tuple(self._reason(conditions, chosen if at > place else None) for at, conditions in enumerate(holding)),
        )

    def _reason(self, conditions: _Conditions, chosen: _Conditions | None) -> str:
        """A sentence about a rule that holds. chosen: the rule before it that has sent the message already."""
        rule = conditions.rule
        rehearses = rule.mode is Mode.REHEARSE
        does = []
        if conditions.connector is not None and chosen is not None:
            does.append(f"names connector {conditions.connector.name!r}, but rule {chosen.rule.name!r} chose first")
        elif conditions.connector is not None:
            does.append(f"{'would send' if rehearses else 'sends'} it by connector {conditions.connector.name!r}")
        if rule.require_tls:
            does.append("would require TLS" if rehearses else "requires TLS")
        if rule.encrypt is ContentProtection.SMIME:
            does.append("would encrypt it (S/MIME)" if rehearses else "encrypts it (S/MIME)")
        if rule.sign is ContentProtection.SMIME:
            does.append("would sign it (S/MIME)" if rehearses else "signs it (S/MIME)")
        if rule.journal_to:
            does.append("would journal it" if rehearses else "journals it")
        if rule.quarantine:
            does.append(f"{'would hold' if rehearses else 'holds'} it in quarantine when it arrives")
        if rule.stop_rule_processing and not rehearses:
            does.append("ends the rules")
        label = f"mail flow rule {rule.name!r} of {self._organization}"
        return f"{label}{' (in rehearsal)' if rehearses else ''} matches {_required(rule)}: {', '.join(does)}"


def _asking(holding: Sequence[_Conditions], asks: Callable[[MailFlowRule], bool]) -> RuleNames:
    asking = [conditions.rule for conditions in holding if asks(conditions.rule)]
    return RuleNames(
        tuple(rule.name for rule in asking if rule.mode is Mode.ENFORCE),
        tuple(rule.name for rule in asking if rule.mode is Mode.REHEARSE),
    )


def _conditions(rule: MailFlowRule, connectors: Mapping[str, OutboundConnector]) -> _Conditions:
    return _Conditions(
        rule,
        connectors.get(rule.route_via_connector.lower()),
        frozenset(rule.senders),
        frozenset(rule.except_senders),
        frozenset(rule.recipients),
        frozenset(rule.except_recipients),
        rule.header_name.lower(),
        tuple(word.casefold() for word in rule.header_contains),
    )


def _required(rule: MailFlowRule) -> str:
    """Name what a rule tests, as in a sentence: "the sender and the field X-Confidential"."""
    conditions = []
    if rule.senders or rule.except_senders:
        conditions.append("the sender")
    if rule.recipients or rule.except_recipients:
        conditions.append("the recipient")
    if rule.header_name:
        conditions.append(f"the field {rule.header_name}")
    return " and ".join(conditions) or "every message"


def unmet(rule: MailFlowRule, reverse_path: str, recipient: str, content: Content) -> str:
    """Return the field of a rule's first condition that is not met, such as "senders"; "" if the rule matches.

    Whether the rule is enabled makes no difference.
    """
    return _conditions(rule, {}).unmet(_Address(reverse_path), _Address(recipient), _Header(content))
