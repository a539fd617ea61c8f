"""Tell the webhook that this node is cut off from the database: no node that is may raise alarms for the site.

Made by `node.site_duties` in the first worker of a node of several. What is told is kept in a file of the node, as
nothing can be stored meanwhile: so that the end is told by the next process of that worker, too.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from gatepost.analysis.alarms import alarm
from gatepost.analysis.alarms.machine import MachineFacts, judge_machine
from gatepost.net.tasks import SingleTask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gatepost.node.alarm_post import AlarmPost
    from gatepost.store.interface import StoreFailure


OUTAGE_SECONDS: Final = 10.0
"""Between two ticks."""

OUTAGE_FILE: Final = "outage"
"""Its name, among the files of workers."""

_MOST_OCTETS: Final = 256 << 10  # a worker that was taken over may write it

_log = logging.getLogger(__name__)


class OutagePost:
    """node: its name. file: keeps what is told. is_cut_off: whether nothing was heard of the database lately.

    failure: why this node can store no mail, None if it can or another tells of it. patience: seconds before anybody is
    told.
    """

    def __init__(  # noqa: PLR0913 - where each fact comes from
        self,
        node: str,
        file: Path,
        is_cut_off: Callable[[], bool],
        failure: Callable[[], StoreFailure | None],
        post: AlarmPost,
        *,
        patience: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._node = node
        self._file = file
        self._is_cut_off = is_cut_off
        self._failure = failure
        self._post = post
        self._patience = patience
        self._clock = clock
        self._since: float | None = None
        self._memory = self._kept = self._read()
        self._lasts = bool(self._memory.standing)
        self._posting = SingleTask("webhook, without the database")

    def tick(self) -> None:
        """Look whether the outage lasts or is over, and begin to post what is due."""
        now, failure = self._clock(), self._failure()
        self._since = min(self._since or now, now) if failure is not None else None
        self._lasts = self._since is not None and (self._lasts or now >= self._since + self._patience)
        facts = MachineFacts((str(failure),) if self._lasts else (), node=self._node)
        known = alarm.until_now(self._memory, now=now)  # the clock may have been put back
        self._memory, news = alarm.advance(known, judge_machine(facts), lambda _: self._is_cut_off(), now=now)
        self._memory = alarm.to_be_posted(self._memory, news, now=now)
        self._keep()
        if alarm.due_post(self._memory, now=now) is not None:
            self._posting.begin(self._deliver, now)

    async def _deliver(self, now: float) -> None:
        """Post what is due, in order; the first failure ends it for now."""
        while (due := alarm.due_post(self._memory, now=now)) is not None:
            if not await self._post.send(due, now=now):
                self._memory = alarm.failed_post(self._memory, due, now=now)
                break
            self._memory = alarm.posted(self._memory, due)
        self._keep()

    def _read(self) -> alarm.Memory:
        try:
            with self._file.open("rb") as file:
                return alarm.decoded(file.read(_MOST_OCTETS))
        except OSError:
            return alarm.Memory()

    def _keep(self) -> None:
        """Write the file if it is to say anything else. Not synced: a power cut raises the alarm anew."""
        memory = self._memory
        if memory == self._kept:
            return
        self._kept = memory
        try:
            if not memory.standing and not memory.posts:
                self._file.unlink(missing_ok=True)
                return
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = self._file.with_suffix(".new")
            fresh.write_bytes(alarm.encoded(memory))
            fresh.replace(self._file)
        except OSError as error:
            _log.warning("what the webhook is told of this outage is not kept: %s", error.strerror)
