"""Connectors tried from a page: followed live by server-sent events, or waited for where there is no script.

A trial runs on a thread of its own. There are few at a time, of one person fewer; each ends when whoever follows it has
gone, and in any case after some minutes. What is tried is a connector of an organization that who asks may change, as
it is stored or as the wizard would store it; nothing else is ever connected to on anybody's behalf.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections import Counter
from contextlib import contextmanager
from http import HTTPStatus
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from gatepost.admin.guard import actor_of, gateway_of, who
from gatepost.admin.pages import event, fragment
from gatepost.admin.tasks import host_items, running_item, task_items, verdict_item, waiting_items
from gatepost.administration.refusal import Kind, Refusal
from gatepost.administration.validation import Course, Stopped, validate, validation_record
from gatepost.checks.tasks import host_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from starlette.requests import Request

    from gatepost.administration.choice import Chosen
    from gatepost.administration.validation import Trial
    from gatepost.checks.tasks import HostReport
    from gatepost.connectors.match import Directory

__all__ = ["Subject", "followed", "meant", "waited"]

_log = logging.getLogger(__name__)

_AT_A_TIME: Final = 4
_OF_ONE: Final = 2
_SECONDS: Final = 180.0
_PULSE: Final = 10.0  # seconds after which a silent stream says that it is there
_BUSY: Final = "Other validations are running: wait until one has ended, then try again."


class Subject(NamedTuple):
    """What is tried.

    directory: the resources that it is a part of. keep: takes the record of what came of it; says why it could not be
    kept, "" if it was. draft: whether the connector is not stored yet.
    """

    directory: Directory
    chosen: Chosen
    trial: Trial
    keep: Callable[[dict[str, Any]], str]
    draft: bool = False


class _Slots:
    """How many run, by who asked."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._taken: Counter[str] = Counter()

    @contextmanager
    def one(self, name: str) -> Iterator[None]:
        """Around a trial. Raises Refusal (CONFLICT) if there are enough."""
        with self._lock:
            if self._taken.total() >= _AT_A_TIME or self._taken[name] >= _OF_ONE:
                raise Refusal(Kind.CONFLICT, _BUSY)
            self._taken[name] += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken[name] -= 1


_SLOTS: Final = _Slots()


def meant(request: Request) -> None:
    """Raises HTTPException unless a page of ours asks: no foreign page's link has us connect to others."""
    csrf = request.state.csrf
    if csrf and not hmac.compare_digest(request.headers.get("x-csrf-token", "").encode(), csrf.encode()):
        raise HTTPException(HTTPStatus.FORBIDDEN, "Begin the validation from the connector's page.")


def waited(request: Request, subject: Subject) -> dict[str, Any]:
    """Try it and wait; the record of what came of it. Raises Refusal."""
    try:
        return _tried(request, subject, Course(seconds=_SECONDS))
    except Stopped:
        raise Refusal(Kind.UNREADABLE, _late()) from None


def followed(request: Request, subject: Subject) -> StreamingResponse:
    """Try it, and tell how it goes."""
    return StreamingResponse(
        _Followed(request, subject).events(), media_type="text/event-stream", headers={"x-accel-buffering": "no"}
    )


def _tried(request: Request, subject: Subject, course: Course) -> dict[str, Any]:
    gateway, principal = gateway_of(request), who(request)
    with _SLOTS.one(principal.name):
        found = validate(gateway, subject.directory, subject.chosen, subject.trial, course)
    record = validation_record(found)
    if failure := subject.keep(record):
        record["notes"] = [*record["notes"], failure]
    request.app.state.accounts.record(
        actor_of(request),
        "connector.validate",
        organization=subject.chosen.organization.name,
        subject=subject.chosen.label,
        detail={"outcome": record["outcome"], "draft": subject.draft},
    )
    return record


def _late() -> str:
    return f"It was not done after {_SECONDS:.0f} seconds, and was ended. Try again, or name fewer hosts."


class _Followed:
    """One trial and who follows it: the thread tells, the event loop writes."""

    def __init__(self, request: Request, subject: Subject) -> None:
        self._request = request
        self._subject = subject
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[list[dict[str, Any]] | None] = asyncio.Queue()
        self._hosts: list[dict[str, Any]] = []
        self._course = Course(self._progress, self._found, _SECONDS)

    async def events(self) -> AsyncIterator[bytes]:
        """Each has all tasks as they are then; the last is named "done"."""
        yield self._event(waiting_items("Starting"))
        Thread(target=self._run, name="validation", daemon=True).start()
        try:
            while True:
                try:
                    items = await asyncio.wait_for(self._told.get(), _PULSE)
                except TimeoutError:
                    yield b": still running\n\n"
                    continue
                if items is None:
                    break
                yield self._event(items)
            yield event("", "done")
        finally:
            self._course.stop()

    def _event(self, items: list[dict[str, Any]]) -> bytes:
        return event(fragment(self._request, "progress.html", "tasks", tasks=items))

    def _tell(self, items: list[dict[str, Any]] | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._told.put_nowait, items)
        except RuntimeError:  # the loop has ended, and nobody follows any more
            self._course.stop()

    def _progress(self, text: str) -> None:
        if text and not self._hosts:
            self._tell(waiting_items(text[:1].upper() + text[1:]))

    def _found(self, report: HostReport) -> None:
        self._hosts.append(host_record(report))
        items = [item for host in self._hosts for item in host_items(host, several=True)]
        self._tell([*items, running_item("Further hosts")])

    def _run(self) -> None:
        """On the thread."""
        try:
            self._tell(task_items(_tried(self._request, self._subject, self._course)))
        except Refusal as refusal:
            self._tell([verdict_item({"verdict": refusal.text, "notes": [str(one) for one in refusal.errors]})])
        except Stopped:
            self._tell([verdict_item({"verdict": _late()})])
        except Exception:  # noqa: BLE001 - what it says may hold anything, so that only the log gets it
            _log.exception("the validation of %s failed", self._subject.chosen.label)
            self._tell([verdict_item({"verdict": "something went wrong here; the gateway's log says what"})])
        finally:
            self._tell(None)
