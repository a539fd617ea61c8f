"""Monitor our certificates and mail flow, and raise alarms, in one process of the site.

Made by `node.assembly`; `node.worker` calls `tick` every two seconds, and that costs one look at the store's version.
The world is asked once a day and after each change (`analysis.checks.own_certificates`), what mail shows every minute
(`analysis.reports.mail_facts`), files and nodes every five. Each check is a task of its own: one that is slow, as
nameservers are silent or a disk hangs, delays no other. All become alarms of one course, told by the log, mail and a
webhook. What is known is kept in the store, so that a restart repeats nothing and `gatepost alarms` can tell.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from contextlib import suppress
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.analysis.alarms import alarm as course
from gatepost.analysis.alarms.alarm import Alarm, Kind, Memory, News, Severity
from gatepost.analysis.alarms.domain_conflicts import domain_conflicts, judge_grants
from gatepost.analysis.alarms.letter import Letter, build_letter, subject_of
from gatepost.analysis.alarms.mail_flow import MailFacts, MailLimits, judge_mail
from gatepost.analysis.alarms.site_certificates import judge_site_certificates
from gatepost.analysis.checks.alarm_subjects import connector_files, failing_renewals, scope_of, site_certificates
from gatepost.analysis.checks.certificate_alarms import Observed, Scope, judge, remember, undecided, watched
from gatepost.analysis.checks.named_files import file_alarms, server_anchors, unusable_files
from gatepost.analysis.checks.presentation import SETTLING_SECONDS, presentation_alarms, presentation_problems
from gatepost.net.tasks import spawn
from gatepost.pki.certificates.entry import Entry, State
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.store.interface import StoreFailure
from gatepost.times import named_zone
from gatepost.values import copy_fields, replace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence

    from gatepost.analysis.checks.own_certificates import OwnCertificates
    from gatepost.net.lookups.dns import DnssecFault
    from gatepost.node.alarm_post import AlarmPost
    from gatepost.node.certificate_manager import CertificateManager
    from gatepost.node.owner_mail import OwnerMail
    from gatepost.policy.connectors.directory import Directory
    from gatepost.settings.model import Settings
    from gatepost.store.changes import ConfigStore
    from gatepost.store.nodes import Node


ALARM_SECONDS: Final = 2.0
"""Between two looks whether something changed."""

_LOOK: Final = 86400.0  # seconds between two looks at the world,
_LOOK_AGAIN: Final = 3600.0  # and while something is wrong or not known
_JUDGE: Final = 60.0  # or less, as `alarms.look` says; certificates come nearer to their end, and keys become unusable
_SETTLED: Final = SETTLING_SECONDS + 15.0  # after a change all nodes have taken it up, and looked at themselves
_PATIENCE: Final = 5.0  # seconds for which a judgement waits for a check; the next one has what is late
_UNKEPT: Final = 10.0  # until a post is tried again whose result could not be stored
_REST: Final = 10.0  # times what the last look took; changes that follow one another are looked at together

_OF_MACHINES: Final = frozenset(
    {
        Kind.NODE_SILENT,
        Kind.MAIL_REFUSED,
        Kind.RECORDS_UNWRITTEN,
        Kind.DISK_LOW,
        Kind.PROCESS_ENDED,
        Kind.CLOCK_JUMPED,
        Kind.ACME_PORT,
    }
)
_LEVELS: Final = {
    Severity.WARNING: logging.WARNING,
    Severity.ERROR: logging.ERROR,
    Severity.CRITICAL: logging.CRITICAL,
}
_log = logging.getLogger(__name__)


class _CheckContext(msgspec.Struct, frozen=True):
    """The subjects of a check: certificates by id, their uses by the resources, accepted domains.

    version: of the store, as the certificates were read.
    """

    version: int
    entries: Mapping[str, Entry]
    scope: Scope
    domains: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Another one whenever the world has to be looked at anew."""
        live = sorted(
            (entry.id, str(entry.state), entry.since, entry.chain) for entry in watched(self.entries, self.scope)
        )
        said = repr((live, self.scope.names, sorted(self.scope.used), self.domains))
        return hashlib.sha256(said.encode()).hexdigest()[:16]


