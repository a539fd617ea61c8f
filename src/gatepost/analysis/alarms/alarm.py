"""An alarm: what is wrong, how bad it is, and what to do about it; raised once, repeated, cleared. Pure.

Made by `analysis.checks.certificate_alarms` and `analysis.alarms.mail_flow`, told by `node.alarms`, which keeps the
memory of what was told in the store so that a restart repeats nothing, and shown by `gatepost alarms`. Values in,
values out; the same facts twice raise nothing twice.
"""

from __future__ import annotations

import hashlib
import math
import shlex
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Final

import msgspec

from gatepost.decoding import from_json
from gatepost.protocols.message.header_text import shown_text
from gatepost.texts import last_argument
from gatepost.values import replace


class Kind(StrEnum):
    """The kind of an alarm."""

    EXPIRY = "expiry"
    REVOKED = "revoked"
    TLSA_MISMATCH = "tlsa-mismatch"
    DNSSEC_BOGUS = "dnssec-bogus"
    CHAIN_INCOMPLETE = "chain-incomplete"
    CHAIN_ENDS = "chain-ends"
    CHAIN_CHANGED = "chain-changed"
    STAPLE_MISSING = "staple-missing"
    RENEWAL_FAILING = "renewal-failing"
    NEXT_MISSING = "next-missing"
    NEXT_ENDS = "next-ends"
    NAME_NOT_COVERED = "name-not-covered"
    NOT_PRESENTED = "not-presented"
    KEY_UNUSABLE = "key-unusable"
    ENDPOINT_UNREACHABLE = "endpoint-unreachable"
    NOT_GRANTED = "not-granted"
    FILE_UNUSABLE = "file-unusable"
    SITE_CERTIFICATE = "site-certificate"
    PARTNER_FAILING = "partner-failing"
    CONNECTOR_FAILING = "connector-failing"
    LMTP_FAILING = "lmtp-failing"
    LOGIN_REFUSED = "login-refused"
    RECIPIENTS_UNKNOWN = "recipients-unknown"
    SCANNER_DOWN = "scanner-down"
    RECORDS_UNWRITTEN = "records-unwritten"
    PROTECTION_DROP = "protection-drop"
    QUEUE_AGE = "queue-age"
    TLS_FAILURES_RISING = "tls-failures-rising"
    DOMAIN_CONFLICT = "domain-conflict"
    NAMESERVERS_DOWN = "nameservers-down"
    DNSSEC_FAILS = "dnssec-fails"
    DNSSEC_OFF = "dnssec-off"
    NOTICE_MISSING = "notice-missing"
    JOURNAL_WAITS = "journal-waits"
    QUARANTINE_FULL = "quarantine-full"
    QUEUE_SHARE = "queue-share"
    SENDING_LIMIT = "sending-limit"
    SENDING_UNUSUAL = "sending-unusual"
    OVERLOAD = "overload"
    CLOCK_JUMPED = "clock-jumped"
    MAIL_REFUSED = "mail-refused"
    DISK_LOW = "disk-low"
    NODE_SILENT = "node-silent"
    OLD_PRIMARY = "old-primary"
    PROCESS_ENDED = "process-ended"
    ACME_PORT = "acme-port"
    MAIL_UNREADABLE = "mail-unreadable"

    @property
    def of_mail(self) -> bool:
        """Whether it is about mail on its way, and not about certificates."""
        return self in _OF_MAIL

    @property
    def of_nodes(self) -> bool:
        """Whether nodes have to say it, and nothing is known while they cannot be asked."""
        return self in {Kind.NOT_PRESENTED, Kind.KEY_UNUSABLE}

    @property
    def of_traffic(self) -> bool:
        """Whether only mail that was seen tells of it, which the running gateway alone knows."""
        return self.of_mail and self is not Kind.DOMAIN_CONFLICT

    @property
    def of_running_gateway(self) -> bool:
        """Whether only the running gateway learns of it and can end it: by mail, its nodes, or a look at files."""
        return self.of_traffic or self.of_nodes or self is Kind.FILE_UNUSABLE


