"""Tell the webhook that this node is cut off from the database: no node that is may raise alarms for the site.

Made by `node.site_duties` in the first worker of a node of several. What is told lives in memory, and so for as long as
that worker: nothing can be stored meanwhile.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from gatepost.analysis.alarms.alarm import Memory, advance, due_post, failed_post, posted, to_be_posted, until_now
from gatepost.analysis.alarms.machine import MachineFacts, judge_machine
from gatepost.net.tasks import SingleTask

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.node.alarm_post import AlarmPost
    from gatepost.store.interface import StoreFailure


OUTAGE_SECONDS: Final = 10.0
"""Between two ticks."""


class OutagePost:
    """node: its name. failure: why it can store no mail, None if it is not cut off.

    patience: seconds before anybody is told.
    """

    def __init__(
        self,
        node: str,
        failure: Callable[[], StoreFailure | None],
        post: AlarmPost,
        *,
        patience: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._node = node
        self._failure = failure
        self._post = post
        self._patience = patience
        self._clock = clock
        self._since: float | None = None
        self._lasts = False
        self._memory = Memory()
        self._posting = SingleTask("webhook, without the database")

    def tick(self) -> None:
        """Look whether the outage lasts or is over, and begin to post what is due."""
        now, failure = self._clock(), self._failure()
        self._since = min(self._since or now, now) if failure is not None else None
        self._lasts = self._since is not None and (self._lasts or now >= self._since + self._patience)
        facts = MachineFacts((str(failure),) if self._lasts else (), node=self._node)
        known = until_now(self._memory, now=now)  # the clock may have been put back
        self._memory, news = advance(known, judge_machine(facts), lambda _: False, now=now)
        self._memory = to_be_posted(self._memory, news, now=now)
        if due_post(self._memory, now=now) is not None:
            self._posting.begin(self._deliver, now)

    async def _deliver(self, now: float) -> None:
        """Post what is due, in order; the first failure ends it for now."""
        while (due := due_post(self._memory, now=now)) is not None:
            if not await self._post.send(due, now=now):
                self._memory = failed_post(self._memory, due, now=now)
                return
            self._memory = posted(self._memory, due)
