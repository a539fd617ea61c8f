"""An explanation as a page shows it: the result, each decision with its reasons, and rules that do not apply. Pure.

Made of what `manage.use_cases.explain` answers, for `explain/explain.html`. Reasons have the words of the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gatepost.analysis.checks.tasks import HostReport, task_record
from gatepost.language import _, in_sentence
from gatepost.manage.pages.code_labels import shown_label
from gatepost.manage.pages.requirement_text import requirement_text, sources_text
from gatepost.manage.pages.text_filters import sentence
from gatepost.manage.pages.validation_tasks import detail_text
from gatepost.manage.use_cases.explain_text import CHECKED_BY, KINDS, RESULTS, hook_text, route_text
from gatepost.policy.connectors.units import format_duration
from gatepost.policy.connectors.values import AuthenticationResults
from gatepost.policy.decisions.decision import InboundVerdict, OutboundDecision, hook_record
from gatepost.policy.decisions.outbound import describe
from gatepost.policy.decisions.requirement import Authenticated, Encrypted, Opportunistic, Requirement
from gatepost.policy.decisions.routes import MxRoute, SmartHosts
from gatepost.sentences import ours
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatepost.manage.use_cases.explain import ExplainResult
    from gatepost.policy.decisions.explain import Explanation
    from gatepost.policy.decisions.failures import FailureOutcome


SHOWN: Final = 180
"""Connectors that did not apply, of one direction; JSON has them all."""
_LEVELS: Final = {"succeeded": "pass", "failed": "fail", "warning": "warn", "skipped": "waiting"}


class StoryReason(NamedTuple):
    """level: pass for what speaks for it, fail for what decides against, info for the rest."""

    level: str
    text: str


class Others(NamedTuple):
    """Those that did not apply: name and why not. title: of all of them. more: how many are not in rows."""

    title: str
    rows: Sequence[tuple[str, str]]
    more: int

    @property
    def total(self) -> int:
        """All of them."""
        return len(self.rows) + self.more


class Chapter(NamedTuple):
    """One direction. level, said: what comes of it. facts: name and value. withheld: it is another organization's."""

    level: str
    said: str
    facts: Sequence[tuple[str, str]] = ()
    reasons: Sequence[StoryReason] = ()
    others: Sequence[Others] = ()
    withheld: bool = False


class Failure(NamedTuple):
    """Effect of one kind of TLS failure. later: reply with which the message is returned when it expires."""

    kind: str
    level: str
    result: str
    reply: str
    later: str


class Host(NamedTuple):
    """A next hop that was reached. tasks: as `ui.tasks` takes them."""

    place: str
    level: str
    tasks: Sequence[dict[str, object]]


class Story(NamedTuple):
    """All of it. level, headline: the answer in a sentence. notes: what is not known beforehand."""

    level: str
    headline: str
    channel: str
    assumed: Sequence[str]
    inbound: Chapter
    outbound: Chapter
    failures: Sequence[Failure]
    expires: str
    notes: Sequence[str]
    hosts: Sequence[Host] | None


def story(answer: ExplainResult) -> Story:
    """The explanation, told."""
    explanation, session = answer.explanation, answer.asked
    inbound, outbound = _inbound(answer), _outbound(answer)
    channel = _("over %(tls)s", tls=session.tls) if session.tls else _("unencrypted")
    if session.tls:
        channel += _(", with a certificate") if session.certificate else _(", without a certificate")
    return Story(
        *_headline(answer),
        _("from %(ip)s %(channel)s", ip=session.ip, channel=channel),
        tuple(ours(assumption.text) for assumption in session.assumed),
        inbound,
        outbound,
        tuple(map(_failure, explanation.failures)),
        format_duration(int(answer.expiration)),
        tuple(_notes(explanation)),
        None if answer.reports is None else tuple(map(_host, answer.reports)),
    )


def _headline(answer: ExplainResult) -> tuple[str, str]:
    explanation = answer.explanation
    if "inbound" in answer.withheld:
        return "unknown", _("Another organization receives this message. You have no access to its decision.")
    verdict, outbound = explanation.inbound, explanation.outbound
    if not verdict.accepted:
        if verdict.reply.transient:
            return "fail", _("The gateway defers the message at %(stage)s.", stage=explanation.stage)
        return "fail", _("The gateway refuses the message at %(stage)s.", stage=explanation.stage)
    return _onward(answer, outbound)