_OF_MAIL: Final = frozenset(
    {
        Kind.PARTNER_FAILING,
        Kind.CONNECTOR_FAILING,
        Kind.LMTP_FAILING,
        Kind.LOGIN_REFUSED,
        Kind.RECIPIENTS_UNKNOWN,
        Kind.SCANNER_DOWN,
        Kind.RECORDS_UNWRITTEN,
        Kind.PROTECTION_DROP,
        Kind.QUEUE_AGE,
        Kind.TLS_FAILURES_RISING,
        Kind.DOMAIN_CONFLICT,
        Kind.NAMESERVERS_DOWN,
        Kind.DNSSEC_FAILS,
        Kind.DNSSEC_OFF,
        Kind.NOTICE_MISSING,
        Kind.JOURNAL_WAITS,
        Kind.QUARANTINE_FULL,
        Kind.QUEUE_SHARE,
        Kind.SENDING_LIMIT,
        Kind.SENDING_UNUSUAL,
        Kind.OVERLOAD,
        Kind.CLOCK_JUMPED,
        Kind.MAIL_REFUSED,
        Kind.DISK_LOW,
        Kind.NODE_SILENT,
        Kind.OLD_PRIMARY,
        Kind.PROCESS_ENDED,
        Kind.ACME_PORT,
        Kind.MAIL_UNREADABLE,
    }
)


class Severity(StrEnum):
    """The severity of an alarm: how soon an administrator must act."""

    WARNING = "warning"  # mail goes as it should; it will not if nothing is done
    ERROR = "error"  # some partners' mail may be refused, or will be within days
    CRITICAL = "critical"  # partners' mail stops now, or within a day


class Alarm(msgspec.Struct, frozen=True):
    """One thing that somebody must see to.

    certificate: its id, "" if it is about none. about: the host, name, address or partner that it is about, "" if the
    certificate alone is. title, detail, fix: sentences. lines: to be typed or put into a zone as they stand.
    step: of an expiry, the days of the threshold that was passed, 0 for expired; -1 for others. since: seconds since
    1970, when it was first seen.
    """

    kind: Kind
    severity: Severity
    certificate: str
    title: str
    detail: str
    fix: str
    about: str = ""
    lines: tuple[str, ...] = ()
    step: int = -1
    since: float = 0.0

    @property
    def key(self) -> str:
        """The key of an alarm, which stays the same as long as the alarm is active."""
        return f"{self.kind} {self.certificate or '-'} {self.about}".rstrip()


_LONG: Final = 300  # characters of a text


def make_alarm(kind: Kind, severity: Severity, about: str, title: str, detail: str, fix: str, *lines: str) -> Alarm:
    """An alarm about no certificate, in texts of bounded length and of one line each, whoever chose what is in them."""
    shown = tuple(shown_text(line, _LONG) for line in lines)
    return Alarm(
        kind,
        severity,
        "",
        shown_text(title, _LONG),
        shown_text(detail, 3 * _LONG),
        fix,
        shown_text(about, _LONG),
        shown,
    )


def command_line(*words: str, named: str = "") -> str:
    """A line for a shell, whatever is in names: tenants and other hosts choose them. named: the last argument."""
    line = shlex.join(words)
    return f"{line} {last_argument(named)}" if named else line


class Trouble(msgspec.Struct, frozen=True):
    """An endpoint that fails. since: seconds since 1970, of the first failure. failures: in a row."""

    since: float
    failures: int
    word: str
    detail: str
    certificate: str


ALARMS_CONTENT: Final = "certificate/alarms"
"""Under this name the store keeps the memory."""

_DAY: Final = 86400.0
_REPEATED: Final = {Severity.WARNING: 7 * _DAY, Severity.ERROR: _DAY, Severity.CRITICAL: _DAY}
_URGENT_PAUSE: Final = 300.0  # seconds between two mails at once
_QUIET: Final = 900.0  # without a critical alarm, until a mail says that those which were mailed are over
_KEPT: Final = 200
_POSTS: Final = 50
_TRIES: Final = (10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)  # seconds until the next try; the last one repeats
_POST_LIFE: Final = _DAY


class AlarmEvent(StrEnum):
    """The change of an alarm."""

    RAISED = "raised"
    REPEATED = "repeated"
    CLEARED = "cleared"


class News(msgspec.Struct, frozen=True):
    """One line for the log."""

    event: AlarmEvent
    alarm: Alarm


class AlarmStatus(msgspec.Struct, frozen=True):
    """An alarm that is not over. told: when the log said so last. mailed: when mail did, 0.0 if never."""

    alarm: Alarm
    told: float
    mailed: float = 0.0


class Post(msgspec.Struct, frozen=True):
    """News that the webhook is to get together. id: the same at each try. at: when it was made. due: the next try."""

    id: str
    at: float
    due: float
    news: tuple[News, ...]
    tries: int = 0


