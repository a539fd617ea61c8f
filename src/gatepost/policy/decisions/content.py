"""Decide what follows from content scans: the reply, header changes, and the trace record.

`policy.decisions.inbound` asks which hooks there are for a recipient, `mail.inbound.content` asks the scanners and then
`decide`. Pure: what was found, or why nothing was, is a parameter. A peer is told the same whatever was found: what a
scanner knows by name helps whoever tries to get past it.

Before a message leaves, connectors and mail flow rules may demand that it is encrypted or signed (`ContentDemand`):
`policy.decisions.route` joins what they ask, `mail.outbound.smime` does it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.policy.connectors.values import ContentProtection, HookDirection, HookFailure, HookType, Mode, OverMaxSize
from gatepost.policy.decisions.quarantine import Quarantined
from gatepost.policy.decisions.requirement import Source
from gatepost.protocols.message.authentication_results import FIELD, authserv_id
from gatepost.protocols.message.edit import HeaderEdits
from gatepost.protocols.message.organization_headers import is_reserved
from gatepost.protocols.scanners.finding import ScanAction, ScanFinding
from gatepost.protocols.smtp.replies import Reply
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from gatepost.policy.connectors.content_hook import ContentHook
    from gatepost.policy.connectors.hook_index import ApplicableHook, HookIndex
    from gatepost.policy.connectors.records import OutboundConnector


class Demand(msgspec.Struct, frozen=True):
    """The sources of one demand. required: it must be met, or the message waits. rehearsed: they would demand it."""

    required: tuple[Source, ...] = ()
    rehearsed: tuple[Source, ...] = ()

    @classmethod
    def of(
        cls, kind: str, required: Iterable[str] = (), rehearsed: Iterable[str] = (), *, organization: str = ""
    ) -> Demand:
        """By the names of those who ask, all of one kind and organization (see `Source`)."""
        return cls(
            tuple(Source(kind, name, organization) for name in required),
            tuple(Source(kind, name, organization) for name in rehearsed),
        )

    def joined(self, other: Demand) -> Demand:
        """Combine two demands: all sources of both."""
        if not (other.required or other.rehearsed):
            return self
        return Demand((*self.required, *other.required), (*self.rehearsed, *other.rehearsed))

    def asking(self, own: str) -> tuple[str, ...]:
        """The organizations that require it, else those that would. own: the one whose mail it is."""
        return tuple(dict.fromkeys(source.organization or own for source in self.required or self.rehearsed))

    def record(self) -> dict[str, Any]:
        """For the trace and for machines; {} if nobody asks."""
        record: dict[str, Any] = {}
        if self.required:
            record["required_by"] = [str(source) for source in self.required]
        if self.rehearsed:
            record["rehearsed_by"] = [str(source) for source in self.rehearsed]
        return record


class ContentDemand(msgspec.Struct, frozen=True):
    """The demands on a message's content, whatever connection it leaves by: the conjunction of all sources."""

    encrypt: Demand = Demand()
    sign: Demand = Demand()

    def joined(self, other: ContentDemand) -> ContentDemand:
        """Combine the demands of both."""
        return ContentDemand(self.encrypt.joined(other.encrypt), self.sign.joined(other.sign))

    def record(self) -> dict[str, Any]:
        """For the trace and for machines; {} if nothing is asked."""
        both = {"encrypt": self.encrypt.record(), "sign": self.sign.record()}
        return {name: record for name, record in both.items() if record}


NO_DEMAND = ContentDemand()
"""The message goes as it is."""


def by_connector(connector: OutboundConnector | None, organization: str = "") -> ContentDemand:
    """The demands of an outbound connector on the content of mail that takes it. In rehearsal it only reports them.

    organization: the connector's, "" if it is the organization whose mail it is.
    """
    if connector is None or ContentProtection.SMIME not in {connector.encrypt, connector.sign}:
        return NO_DEMAND
    enforced, name = connector.mode is Mode.ENFORCE, (connector.name,)

    def demand(protection: ContentProtection) -> Demand:
        if protection is ContentProtection.NONE:
            return Demand()
        required, rehearsed = (name, ()) if enforced else ((), name)
        return Demand.of("connector", required, rehearsed, organization=organization)

    return ContentDemand(demand(connector.encrypt), demand(connector.sign))


