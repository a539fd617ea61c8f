"""Try a connector, for every interface: what is asked, how it runs and is followed, and what is kept.

Used by `gatepost connector validate` and by the pages. It blocks, for as long as hosts take to answer: a page runs it
on a thread and may stop it. What is tried is always a connector of one organization, as it is stored or would be.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from gatepost.analysis.checks.inbound import InboundRequest, Presented, validate_inbound, with_enabled
from gatepost.analysis.checks.presented import checked_session, presented_session
from gatepost.analysis.checks.probe import prober, revocation_checker
from gatepost.analysis.checks.records import VALIDATIONS, CheckRecords
from gatepost.analysis.checks.tasks import Task, TaskStatus, waiting
from gatepost.analysis.checks.validation import CannotValidate, OutboundRequest, Validation, validate_outbound
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.use_cases.listener_checks import resolver_of
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.policy.connectors.errors import FieldError
from gatepost.policy.connectors.records import InboundConnector
from gatepost.store.documents import failure_text
from gatepost.store.interface import StoreFailure, TraceFilter
from gatepost.store.trace import Trace, trace_event
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gatepost.manage.use_cases.context import Gateway
    from gatepost.manage.use_cases.name_lookup import Chosen
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.facts import SessionFacts
    from gatepost.settings.model import Settings


_log = logging.getLogger(__name__)


MOST_PEM: Final = 64 * 1024
"""Bytes of a certificate that is given, with those above it."""

_ROWS = 1000
_EVENTS = ("RECEIVE", "REFUSE")
_COLUMNS = tuple(TraceEvent.__struct_fields__)


@dataclass(frozen=True, slots=True)
class ValidationOptions:
    """Options of a validation, beyond the connector itself.

    recipients, sender: outbound, of a test message; none is sent without recipients. session: inbound, a session or
    queue id of the trace that is decided anew. certificate, ip, reverse_path, forward_path: inbound, a session that
    might come; certificate is PEM, b"" for none, reverse_path None if there is no such session, and "" or "<>" for the
    null reverse-path. since: inbound, from when on mail counts as seen, seconds since 1970.
    """

    recipients: tuple[str, ...] = ()
    sender: str = ""
    session: str = ""
    certificate: bytes = b""
    ip: str = ""
    reverse_path: str | None = None
    forward_path: str = ""
    since: float = 0.0


class ValidationCancelled(Exception):  # noqa: N818 - it names what happened
    """Somebody stopped the trial, or its time was over."""


class CancelToken:
    """Cancels a validation, and reports its progress.

    watch: told what is known so far whenever a task begins or has ended, on the thread of the trial.
    """

    def __init__(self, watch: Callable[[Validation], None] = lambda _: None, seconds: float | None = None) -> None:
        self.watch = watch
        self.seconds = seconds
        self._lock = Lock()
        self._stopped = False
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None

    def stop(self) -> None:
        """End the trial, from any thread; connections are closed."""
        with self._lock:
            self._stopped = True
            if self._running is not None:
                loop, task = self._running
                loop.call_soon_threadsafe(task.cancel)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Around what may be stopped. Raises Stopped when it was, or after `seconds`."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - within a coroutine there is one
        try:
            async with asyncio.timeout(self.seconds):
                with self._lock:
                    if self._stopped:
                        raise ValidationCancelled
                    self._running = asyncio.get_running_loop(), task
                yield
        except TimeoutError:
            raise ValidationCancelled from None
        except asyncio.CancelledError:
            if self._stopped:
                raise ValidationCancelled from None
            raise
        finally:
            with self._lock:
                self._running = None


def validate(
    gateway: Gateway,
    directory: Directory,
    chosen: Chosen,
    options: ValidationOptions,
    cancel_token: CancelToken | None = None,
    *,
    seen: frozenset[str] | None = None,
) -> Validation:
    """Try a connector, enabled or not.

    directory: the resources that it is a part of, stored or not. seen: the organizations whose sessions may be decided
    anew, None for all. Raises Refusal (INPUT) if it cannot be tried so, and
    Stopped if the course says so.
    """
    cancel_token = cancel_token or CancelToken()
    try:
        if isinstance(chosen.connector, InboundConnector):
            return _inbound(gateway, directory, chosen, options, cancel_token, seen)
        return asyncio.run(_outbound(gateway.settings, directory, chosen, options, cancel_token))
    except CannotValidate as error:
        raise _refusal(error.field, str(error)) from error


def check_options(chosen: Chosen, options: ValidationOptions) -> None:
    """Raises Refusal (INPUT) if a part of it is for the other direction, misses its companion or is too large."""
    outbound = {"recipients": options.recipients, "sender": options.sender}
    presented = {
        "certificate": options.certificate,
        "ip": options.ip,
        "reverse_path": options.reverse_path is not None,
        "forward_path": options.forward_path,
    }
    inbound = {"session": options.session, **presented}
    wrong = [name for name, value in (inbound if chosen.direction == "outbound" else outbound).items() if value]
    if wrong:
        other = "inbound" if chosen.direction == "outbound" else "outbound"
        raise _refusal(wrong, f"for {other} connectors only, and {chosen.label} is meant")
    if any(presented.values()) and not (options.ip and options.reverse_path is not None):
        text = 'both are needed, as they decide together whose mail it is; "<>" is the null reverse-path'
        raise _refusal(["ip", "reverse_path"], text)
    if len(options.certificate) > MOST_PEM:
        text = f"larger than {MOST_PEM} bytes; give the client's certificate and those above it, and nothing else"
        raise _refusal("certificate", text)


def _refusal(fields: str | list[str], text: str) -> Refusal:
    named = [fields] if isinstance(fields, str) else fields
    errors = [FieldError(name, text) for name in named if name]
    return Refusal(RefusalKind.INPUT, "the connector was not tried" if errors else text, errors)


def keep_validation(gateway: Gateway, chosen: Chosen, record: dict[str, Any]) -> str:
    """Keep the result for lists and pages; that it could not be kept, "" if it was. Why is for the log alone."""
    records = _records(gateway, chosen)
    try:
        records.keep(chosen.direction, chosen.connector.name, record)
    except (OSError, StoreFailure) as error:
        _log.warning("the result of a validation cannot be kept: %s", failure_text(records.documents, error))
        return "the result cannot be kept for lists; the gateway's log says why"
    return ""


def keep_nothing(_record: dict[str, Any]) -> str:
    """In place of `keep_validation` where `finds_session` says no: whoever sees the connector sees what is kept."""
    return "the result is not kept for lists, as it tells of mail that the connector's organization does not see"


def finds_session(gateway: Gateway, identity: str, organization: str) -> bool:
    """Whether a session or message is in the trace as an organization itself sees it."""
    with suppress(Refusal):
        return bool(_captured(_Rows(gateway.storage.trace()), identity, frozenset({organization})))
    return False


def last_validation(gateway: Gateway, chosen: Chosen) -> dict[str, Any] | None:
    """The result that was kept last, as `validation_record` made it; None if there is none."""
    return _records(gateway, chosen).last(chosen.direction, chosen.connector.name)


def _records(gateway: Gateway, chosen: Chosen) -> CheckRecords:
    return CheckRecords(gateway.storage, VALIDATIONS, chosen.organization.name)


async def _outbound(
    settings: Settings, directory: Directory, chosen: Chosen, options: ValidationOptions, cancel_token: CancelToken
) -> Validation:
    assert not isinstance(chosen.connector, InboundConnector)  # noqa: S101 - asked by the only caller
    request = OutboundRequest(
        chosen.organization,
        chosen.connector,
        settings.server.hostname,
        options.recipients,
        options.sender,
        settings.tls.profile,
        time.time(),
    )
    async with cancel_token.running(), resolver_of(settings) as resolver:
        probing = prober(settings, resolver, directory.organizations)
        try:
            return await validate_outbound(probing, directory, request, cancel_token.watch)
        finally:
            await probing.close()


def _inbound(
    gateway: Gateway,
    directory: Directory,
    chosen: Chosen,
    options: ValidationOptions,
    cancel_token: CancelToken,
    seen: frozenset[str] | None,
) -> Validation:
    connector, settings = chosen.connector, gateway.settings
    assert isinstance(connector, InboundConnector)  # noqa: S101 - asked by the only caller
    directory = with_enabled(directory, chosen.organization, connector)
    trace = _Rows(gateway.storage.trace())
    now = time.time()
    begun = Validation(chosen.organization.name, connector.name, "inbound", now, directory.version, done=False)

    def doing(name: str, text: str, *later: str) -> None:
        cancel_token.watch(replace(begun, tasks=(Task(name, TaskStatus.RUNNING, text), *waiting(later))))

    presented = None
    if options.ip and options.reverse_path is not None:
        doing("Presented", "whether the certificate is trusted, and was not revoked", "Seen")
        session = presented_session(options.certificate, options.ip, directory, settings.tls.trust_anchors, now=now)
        session = asyncio.run(_checked(settings, session, directory, cancel_token))
        reverse_path = "" if options.reverse_path == "<>" else options.reverse_path
        presented = Presented(session, reverse_path, options.forward_path)
    doing("Seen", "mail that came in, by the trace")
    request = InboundRequest(
        chosen.organization,
        connector,
        now,
        options.since,
        captured=_captured(trace, options.session, seen) if options.session else (),
        presented=presented,
        offers_tls=bool(settings.certificates),
        anchors=settings.tls.trust_anchors,
    )
    validation = validate_inbound(directory, request, trace.search)
    return replace(validation, notes=(*validation.notes, *trace.notes))


async def _checked(
    settings: Settings, session: SessionFacts, directory: Directory, cancel_token: CancelToken
) -> SessionFacts:
    """Revocation is looked for as for a real session."""
    async with cancel_token.running(), resolver_of(settings) as resolver:
        checker = revocation_checker(settings, resolver, directory.organizations)
        try:
            return await checked_session(session, directory, partial(checker.check, now=time.time()))
        finally:
            await checker.close()


class _Rows:
    """Rows of how mail came in. notes: what of the trace could not be read."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._unreadable = trace.unreadable()

    def search(self, trace_filter: TraceFilter) -> list[TraceEvent]:
        """The newest that match, newest first."""
        rows = self._trace.scan(trace_filter, _COLUMNS, events=_EVENTS, unreadable=self._unreadable)
        return [trace_event(_COLUMNS, row) for row in islice(rows, trace_filter.limit)]

    @property
    def notes(self) -> list[str]:
        return [f"the trace could not be read: {name}" for name in dict.fromkeys(self._unreadable)]


def _captured(trace: _Rows, identity: str, seen: frozenset[str] | None) -> list[TraceEvent]:
    """The rows of a session, or of a message, of organizations that are seen."""
    events = trace.search(TraceFilter(session=identity, organizations=seen, limit=_ROWS)) or trace.search(
        TraceFilter(message=identity, organizations=seen, limit=_ROWS)
    )
    if not events:
        raise _refusal("session", f"the message trace has no message or session {identity}")
    return events