class Memory(msgspec.Struct, frozen=True):
    """The stored state of alarms; times in seconds since 1970, 0.0 for never.

    cleared: over since the last mail that reported them. troubles: endpoints that fail, by URL. roots: subjects of the
    roots that certificates led to, by id. looked: the time of the last check of the world; seen: the configuration at
    that time, as a digest. unknown: what could not be learnt. mail: when the last one was queued. lately: critical
    alarms that were mailed and are over, so that one that comes and goes does not fill a mailbox. quiet_since: when the
    last critical one of `cleared` was over. resolved: critical ones of the last day that a mail at once said to be
    over. posts: the events that the webhook has not accepted yet, oldest first.
    """

    standing: tuple[AlarmStatus, ...] = ()
    cleared: tuple[Alarm, ...] = ()
    troubles: dict[str, Trouble] = msgspec.field(default_factory=dict)
    roots: dict[str, str] = msgspec.field(default_factory=dict)
    looked: float = 0.0
    seen: str = ""
    unknown: tuple[str, ...] = ()
    mail: float = 0.0
    lately: dict[str, float] = msgspec.field(default_factory=dict)
    quiet_since: float = 0.0
    resolved: dict[str, float] = msgspec.field(default_factory=dict)
    posts: tuple[Post, ...] = ()

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """Those that stand."""
        return tuple(status.alarm for status in self.standing)


def encoded(memory: Memory) -> bytes:
    """As the store keeps it."""
    return msgspec.json.encode(memory)


def decoded(content: bytes | None) -> Memory:
    """Decode the stored state; an empty one, so that alarms are raised anew, if none of this version is there."""
    try:
        return from_json(content, Memory) if content else Memory()
    except msgspec.MsgspecError:
        return Memory()


def until_now(memory: Memory, *, now: float) -> Memory:
    """The memory without times to come, for which nothing would be told: the clock was put back, or they are forged."""
    statuses = [replace(known, told=min(known.told, now), mailed=min(known.mailed, now)) for known in memory.standing]
    posts = [
        replace(post, at=min(post.at, now), due=min(post.due, now + _TRIES[-1]), tries=max(post.tries, 0))
        for post in memory.posts
    ]
    lately = {key: min(at, now) for key, at in memory.lately.items()}
    resolved = {key: min(at, now) for key, at in memory.resolved.items()}
    mail, quiet = min(memory.mail, now), min(memory.quiet_since, now)
    kept = replace(memory, standing=tuple(statuses), posts=tuple(posts))
    return replace(kept, lately=lately, resolved=resolved, mail=mail, quiet_since=quiet)


def advance(
    memory: Memory, alarms: Iterable[Alarm], undecided: Callable[[Alarm], bool], *, now: float
) -> tuple[Memory, tuple[News, ...]]:
    """The memory after a judgement at `now`, and what is to be told of it.

    undecided: of a standing alarm that was not found, whether nothing is known of it; then it stays.
    """
    before = {status.alarm.key: status for status in memory.standing}
    news: list[News] = []
    active: dict[str, AlarmStatus] = {}
    last_mails = {alarm.key: memory.lately.get(alarm.key, 0.0) for alarm in memory.cleared}
    for alarm in list(alarms)[:_KEPT]:
        status, event = _continued(before.get(alarm.key), alarm, now)
        # Of what is back before a mail said that it was over, the last mail holds.
        active[alarm.key] = replace(status, mailed=status.mailed or last_mails.get(alarm.key, 0.0))
        if event is not None:
            news.append(News(event, active[alarm.key].alarm))
    gone = [status for key, status in before.items() if key not in active]
    active |= {status.alarm.key: status for status in gone if undecided(status.alarm)}
    over = [status for status in gone if status.alarm.key not in active]
    news += [News(AlarmEvent.CLEARED, status.alarm) for status in over]
    lately = {key: at for key, at in memory.lately.items() if now < at + _DAY}
    lately |= {status.alarm.key: status.mailed for status in over if _mailed_as_critical(status)}
    cleared = (*memory.cleared, *(status.alarm for status in over if status.mailed))[-_KEPT:]
    back = {key for key in active if key not in before}
    cleared = tuple(candidate for candidate in cleared if candidate.key not in back)
    memory = replace(memory, standing=tuple(active.values()), cleared=cleared, lately=lately)
    if any(_mailed_as_critical(status) for status in over):
        memory = replace(memory, quiet_since=now)
    return memory, tuple(news)


