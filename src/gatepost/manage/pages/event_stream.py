"""Follow a job (`manage.use_cases.jobs`) by server-sent events, and render it again when it has changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from gatepost.manage.pages.guard import principal_of
from gatepost.manage.pages.rendering import event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request

    from gatepost.manage.use_cases.jobs import Job


_LOOKS: Final = 0.25  # seconds between two looks at a run
_PULSE: Final = 40  # looks after which a silent stream says that it is there


def followed(request: Request, run: Job[Any, Any], shown: Callable[[], str]) -> StreamingResponse:
    """A stream of what `shown` makes of the run, until it has ended; then an event named "done".

    shown: HTML, called on a thread. See `Job.followed` for when a run ends as it is left.
    """

    async def stream() -> AsyncIterator[bytes]:
        seen, silent = -1, 0
        with run.followed(principal_of(request)):
            while not await request.is_disconnected():
                done = run.done  # before the version: with it comes all that there is to see
                version = run.version
                if version != seen:
                    seen, silent = version, 0
                    yield event(await run_in_threadpool(shown))
                if done:
                    yield event("", "done")
                    return
                silent += 1
                if silent % _PULSE == 0:
                    yield b": still running\n\n"
                await asyncio.sleep(_LOOKS)

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(stream(), media_type="text/event-stream", headers=headers)