_REFUSED: Final = Reply(554, "5.7.1", ("Message refused because of its content",))
_NOT_NOW: Final = Reply(451, "4.7.1", ("Message not accepted for now because of its content, try again later",))
_UNEXAMINED: Final = Reply(451, "4.7.1", ("Message cannot be examined now, try again later",))
_TOO_LARGE: Final = Reply(552, "5.3.4", ("Message is too large to be examined",))

_NAMED: Final = 10
_NO_EDITS: Final = HeaderEdits()

_REFUSALS: Final = {ScanAction.REJECT: _REFUSED, ScanAction.SOFT_REJECT: _NOT_NOW, ScanAction.GREYLIST: _NOT_NOW}


def hooks_for(index: HookIndex, whose: tuple[str, str], reached: Iterable[str]) -> tuple[ApplicableHook, ...]:
    """The content hooks that scan mail to one recipient.

    whose: organization and direction ("incoming", "originating") of the verdict. reached: the organizations here that
    get it: who accepts the recipient's domain, and those to which mailboxes forward it. Its own hooks scan it, and the
    inbound hooks of each other one.
    """
    organization, direction = whose
    hooks = index.hooks(organization, HookDirection.OUTBOUND if direction == "originating" else HookDirection.INBOUND)
    for other in dict.fromkeys(reached):
        if other != organization:
            hooks += index.hooks(other, HookDirection.INBOUND)
    return hooks


class ScanResult(msgspec.Struct, frozen=True):
    """Of one hook. finding: None if there is none, then failure says why; too_large: it was not asked for the size.

    milliseconds: from the question to the answer, waiting for a connection included. ours: there is none since this
    machine had no socket left to ask.
    """

    asked: ApplicableHook
    finding: ScanFinding | None = None
    failure: str = ""
    too_large: bool = False
    milliseconds: int = 0
    ours: bool = False


class Examination(msgspec.Struct, frozen=True):
    """reply: the refusal, None if the message is taken; then edits are what its header becomes. records: one a hook.

    quarantines: what hooks hold it in quarantine for, if it is taken.
    """

    reply: Reply | None
    edits: tuple[HeaderEdits, ...]
    records: tuple[dict[str, Any], ...]
    quarantines: tuple[Quarantined, ...] = ()


class _Effect(msgspec.Struct, frozen=True):
    """The effect of one scan result, were its hook in force."""

    reply: Reply | None = None
    edits: HeaderEdits = _NO_EDITS
    quarantine: Quarantined | None = None


def decide(answers: Iterable[ScanResult], reached: Collection[str] = (), names: Collection[str] = ()) -> Examination:
    """All answers together: a refusal for good before one for now, and what every hook wants of the header.

    reached: the organizations here that get the message. names: the authserv-ids that are ours, as
    `policy.decisions.authentication.forged_ids` has them. What others believe by its name, no organization's scanner
    puts into their mail, or takes out of it.
    """
    refusals: list[Reply] = []
    edits: list[HeaderEdits] = []
    quarantines: list[Quarantined] = []
    records: list[dict[str, Any]] = []
    for answer in answers:
        effect = _effect(answer)
        if any(other != answer.asked.organization for other in reached):
            effect = replace(effect, edits=_believed_left_out(effect.edits, names))
        records.append(_record(answer, effect))
        if answer.asked.hook.mode is Mode.REHEARSE:
            continue
        if effect.reply is not None:
            refusals.append(effect.reply)
        if effect.edits:
            edits.append(effect.edits)
        if effect.quarantine is not None:
            quarantines.append(effect.quarantine)
    refusals.sort(key=lambda reply: not reply.permanent)
    return Examination(refusals[0] if refusals else None, tuple(edits), tuple(records), tuple(quarantines))