def _mailed_as_critical(status: AlarmStatus) -> bool:
    return bool(status.mailed) and status.alarm.severity is Severity.CRITICAL


def _continued(before: AlarmStatus | None, alarm: Alarm, now: float) -> tuple[AlarmStatus, AlarmEvent | None]:
    if before is None:
        return AlarmStatus(replace(alarm, since=now), now), AlarmEvent.RAISED
    alarm = replace(alarm, since=before.alarm.since)
    said = before.alarm
    if (alarm.severity, alarm.step, alarm.lines) != (said.severity, said.step, said.lines):
        return AlarmStatus(alarm, now), AlarmEvent.RAISED  # a threshold was passed, or another thing is to be done
    if now >= before.told + _pause(alarm):
        return AlarmStatus(alarm, now, before.mailed), AlarmEvent.REPEATED
    return replace(before, alarm=alarm), None


def _pause(alarm: Alarm) -> float:
    """Seconds until it is told again. An expiry is told at each threshold, and daily once partners refuse mail."""
    if alarm.kind is Kind.EXPIRY and alarm.severity is not Severity.CRITICAL:
        return float("inf")
    return _REPEATED[alarm.severity]


def mail_is_due(memory: Memory, *, now: float) -> bool:
    """Whether the owner is to get a mail: at once for what is critical and new, else once a day if there is news.

    Also when all that was mailed as critical has been over for a while: of each alarm once a day.
    """
    new = [status for status in memory.standing if not status.mailed]
    urgent = [
        status for status in new if status.alarm.severity is Severity.CRITICAL and status.alarm.key not in memory.lately
    ]
    if (urgent or _is_all_clear(memory, now)) and now >= memory.mail + _URGENT_PAUSE:
        return True
    repeated = any(status.told > status.mailed for status in memory.standing)
    return now >= memory.mail + _DAY and bool(new or repeated or memory.cleared)


def _is_all_clear(memory: Memory, now: float) -> bool:
    if any(status.alarm.severity is Severity.CRITICAL for status in memory.standing):
        return False
    over = {alarm.key for alarm in memory.cleared if alarm.severity is Severity.CRITICAL}
    resolved = {key for key, at in memory.resolved.items() if now < at + _DAY}
    return now >= memory.quiet_since + _QUIET and bool(over - resolved)


def mailed(memory: Memory, *, now: float) -> Memory:
    """The memory once a mail of everything is queued. What it says is over is mailed at once if it returns."""
    statuses = tuple(replace(status, mailed=now) for status in memory.standing)
    resolved = {key: at for key, at in memory.resolved.items() if now < at + _DAY}
    over = {alarm.key: now for alarm in memory.cleared if alarm.severity is Severity.CRITICAL}
    lately = {key: at for key, at in memory.lately.items() if key not in over or key in resolved}
    return replace(memory, standing=statuses, cleared=(), mail=now, lately=lately, resolved=over | resolved)


def to_be_posted(memory: Memory, news: tuple[News, ...], *, now: float) -> Memory:
    """The memory with one more post, if there is news. Of very many that nobody takes the oldest are forgotten."""
    if not news:
        return memory
    key = hashlib.sha256(repr([(item.event, item.alarm.key, now) for item in news]).encode()).hexdigest()[:24]
    return replace(memory, posts=(*memory.posts, Post(key, now, now, news))[-_POSTS:])


def due_post(memory: Memory, *, now: float) -> Post | None:
    """The one to be tried now. They go in order: while the oldest waits, the others wait with it."""
    first = next(iter(memory.posts), None)
    return first if first is not None and now >= first.due else None


def next_post(memory: Memory) -> float:
    """The time of the next try, seconds since 1970; infinity if there is nothing to post."""
    return memory.posts[0].due if memory.posts else math.inf


def posted(memory: Memory, post: Post) -> Memory:
    """The webhook took it, or will never."""
    return replace(memory, posts=tuple(candidate for candidate in memory.posts if candidate.id != post.id))


def failed_post(memory: Memory, post: Post, *, now: float) -> Memory:
    """It is tried again later, for a day."""
    if now >= post.at + _POST_LIFE:
        return posted(memory, post)
    again = replace(post, tries=post.tries + 1, due=now + _TRIES[min(post.tries, len(_TRIES) - 1)])
    return replace(memory, posts=tuple(again if known.id == post.id else known for known in memory.posts))
