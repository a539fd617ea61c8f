"""Alarms about mail flow, from facts about deliveries, queue and TLS sessions. Pure.

Called by `node.alarms`; `events.delivery_problems` gathers what deliveries show, `analysis.reports.mail_facts` the
rest. `analysis.alarms.alarm` says which alarms are new, which are repeated and which are over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.analysis.alarms.alarm import Alarm, Kind, Severity, command_line, make_alarm
from gatepost.analysis.alarms.machine import (
    MachineFacts,
    OldPrimary,
    SilentNode,
    judge_machine,
    judge_old_primaries,
    judge_silence,
)
from gatepost.analysis.alarms.partners import PartnerContext, about_partner, judge_partners, result_text
from gatepost.analysis.alarms.senders import NotableSender, judge_senders
from gatepost.events.delivery_problems import MESSAGE_TRACE, RECORDS_DOWN, SCANNER_DOWN, SOURCE_DOWN
from gatepost.mail.model.queue_id import format_id
from gatepost.mail.model.worker_load import NORMAL, WorkerLoad
from gatepost.policy.connectors.units import measured_size
from gatepost.protocols.message.next_step import required_step
from gatepost.quantity import quantity
from gatepost.texts import own
from gatepost.times import second_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gatepost.analysis.alarms.partners import ConnectorChange
    from gatepost.events.delivery_problems import DowngradedDestination, FailingPartner, UnsentNotice
    from gatepost.mail.model.queue_share import QueueShare


# Seconds without another failure: retries are an hour apart at most, as set out of the box.
_FORGOTTEN: Final = 2.5 * 3600.0
_DROP_SHOWN: Final = 86400.0
_RISEN: Final = 3.0  # times the share of the days before
_SHARE: Final = 0.05  # of today's sessions that fail at least
_HISTORY: Final = 10  # sessions of the days before, without which nothing is known of what is usual
_NEARLY_FULL: Final = 0.8  # of a quarantine
_FULL: Final = 0.99  # large messages do not fit any more
_LOAD_SHOWN: Final = 600.0  # seconds after the last moment of load
_PROTECTIONS: Final = {
    "none/none": "no encryption (none/none)",
    "none/encrypted": "encryption without a verified certificate (none/encrypted)",
    "none/authenticated": "encryption with a verified certificate (none/authenticated)",
    "mta-sts/none": "no encryption (mta-sts/none)",
    "mta-sts/encrypted": "encryption without a verified certificate, with hosts named by MTA-STS (mta-sts/encrypted)",
    "mta-sts/authenticated": "encryption with a verified certificate and MTA-STS (mta-sts/authenticated)",
    "dnssec/none": "no encryption (dnssec/none)",
    "dnssec/encrypted": "encryption without a verified certificate, with hosts proved by DNSSEC (dnssec/encrypted)",
    "dnssec/authenticated": "encryption with a verified certificate and DNSSEC (dnssec/authenticated)",
}
"""What a destination reached, as the trace prints it -> in words, with the code beside it."""


class Shares(msgspec.Struct, frozen=True):
    """TLS sessions of one policy domain, as RFC 8460 counts them: today, and in the days before.

    result: the commonest failure.
    """

    failed: int
    sessions: int
    failed_before: int
    sessions_before: int
    result: str = ""


class MailFacts(msgspec.Struct, frozen=True):
    """The known facts about mail flow. None for what could not be learnt.

    oldest: seconds for which the oldest message has waited, held ones excepted; 0.0 if none waits. destination: of that
    message; reason: why it waits. senders: who reached a limit, or sent much. tls: by policy domain. resolver: why no
    nameserver answers, "" if one does. dnssec_fails: why all answers are refused for DNSSEC's sake, "" if they are not.
    dnssec_off: why none is validated. quarantines: how full the quarantine of an organization is, 1.0 for full. loads:
    of each worker. ahead: seconds that the clock was put ahead, 0.0 if it was not. catch_alls: organization and name of
    connectors that take mail for any domain to its MX hosts, so that a host which takes none says nothing of them.
    changes: of connectors lately, the newest first. silent: None if it is not known how other nodes are.
    old_primaries: None if nobody looked yet. refused: organizations that have too much of the queue. unreadable: the
    number of deliveries that this release cannot read, and the id of the oldest message of them.
    """

    failing: tuple[FailingPartner, ...] = ()
    dropped: tuple[DowngradedDestination, ...] = ()
    oldest: float | None = 0.0
    destination: str = ""
    untold: tuple[UnsentNotice, ...] = ()
    tls: Mapping[str, Shares] | None = msgspec.field(default_factory=dict)
    resolver: str = ""
    dnssec_fails: str = ""
    dnssec_off: str = ""
    quarantines: Mapping[str, float] | None = msgspec.field(default_factory=dict)
    senders: tuple[NotableSender, ...] | None = ()
    loads: tuple[WorkerLoad, ...] = ()
    ahead: float = 0.0
    machines: tuple[MachineFacts, ...] = ()
    silent: tuple[SilentNode, ...] | None = ()
    old_primaries: tuple[OldPrimary, ...] | None = ()
    catch_alls: frozenset[tuple[str, str]] = frozenset()
    changes: tuple[ConnectorChange, ...] = ()
    refused: tuple[QueueShare, ...] = ()
    reason: str = ""
    unreadable: tuple[int, int] | None = (0, 0)


class MailLimits(msgspec.Struct, frozen=True):
    """From when on somebody is told. Seconds; recipients a day of unusual_sending. 0 of the last three: never."""

    partner_failures: int = 3
    partner_failing: float = 900.0
    queue_age: float = 14400.0
    tls_failures: int = 10
    unusual_sending: int = 500


def judge_mail(facts: MailFacts, limits: MailLimits, *, now: float) -> tuple[Alarm, ...]:
    """All that is wrong at `now`, the gravest first. At most one alarm for each partner and kind."""
    known = [partner for partner in facts.failing if now < partner.last + _FORGOTTEN]
    failing = _latest(known)
    begun: dict[str, float] = {}
    for partner in known:
        begun[about_partner(partner)] = min(partner.since, begun.get(about_partner(partner), now))
    context = PartnerContext(
        limits.partner_failures,
        limits.partner_failing,
        facts.changes,
        facts.catch_alls,
        bool(facts.resolver or facts.dnssec_fails),
        begun,
    )
    alarms = [
        *judge_partners(failing, context, now),
        *_silent_sources(failing, limits),
        *_silent_scanners(failing, limits),
        *_unwritten(failing),
        *_dropped(facts, now),
        *_unsent_notices(facts, now),
        *_waiting_journals(facts, now),
        *judge_senders(facts.senders or (), limits.unusual_sending),
    ]
    alarms += [*_age(facts, limits), *_rising(facts, limits), *_unreadable(facts)]
    alarms += [
        *_resolver(facts),
        *_dnssec(facts),
        *_quarantines(facts),
        *_shares(facts),
        *_overload(facts, now),
        *_clock(facts, now),
    ]
    alarms += [alarm for machine in facts.machines for alarm in judge_machine(machine)]
    alarms += judge_silence(facts.silent or ())
    alarms += judge_old_primaries(facts.old_primaries or ())
    order = tuple(Severity)
    return tuple(sorted(alarms, key=lambda alarm: (-order.index(alarm.severity), alarm.key)))


def _overload(facts: MailFacts, now: float) -> Iterator[Alarm]:
    """One for all workers, and only if a client felt it: what one of them lacks, the others mostly lack as well."""
    loaded = [load for load in facts.loads if load.refused and now < load.last + _LOAD_SHOWN]
    if not loaded:
        return
    latest = max(loaded, key=lambda load: (load.level != NORMAL, load.last))
    is_over, refused = latest.level == NORMAL, sum(load.refused for load in loaded)
    yield make_alarm(
        Kind.OVERLOAD,
        Severity.WARNING if is_over else Severity.ERROR,
        "",
        quantity(
            len(loaded),
            "worker was overloaded and served known clients first",
            "workers were overloaded and served known clients first",
        )
        if is_over
        else quantity(
            len(loaded),
            "worker is overloaded and serves known clients first",
            "workers are overloaded and serve known clients first",
        ),
        f"The reason: {own(latest.reason)}. Clients that no connector knows had tighter limits, and were asked "
        f"{quantity(refused, 'time')} to try again later.",
        "See which limits were reached, and by whom. If this is your usual mail, give the machine more memory and "
        "processors, or raise [rates]:",
        "gatepost status",
        "gatepost trace search --event REFUSE",
    )


def _clock(facts: MailFacts, now: float) -> Iterator[Alarm]:
    if not facts.ahead:
        return
    node = facts.machines[0].node if facts.machines else ""  # the one that looks
    title = "the clock jumped ahead, so nothing expires for a day"
    yield make_alarm(
        Kind.CLOCK_JUMPED,
        Severity.ERROR,
        node,
        f"on {node}, {title}" if node else title,
        f"The gateway expected the time to be about {second_text(now - facts.ahead)}. For a day, it returns no mail "
        "because of its age and deletes none from quarantine; after that, it uses the clock as it is.",
        "Correct the clock. If it is right, or the gateway was off for that long, you need not do anything:",
        "timedatectl",
    )


def _quarantines(facts: MailFacts) -> Iterator[Alarm]:
    for organization, fullness in sorted((facts.quarantines or {}).items()):
        if fullness < _NEARLY_FULL:
            continue
        full = fullness >= _FULL
        yield make_alarm(
            Kind.QUARANTINE_FULL,
            Severity.CRITICAL if full else Severity.WARNING,
            f"{organization}/quarantine",
            f"the quarantine of {organization} is {'full' if full else 'nearly full'}",
            f"It has reached {int(100 * fullness)} % of the limit for an organization ([quarantine] in the settings). "
            "When it is full, the gateway asks senders of messages that it must hold to try again later (452).",
            "Release or delete messages, shorten quarantine_days, or allow more:",
            command_line("gatepost", "quarantine", "list", "--organization", organization),
        )


def _shares(facts: MailFacts) -> Iterator[Alarm]:
    for share in facts.refused:
        name, octets = share.organization, measured_size(share.octets)
        yield make_alarm(
            Kind.QUEUE_SHARE,
            Severity.CRITICAL,
            f"{name}/queue",
            f"mail of {name} is refused, as much of its mail waits in the queue and room is short",
            f"It has {octets} of mail in the queue, {share.part:.0%} of all. Its senders are asked to try again later "
            "(452), so that room is left for other organizations' mail.",
            "See where it waits, and repair the next hop or return the mail:",
            command_line("gatepost", "queue", "list", "--organization", name),
        )


def _silent_sources(failing: Sequence[FailingPartner], limits: MailLimits) -> Iterator[Alarm]:
    for source in failing:
        if source.result_type != SOURCE_DOWN or source.deferrals < limits.partner_failures:
            continue
        yield make_alarm(
            Kind.RECIPIENTS_UNKNOWN,
            Severity.ERROR,
            about_partner(source),
            f"recipients of {source.name} cannot be looked up, as their source does not answer",
            f"{quantity(source.deferrals, 'attempt')} in a row failed: {own(source.reply)}. Recipients that were "
            "looked up lately are still known; other mail is deferred, or accepted unchecked, as "
            "recipient_validation_unavailable of the domain says.",
            "Repair the source, or name another one in recipient_validation:",
            command_line("gatepost", "domain", "show", "--organization", source.organization, named=source.name),
        )


def _silent_scanners(failing: Sequence[FailingPartner], limits: MailLimits) -> Iterator[Alarm]:
    for hook in failing:
        if hook.result_type != SCANNER_DOWN or hook.deferrals < limits.partner_failures:
            continue
        waits = hook.wanted == "defer"
        result = "is deferred" if waits else "passes unscanned"
        then = "Senders are asked to try again later" if waits else "Mail passes as if there were no hook"
        yield make_alarm(
            Kind.SCANNER_DOWN,
            Severity.CRITICAL if waits else Severity.ERROR,
            about_partner(hook),
            f"the content hook {hook.name} gets no usable answer, and its mail {result}",
            f"{quantity(hook.deferrals, 'message')} in a row could not be scanned: {own(hook.reply)}. {then}, as "
            "on_failure of the hook says.",
            "Start or repair the scanner; mail is scanned again as soon as it answers:",
            command_line("gatepost", "hook", "check", "--organization", hook.organization, named=hook.name),
        )


def _unwritten(failing: Sequence[FailingPartner]) -> Iterator[Alarm]:
    """One for each record, at once: what waits is lost if the gateway ends."""
    for name, record in {record.name: record for record in failing if record.result_type == RECORDS_DOWN}.items():
        yield make_alarm(
            Kind.RECORDS_UNWRITTEN,
            Severity.ERROR,
            name,
            "the message trace cannot be written" if name == MESSAGE_TRACE else "the evidence log cannot be written",
            f"{own(record.reply)}. Mail is still accepted and delivered. Its events stay in memory, up to 100,000 "
            "in each worker; they are lost if there are more, or if the gateway ends.",
            "Make room on the disk, or repair it or the database; the gateway then writes the events:",
            "gatepost doctor",
        )


def _dropped(facts: MailFacts, now: float) -> Iterator[Alarm]:
    for destination in _latest(facts.dropped):
        if now >= destination.last + _DROP_SHOWN:
            continue
        clear = destination.now.endswith("none")
        what = "is no longer protected by TLS" if clear else "is less protected than before"
        result = "Mail for it is held" if destination.held else "Mail is still sent"
        yield make_alarm(
            Kind.PROTECTION_DROP,
            Severity.CRITICAL if clear or destination.held else Severity.ERROR,
            about_partner(destination),
            f"mail to {destination.domain or destination.name} {what}",
            f"Connections of {destination.organization} had {own(_protection(destination.was))} before, and now have "
            f"{own(_protection(destination.now))}. {result}. The cause is a fault at the partner, or an attacker on "
            "the way.",
            "Ask the partner's postmaster over another channel; accept the lower protection only if it is intended:",
            command_line("gatepost", "destination", "show", named=destination.domain or destination.name),
            command_line("gatepost", "check", "partner", named=destination.domain or destination.name),
        )


def _resolver(facts: MailFacts) -> Iterator[Alarm]:
    if facts.resolver:
        yield make_alarm(
            Kind.NAMESERVERS_DOWN,
            Severity.CRITICAL,
            "",
            "no nameserver answers, so mail to other domains waits",
            f"The look-up: {own(facts.resolver)}. The gateway only delivers to local mailboxes, and by connectors "
            "whose smart hosts are IP addresses; it returns mail that waits too long.",
            "Start the resolver, or name another in [dns] nameservers and restart the gateway. Then check again:",
            "gatepost status",
        )


def _dnssec(facts: MailFacts) -> Iterator[Alarm]:
    if facts.dnssec_fails:
        yield make_alarm(
            Kind.DNSSEC_FAILS,
            Severity.CRITICAL,
            "",
            "DNSSEC validation fails for the root, so mail to other domains waits",
            f"The look-up: {own(facts.dnssec_fails)}. The fault is at the resolver, not at the recipients' domains: "
            "its clock or its trust anchor is wrong, or its way to the nameservers drops signatures.",
            "Correct the clock of the resolver's machine, or its trust anchor, and restart the resolver; mail then "
            "goes by itself. Check again:",
            "timedatectl",
            "gatepost doctor",
        )
    if facts.dnssec_off:
        yield make_alarm(
            Kind.DNSSEC_OFF,
            Severity.ERROR,
            "",
            "no DNS answer is validated by DNSSEC, so DANE protects no mail",
            f"{own(facts.dnssec_off)}. Mail waits if a connector demands DANE, or if DNSSEC proved the MX records of "
            "its destination before. Other mail is sent without DANE.",
            "Switch on DNSSEC validation in the resolver, or let the gateway validate (dns.validate). If you do not "
            "want DANE, set dns.trust_ad to false and restart the gateway. Check again:",
            "gatepost doctor",
        )


def _unsent_notices(facts: MailFacts, now: float) -> Iterator[Alarm]:
    by_organization: dict[str, dict[str, UnsentNotice]] = {}
    for notice in sorted(facts.untold, key=lambda notice: notice.last):
        if now < notice.last + _FORGOTTEN and not notice.journal:
            by_organization.setdefault(notice.organization, {})[notice.message] = notice
    for organization, messages in by_organization.items():
        latest = list(messages.values())[-1]
        count = quantity(len(messages), "message")
        failed = f", which failed with: {latest.failed}" if latest.failed else ""
        yield make_alarm(
            Kind.NOTICE_MISSING,
            Severity.CRITICAL,
            f"{organization}/notices",
            f"{count} of {organization} failed, and the sender cannot be notified",
            f"The gateway could not make a notice for {latest.message}{failed}. It keeps such mail and tries again; "
            "the log has the reason.",
            "Find the reason in the log. If you cannot repair it, tell the sender yourself, and drop the message:",
            f"gatepost trace show {latest.message}",
            f"gatepost queue drop {latest.message} --reason WHY",
        )


def _waiting_journals(facts: MailFacts, now: float) -> Iterator[Alarm]:
    """One for each organization and journal mailbox that refuses copies."""
    waiting: dict[tuple[str, str], dict[str, UnsentNotice]] = {}
    for copy in sorted(facts.untold, key=lambda copy: copy.last):
        if now < copy.last + _FORGOTTEN and copy.journal:
            waiting.setdefault((copy.organization, copy.recipient), {})[copy.message] = copy
    for (organization, mailbox), messages in waiting.items():
        latest = list(messages.values())[-1]
        last = f"The last reply: {latest.failed}. " if latest.failed else ""
        yield make_alarm(
            Kind.JOURNAL_WAITS,
            Severity.CRITICAL,
            f"{organization}/{mailbox}",
            f"{quantity(len(messages), 'journal copy', 'journal copies')} of {organization} cannot be delivered to "
            f"{mailbox}",
            f"{last}The copies stay in the queue, and the gateway tries again; the senders of the messages are not "
            "notified.",
            "Repair the journal mailbox, or name another one in journal_failures_to:",
            command_line("gatepost", "queue", "list", "--domain", mailbox.rpartition("@")[2]),
            command_line("gatepost", "organization", "set", organization, "journal_failures_to=ADDRESS"),
        )


def _age(facts: MailFacts, limits: MailLimits) -> Iterator[Alarm]:
    if facts.oldest is None or not limits.queue_age or facts.oldest < limits.queue_age:
        return
    step = required_step(facts.destination.rpartition("/")[2], facts.reason)
    must = f"{own(step.text)}. " if step is not None else ""
    why = f" The last attempt for it: {facts.reason}." if facts.reason else ""
    yield make_alarm(
        Kind.QUEUE_AGE,
        Severity.ERROR,
        "",
        f"the oldest message in the queue has waited for {own(_span(facts.oldest))}",
        f"It is for {facts.destination}; the threshold is {own(_span(limits.queue_age))} (alarms.queue_age).{why}",
        f"{must}See which messages wait and why:",
        "gatepost queue list",
    )


def _unreadable(facts: MailFacts) -> Iterator[Alarm]:
    number, message = facts.unreadable or (0, 0)
    if number:
        yield make_alarm(
            Kind.MAIL_UNREADABLE,
            Severity.ERROR,
            "",
            quantity(
                number,
                "delivery in the queue cannot be read, and waits",
                "deliveries in the queue cannot be read, and wait",
            ),
            f"The oldest is of message {format_id(message)}. A newer release wrote what is stored of it, or it is "
            "damaged. It is tried every 15 minutes and does not expire; its sender gets no notice. Other mail goes on.",
            "If a newer release wrote it, run that one again, at least on one node. Otherwise drop it, and tell its "
            "sender:",
            "gatepost queue list",
            command_line("gatepost", "queue", "drop", format_id(message)),
        )


def _span(seconds: float) -> str:
    """A time in whole hours, or minutes where it is less than two hours."""
    minutes = int(seconds // 60)
    return quantity(minutes // 60, "hour") if minutes >= 120 else quantity(minutes, "minute")


def _rising(facts: MailFacts, limits: MailLimits) -> Iterator[Alarm]:
    for domain, shares in (facts.tls or {}).items() if limits.tls_failures else ():
        if shares.failed < limits.tls_failures or shares.sessions_before < _HISTORY:
            continue
        share, before = shares.failed / shares.sessions, shares.failed_before / shares.sessions_before
        if share < _SHARE or share < _RISEN * before:
            continue
        yield make_alarm(
            Kind.TLS_FAILURES_RISING,
            Severity.ERROR if share > 0.5 else Severity.WARNING,
            domain,
            f"TLS with {domain} fails more often than before",
            f"Today {shares.failed} of {shares.sessions} sessions failed ({share:.0%}), in the days before "
            f"{shares.failed_before} of {shares.sessions_before} ({before:.0%}). Most often, "
            f"{own(result_text(shares.result))}.",
            "Find out whether the fault is theirs, and tell them:",
            command_line("gatepost", "report", "tlsrpt", "--domain", domain),
            command_line("gatepost", "check", "partner", named=domain),
        )


def _protection(code: str) -> str:
    return _PROTECTIONS.get(code, code)


def _latest[T: (FailingPartner, DowngradedDestination)](found: Sequence[T]) -> list[T]:
    """One for each partner, as several workers see it: the one that saw it last."""
    latest: dict[str, T] = {}
    for fact in sorted(found, key=lambda fact: fact.last):
        latest[about_partner(fact)] = fact
    return list(latest.values())