def _effect(answer: ScanResult) -> _Effect:
    hook, finding = answer.asked.hook, answer.finding
    if answer.too_large:
        return _Effect(_TOO_LARGE if hook.over_max_size is OverMaxSize.REFUSE else None)
    if finding is None:
        # "accept" is for a scanner that is away. Who uses up the sockets of this machine shall not get past one by it.
        return _Effect(_UNEXAMINED if answer.ours or hook.on_failure is HookFailure.DEFER else None)
    obeyed = finding.action in hook.obey or hook.type is HookType.CLAMAV
    if finding.action in hook.quarantine:
        edits = _edits(answer, finding, obeyed=obeyed)
        held = Quarantined(answer.asked.organization, f"content hook {hook.name!r}", _reason(hook, finding))
        return _Effect(None, edits, held)
    if obeyed and finding.action in _REFUSALS:
        return _Effect(_REFUSALS[finding.action])
    return _Effect(None, _edits(answer, finding, obeyed=obeyed))


def _reason(hook: ContentHook, finding: ScanFinding) -> str:
    """What was found, for who decides about the message."""
    if finding.signature:
        return f"{hook.type}: {finding.signature}"
    score = "" if finding.score is None else f", score {finding.score:g}"
    required = "" if finding.required is None else f" of {finding.required:g}"
    return f"{hook.type}: {finding.action}{score}{required}"


def _edits(answer: ScanResult, finding: ScanFinding, *, obeyed: bool) -> HeaderEdits:
    wanted = finding.edits if answer.asked.hook.change_header else _NO_EDITS
    if not obeyed:
        return wanted
    marks = finding.marks if finding.action is ScanAction.ADD_HEADER else _NO_EDITS
    subject = finding.subject if finding.action is ScanAction.REWRITE_SUBJECT else ""
    return HeaderEdits(marks.add + wanted.add, marks.remove + wanted.remove, subject)


def _believed_left_out(edits: HeaderEdits, names: Collection[str]) -> HeaderEdits:
    """Without the fields that say how a sender was authenticated: Exchange's own, and results in our name."""
    results = FIELD.lower()

    def is_believed(name: str, value: str) -> bool:
        ours = name.lower() == results and (not (said := authserv_id(value.encode())) or said in names)
        return is_reserved(name) or (ours and bool(names))

    kept = tuple(field for field in edits.add if not is_believed(*field))
    gone = tuple(entry for entry in edits.remove if entry[0].lower() != results and not is_reserved(entry[0]))
    return HeaderEdits(kept, gone, edits.subject)


def _record(answer: ScanResult, effect: _Effect) -> dict[str, Any]:
    """For the trace. What is empty is left out."""
    finding, hook = answer.finding, answer.asked.hook
    said: dict[str, Any] = {
        "hook": hook.name,
        "organization": answer.asked.organization,
        "action": str(finding.action) if finding else "too large" if answer.too_large else "none",
        "does": _does(effect),
        "rehearsal": hook.mode is Mode.REHEARSE,
        "failure": answer.failure,
        "ms": answer.milliseconds,
    }
    if finding is not None:
        said |= {
            "signature": finding.signature,
            "score": finding.score,
            "required": finding.required,
            "symbols": list(finding.symbols),
            "said": finding.said,
        }
    return {key: value for key, value in said.items() if value or (value == 0 and key in {"score", "ms"})}


def _does(effect: _Effect) -> str:
    """In words, as it is in force: the record says beside whether it is."""
    if effect.reply is not None:
        return f"refuses with {effect.reply.text}"
    edits = effect.edits
    changes = [
        effect.quarantine and "holds it in quarantine",
        edits.add and f"adds {_names(edits.add)}",
        edits.remove and f"removes {_names(edits.remove)}",
        edits.subject and "rewrites the subject",
    ]
    return ", ".join(text for text in changes if text) or "passes it"


def _names(fields: Sequence[tuple[str, object]]) -> str:
    """Of fields, each once, as many as fit in a line."""
    names = list(dict.fromkeys(name for name, _ in fields))
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