def _onward(answer: ExplainResult, outbound: OutboundDecision | None) -> tuple[str, str]:
    """The same of a message that is accepted."""
    if "outbound" in answer.withheld:
        return "pass", _("The gateway accepts the message. Another organization decides how to deliver it.")
    if outbound is None or outbound.way == "nowhere":
        return "fail", _("The gateway accepts the message, but has no route for it.")
    if answer.certificates is not None and answer.certificates.missing:
        return (
            "warn",
            _("The gateway accepts the message, and it waits: it must be encrypted, and no certificate is available."),
        )
    if answer.login is not None and answer.login.missing:
        return "warn", _("The gateway accepts the message, and it waits: the gateway cannot log in to the smart hosts.")
    if answer.reports and not any(report.usable for report in answer.reports):
        return "warn", _("The gateway accepts the message, and it waits: no next hop meets the requirement now.")
    way = f"{ours(route_text(outbound.record()))}{_protection(outbound.requirement)}"
    said = (
        _("If the recipient exists, the gateway accepts the message and delivers it %(way)s.", way=way)
        if answer.explanation.inbound.supposes_recipient
        else _("The gateway accepts the message and delivers it %(way)s.", way=way)
    )
    return "pass", said


def _protection(requirement: Requirement | None) -> str:
    match requirement:
        case Authenticated():
            return _(", over TLS with a verified certificate")
        case Encrypted():
            return _(", over TLS")
        case Opportunistic():
            return _(", over TLS if the next hop offers it")
        case _:
            return ""


# coming in


def _inbound(answer: ExplainResult) -> Chapter:
    explanation = answer.explanation
    verdict = explanation.inbound
    if "inbound" in answer.withheld:
        return Chapter("unknown", _("Another organization decides"), withheld=True)
    accepted = _("Accepted if the recipient exists") if verdict.supposes_recipient else _("Accepted")
    said = accepted if verdict.accepted else _("Refused at %(stage)s", stage=explanation.stage)
    if not verdict.accepted and verdict.reply.transient:
        said = _("Deferred at %(stage)s", stage=explanation.stage)
    others = [candidate for candidate in explanation.others_inbound if " ".join(candidate) not in set(verdict.reasons)]
    return Chapter(
        "pass" if verdict.accepted else "warn" if verdict.reply.transient else "fail",
        said,
        tuple(_inbound_facts(verdict)),
        tuple(_inbound_reasons(verdict)),
        _all_others(((_("Connectors that do not apply"), others),)),
    )


def _inbound_facts(verdict: InboundVerdict) -> Iterable[tuple[str, str]]:
    yield _("Reply"), verdict.reply.text
    if verdict.organization:
        yield _("Organization"), f"{verdict.organization}, {in_sentence(shown_label(verdict.direction))}"
    if verdict.connector:
        trial = (
            _("; in rehearsal: %(rehearsed)s", rehearsed=requirement_text(verdict.rehearsed))
            if verdict.rehearsed
            else ""
        )
        yield _("Connector"), verdict.connector
        yield _("Requires"), f"{requirement_text(verdict.requirement)}{trial}"
    else:
        yield _("Connector"), _("None")
    if verdict.would_refuse is not None:
        yield (
            _("In rehearsal"),
            _(
                "%(would_refuse_connector)s would refuse with %(text)s",
                would_refuse_connector=verdict.would_refuse_connector,
                text=verdict.would_refuse.text,
            ),
        )
    if verdict.authentication is not AuthenticationResults.NONE:
        yield _("Authentication results"), _(CHECKED_BY[verdict.authentication])
    for hook in verdict.hooks:
        yield _("Content hook"), ours(hook_text(hook_record(hook)))


def _inbound_reasons(verdict: InboundVerdict) -> Iterable[StoryReason]:
    for number, text in enumerate(verdict.reasons, 1):
        if not verdict.accepted and number == len(verdict.reasons):
            yield StoryReason("fail", ours(text))
        else:
            yield StoryReason("pass" if text == verdict.applied_by else "info", ours(text))


# going out


def _outbound(answer: ExplainResult) -> Chapter:
    explanation = answer.explanation
    outbound = explanation.outbound
    if "outbound" in answer.withheld:
        return Chapter("unknown", _("Another organization decides"), withheld=True)
    if outbound is None:
        return Chapter("waiting", _("No organization handles this mail"))
    way = ours(route_text(outbound.record()))
    supposed = _("If accepted: ") if explanation.supposed else ""
    said = supposed + (way if supposed else way[:1].upper() + way[1:])
    level = "fail" if outbound.way == "nowhere" else "info" if explanation.supposed else "pass"
    reasons = [StoryReason("fail", ours(outbound.detail))] if outbound.way == "nowhere" and outbound.detail else []
    reasons += [StoryReason("pass", ours(reason)) for reason in outbound.reasons]
    if outbound.way in {"mailbox", "lmtp"}:
        text = _("the recipient has a mailbox on this gateway, so no outbound connector and no mail flow rule applies")
        reasons.append(StoryReason("info", text))
    if outbound.way == "internal":
        text = _("nodes always use TLS with the site's own certificates; the other node applies connectors and rules")
        reasons.append(StoryReason("info", text))
    others = (
        (_("Connectors that do not apply"), explanation.others_outbound),
        (_("Mail flow rules that do not apply"), explanation.other_rules),
    )
    asks_none = outbound.way in {"mailbox", "lmtp", "internal"}
    facts = tuple(_outbound_facts(answer, outbound))
    return Chapter(level, said, facts, reasons, () if asks_none else _all_others(others))