class AlarmMonitor:
    """world: looks at it. directory: in force. mail: to the owner. clock: seconds since 1970.

    find: what mail shows, called on a thread; None asks nobody. trouble: why no nameserver answers, "" if one does.
    dnssec: what is wrong with DNSSEC validation.
    nodes: of the site, called on a thread; None if they cannot be read. post: to the webhook.
    """

    def __init__(  # noqa: PLR0913 - the parts it puts together
        self,
        settings: Settings,
        resources: ConfigStore,
        certificates: CertificateManager,
        world: OwnCertificates,
        directory: Callable[[], Directory],
        *,
        mail: OwnerMail,
        find: Callable[[float], MailFacts] | None = None,
        trouble: Callable[[], Awaitable[str]] | None = None,
        dnssec: Callable[[], Awaitable[DnssecFault | None]] | None = None,
        nodes: Callable[[], Sequence[Node] | None] = lambda: None,
        post: AlarmPost | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._resources = resources
        self._certificates = certificates
        self._world = world
        self._directory = directory
        self._mail = mail
        self._find = find
        self._trouble = trouble
        self._dnssec = dnssec
        self._nodes = nodes
        self._settled_at = math.inf
        self._post = post if post is not None and post.wanted else None
        self._found_at = -math.inf
        self._post_at = 0.0 if self._post is not None else math.inf
        self._node = settings.server.node_name if resources.is_shared else ""
        self._suffix = f" on {self._node}" if self._node else ""
        self._limits = copy_fields(MailLimits, settings.alarms)
        self._clock = clock
        self._to = settings.alarms.mail_to or tuple(filter(None, (settings.server.postmaster,)))
        self._observed = Observed()
        self._version = -1
        self._judged = 0.0
        self._rest_until = 0.0
        self._started = False
        self._look_at = math.inf
        self._learnt: tuple[_CheckContext, float] | None = None  # of a look that is not judged yet, and when it began
        self._unkept: Memory | None = (
            None  # what could not be stored, so that a full disk keeps nothing from the webhook
        )
        self._changing = asyncio.Lock()  # what is known: read, changed and stored by one check at a time
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def tick(self) -> None:
        """Begin the checks that are due. The first call only lets the start come first."""
        if not self._started:
            self._started = True
            return
        now, version = self._clock(), self._directory().version
        is_time = (
            now >= min(self._judged + min(_JUDGE, self._settings.alarms.look), self._settled_at) or now < self._judged
        )
        changed = version != self._version and version == self._resources.version()
        # What is stored and not in force yet is not presented yet.
        if changed or is_time or self._learnt is not None or now >= self._look_at:
            self._begin("certificates", lambda: self._round(now, changed=changed))
        if self._find is not None and not self._found_at <= now < self._found_at + self._settings.alarms.look:
            self._begin("mail flow", lambda: self._judge_flow(now))
        self._begin_post(now)

    def close(self) -> None:
        """Stop what is under way. A next tick, if there is one, begins anew: another process went on meanwhile."""
        for task in self._tasks.values():
            task.cancel()
        self._version, self._judged, self._found_at = -1, 0.0, -math.inf
        self._look_at, self._learnt, self._unkept = math.inf, None, None
        self._post_at = 0.0 if self._post is not None else math.inf

    def _begin(self, check: str, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None] | None:
        """Begin a check of this name; None if the one before has not ended. Each is a task: none waits for another."""
        last = self._tasks.get(check)
        if last is not None and not last.done():
            return None
        task = self._tasks[check] = spawn(work(), f"alarms: {check}")
        return task

    async def _judge_flow(self, now: float) -> None:
        """Judge mail flow. The alarms about certificates stay as they are."""
        assert self._find is not None  # noqa: S101 - the caller looked
        self._found_at = now
        facts = await asyncio.to_thread(self._find, now)
        if self._trouble is not None:
            facts = replace(facts, resolver=await self._trouble())
        if self._dnssec is not None and (fault := await self._dnssec()):
            fails, off = (fault.detail, "") if fault.stops_mail else ("", fault.detail)
            facts = replace(facts, dnssec_fails=fails, dnssec_off=off)
        alarms = judge_mail(facts, self._limits, now=now)
        unknown = {Kind.QUEUE_AGE} if facts.oldest is None else set()
        unknown |= {Kind.TLS_FAILURES_RISING} if facts.tls is None else set()
        unknown |= {Kind.MAIL_UNREADABLE} if facts.unreadable is None else set()
        unknown |= {Kind.QUARANTINE_FULL} if facts.quarantines is None else set()
        unknown |= {Kind.SENDING_LIMIT, Kind.SENDING_UNUSUAL} if facts.senders is None else set()
        unknown |= {Kind.OLD_PRIMARY} if facts.old_primaries is None else set()
        unknown |= _OF_MACHINES if facts.silent is None else set()
        unseen = {(Kind.DISK_LOW, machine.node) for machine in facts.machines if machine.disk is None}

        def is_open(alarm: Alarm) -> bool:
            kind = alarm.kind
            return not kind.of_traffic or kind in unknown or (kind, alarm.about) in unseen

        async with self._changing:
            await self._tell_of(self._memory, alarms, is_open, now)

    def _begin_post(self, now: float) -> None:
        post = self._post
        if post is not None and now >= self._post_at:
            self._begin("webhook", lambda: self._deliver(post, now))

    async def _deliver(self, post: AlarmPost, now: float) -> None:
        """Post what is due, in order; the first failure ends it for now."""
        while (due := course.due_post(self._memory, now=now)) is not None:
            taken = await post.send(due, now=now)
            async with self._changing:
                memory = self._memory
                if not taken and course.failed_post(memory, due, now=now).posts == course.posted(memory, due).posts:
                    _log.error("alarms could not be posted for a day, and are not posted any more")
                memory = course.posted(memory, due) if taken else course.failed_post(memory, due, now=now)
                if not await self._keep(memory):
                    self._post_at = now + _UNKEPT
                    return
        self._post_at = course.next_post(self._memory)

    async def _round(self, now: float, *, changed: bool) -> None:
        """Look if that is due, judge, tell. What cannot be stored is tried again at the next round."""
        self._version, self._judged = self._directory().version, now
        self._settled_at = now + _SETTLED if changed else math.inf
        context = self._context(now)
        if context is None:
            return
        if changed and context.version != self._version:
            self._version = -1  # it grew this very moment: again at the next tick
            return
        await self._look_if_due(context, now)
        await self._judge(context, now)

    async def _look_if_due(self, context: _CheckContext, now: float) -> None:
        """Begin a look at the world. One that ends soon is judged with the rest; for another nothing waits."""
        self._look_at = math.inf
        if not self._is_due(self._updated(self._memory), context, now):
            return
        if now < self._rest_until:
            self._look_at = self._rest_until
        elif (look := self._begin("world", lambda: self._look(context, now))) is not None:
            await asyncio.wait({look}, timeout=_PATIENCE)

    @property
    def _memory(self) -> Memory:
        memory = self._unkept
        if memory is None:
            memory = course.decoded(self._resources.content(course.ALARMS_CONTENT))
        return course.until_now(memory, now=self._clock())

    def _updated(self, memory: Memory) -> Memory:
        """The memory with the last look, if it does not know it yet."""
        if self._learnt is None:
            return memory
        context, at = self._learnt
        return replace(remember(memory, self._observed, context.entries, now=at), seen=context.digest)

    def _context(self, now: float) -> _CheckContext | None:
        directory = self._directory()
        organizations = directory.organizations
        try:
            version, entries = self._certificates.inventory.entries()
        except ValueError as error:
            _log.error("certificates are not looked after: %s", error)
            return None
        scope = scope_of(organizations, self._settings)
        domains = tuple(domain.name for organization in organizations for domain in organization.accepted_domains)
        return _CheckContext(version, {**connector_files(organizations, now), **entries}, scope, domains)

    @staticmethod
    def _is_due(memory: Memory, context: _CheckContext, now: float) -> bool:
        if not watched(context.entries, context.scope):
            return False
        if memory.seen != context.digest or now < memory.looked:
            return True
        uneasy = memory.troubles or memory.unknown or memory.standing
        return now >= memory.looked + (_LOOK_AGAIN if uneasy else _LOOK)

    async def _look(self, context: _CheckContext, now: float) -> None:
        begun = time.monotonic()
        self._observed = await self._world.observe(
            self._chains(context), self._certificates.presented, context.domains, now=now
        )
        self._learnt = context, now
        self._rest_until = now + _REST * (time.monotonic() - begun)

    def _chains(self, context: _CheckContext) -> dict[str, bytes]:
        result = {}
        for entry in sorted(
            watched(context.entries, context.scope), key=lambda candidate: candidate.state is not State.CURRENT
        ):
            with suppress(CertificateFileError):
                result[entry.id] = self._chain(entry)
        return result

    def _chain(self, entry: Entry) -> bytes:
        """Raises CertificateFileError."""
        try:
            return self._certificates.inventory.chain_pem(entry)
        except CertificateFileError:
            return self._certificates.inventory.identity(entry).chain_pem

    async def _judge(self, context: _CheckContext, now: float) -> None:
        entries, scope = context.entries, context.scope
        files, nodes = await asyncio.gather(
            self._in_time("files", self._files, now), self._in_time("nodes", self._nodes)
        )
        directory = self._directory()
        others = (*domain_conflicts(directory.disputes), *judge_grants(directory.resources), *(files or ()))
        living = [node for node in nodes or () if node.state.is_alive and self._node not in {"", node.name}]
        others += tuple(_files_elsewhere(living, directory))
        silent = {node.name for node in living if node.observed is None or node.observed.files is None}
        others += tuple(presentation_alarms(presentation_problems(entries, nodes or (), now=now), entries))
        async with self._changing:
            memory, self._learnt = self._updated(self._memory), None
            renewals = failing_renewals(self._settings, self._resources, scope, now)
            others += tuple(judge_site_certificates(site_certificates(self._settings, self._resources), now))
            observed = replace(self._observed, stapled=self._certificates.stapled(), renewals=renewals)
            alarms = judge(entries, scope, observed, troubles=memory.troubles, roots=memory.roots, now=now)

            def is_open(alarm: Alarm) -> bool:
                if alarm.kind.of_nodes:
                    return nodes is None
                if alarm.kind is Kind.FILE_UNUSABLE:
                    is_own = alarm.about.endswith(self._suffix)
                    return files is None if is_own else nodes is None or alarm.about.rpartition(" on ")[2] in silent
                return alarm.kind.of_traffic or undecided(alarm, entries, scope, observed)

            await self._tell_of(memory, (*alarms, *others), is_open, now)

    async def _in_time[T](self, check: str, find: Callable[..., T], *arguments: float) -> T | None:
        """The result of a check on a thread; None if it is late, as a file system or a database may hang."""
        results: list[T] = []

        async def run() -> None:
            results.append(await asyncio.to_thread(find, *arguments))

        task = self._begin(check, run)
        if task is not None:
            await asyncio.wait({task}, timeout=_PATIENCE)
        if not results:
            _log.warning("the check of the %s for alarms has not ended; its alarms stay as they are", check)
            return None
        return results[0]

    def _files(self, now: float) -> tuple[Alarm, ...]:
        """Of the settings and resources in force what names a file or a label that cannot be used. For a thread."""
        organizations, find = self._directory().resources.organizations, self._certificates.clients.find
        files = unusable_files(server_anchors(self._settings), organizations, find, now)
        return tuple(file_alarms(files, organizations, node=self._node))

    async def _tell_of(
        self, memory: Memory, found: tuple[Alarm, ...], is_open: Callable[[Alarm], bool], now: float
    ) -> None:
        """Report new alarms to the log, to the webhook and, when due, by mail."""
        memory, news = course.advance(memory, found, is_open, now=now)
        if self._post is not None:
            memory = course.to_be_posted(memory, news, now=now)
            self._post_at = course.next_post(memory)
        await self._keep(memory)
        for item in news:
            _tell(item)
        if self._to and course.mail_is_due(memory, now=now):
            await self._write(memory, now)
        self._begin_post(now)

    async def _keep(self, memory: Memory) -> bool:
        """Whether it is stored."""
        content = course.encoded(memory)
        if content != self._resources.content(course.ALARMS_CONTENT):
            try:
                await asyncio.to_thread(self._resources.keep_apart, {course.ALARMS_CONTENT: content})
            except StoreFailure as failure:
                if self._unkept is None:
                    _log.warning("alarms are not kept, and may be told again: %s", failure)
                self._unkept = memory
                return False
        self._unkept = None
        return True

    async def _write(self, memory: Memory, now: float) -> None:
        fresh = frozenset(status.alarm.key for status in memory.standing if not status.mailed)
        settings = self._settings
        letter = Letter(
            settings.server.hostname,
            self._to,
            "",
            now,
            memory.alarms,
            fresh,
            memory.cleared,
            settings.alarms.language,
            named_zone(settings.admin.time_zone) or UTC,
        )

        def build(message_id: str) -> bytes:
            return build_letter(replace(letter, message_id=message_id))

        try:
            lost = await self._mail.send(self._to, subject_of(letter), build, now=now)
        except StoreFailure as failure:
            _log.warning("the mail about alarms is not queued yet: %s", failure)
            return
        await self._keep(course.mailed(memory, now=now))
        if lost:
            _log.error(
                "no mail about alarms goes to %s: no organization accepts its domain or that of %s, and there is none "
                "that tenants do not change; write an address in an accepted domain into [alarms] mail_to",
                ", ".join(lost),
                settings.server.hostname,
            )


def _files_elsewhere(nodes: Iterable[Node], directory: Directory) -> Iterator[Alarm]:
    """Alarms about files that other nodes cannot use, as they say."""
    for node in nodes:
        files = node.observed.files if node.observed is not None else None
        yield from file_alarms(files or (), directory.resources.organizations, node=node.name)


def _tell(news: News) -> None:
    alarm = news.alarm
    match news.event:
        case course.AlarmEvent.CLEARED:
            _log.info("alarm over: %s [%s]", alarm.title, alarm.key)
        case course.AlarmEvent.RAISED | course.AlarmEvent.REPEATED:
            again = "alarm" if news.event is course.AlarmEvent.RAISED else "alarm, still"
            text, todo = "%s: %s. %s To do: %s [%s]", f"{alarm.fix} {'; '.join(alarm.lines)}".strip()
            _log.log(_LEVELS[alarm.severity], text, again, alarm.title, alarm.detail, todo, alarm.key)