def _outbound_facts(answer: ExplainResult, outbound: OutboundDecision) -> Iterable[tuple[str, str]]:
    explanation = answer.explanation
    if outbound.requirement is not None:
        yield _("Connector"), outbound.connector or _("None")
        yield _("Requires"), requirement_text(outbound.required)
        yield _("Required by"), sentence(sources_text(outbound.requirement.sources))
    if outbound.rehearsed is not None:
        trial, sources = requirement_text(describe(outbound.rehearsed)), sources_text(outbound.rehearsed.sources)
        yield _("In rehearsal"), _("Would require %(demand)s (required by %(sources)s)", demand=trial, sources=sources)
    for name, decision, done, undone in (
        ("DKIM", explanation.signing, N_("Signed by %(names)s: %(why)s"), N_("Not signed: %(why)s")),
        ("ARC", explanation.sealing, N_("Sealed by %(names)s: %(why)s"), N_("Not sealed: %(why)s")),
    ):
        if decision is not None:
            names, why = ", ".join(decision.names), ours(decision.why)
            yield name, _(done, names=names, why=why) if names else _(undone, why=why)
    if (login := answer.login) is not None:
        yield (
            _("Log-in"),
            _(
                "as %(user)s %(method)s. Now it fails: %(missing)s",
                user=login.username,
                method=ours(login.method),
                missing=ours(login.missing),
            )
            if login.missing
            else _("as %(user)s %(method)s", user=login.username, method=ours(login.method)),
        )
    for name, demand in ((_("Encryption"), outbound.content.encrypt), (_("Signature"), outbound.content.sign)):
        if demand.required:
            yield name, _("S/MIME (required by %(value)s)", value=sources_text(demand.required))
        if demand.rehearsed:
            yield name, _("In rehearsal: S/MIME (required by %(value)s)", value=sources_text(demand.rehearsed))
    if answer.certificates is not None:
        yield _("S/MIME certificates"), ours(answer.certificates.missing or answer.certificates.found)


def _all_others(groups: Iterable[tuple[str, Sequence[tuple[str, str]]]]) -> tuple[Others, ...]:
    return tuple(
        Others(title, tuple((_name(ours(label)), ours(why)) for label, why in some[:SHOWN]), max(0, len(some) - SHOWN))
        for title, some in groups
        if some
    )


def _name(label: str) -> str:
    return label.removeprefix("connector ").removeprefix("mail flow rule ")


# if TLS fails


def _failure(outcome: FailureOutcome) -> Failure:
    kind = _(KINDS[outcome.kind])
    kind = kind[:1].upper() + kind[1:]
    if outcome.reply is not None and outcome.returned is not None:
        last, final = outcome.reply, outcome.returned
        text = f"{last.code} {last.enhanced} {outcome.message}"
        if outcome.result == "fails":
            return Failure(kind, "fail", _("returned at once"), f"{final.code} {final.enhanced} {outcome.message}", "")
        return Failure(kind, "hold", _("waits"), text, f"{final.code} {final.enhanced}")
    would = outcome.rehearsed
    trial = (
        _("; if enforced it would wait: %(code)s %(enhanced)s", code=would.code, enhanced=would.enhanced)
        if would is not None
        else ""
    )
    level = "pass" if outcome.result == "delivered" else "warn"
    return Failure(kind, level, f"{_(RESULTS[outcome.result])}{trial}", "", "")


def _notes(explanation: Explanation) -> Iterable[str]:
    if isinstance(explanation.route, SmartHosts | MxRoute):
        yield _("The gateway looks up DANE and MTA-STS when it sends; they may require more.")
    if explanation.held_below_memory:
        yield (
            _(
                'With protection_drop = "hold", the downgrade guard holds mail for an administrator if the destination '
                "offered more protection before."
            )
        )


def _host(report: HostReport) -> Host:
    tasks: list[dict[str, object]] = [
        {
            "key": f"{report.host}-{report.address}-{number}",
            "level": _LEVELS[str(task.status)],
            "title": task.name,
            "text": detail_text(task_record(task)),
            "advice": task.advice,
            "took": task.seconds or None,
        }
        for number, task in enumerate(report.tasks)
    ]
    place = f"{report.host} ({report.address})" if report.address else report.host
    return Host(place, "pass" if report.usable else "fail", tasks)
