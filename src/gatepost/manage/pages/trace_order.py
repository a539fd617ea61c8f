"""The message trace in the order of a column other than time, for `manage.pages.trace`.

The trace has no index but time. So the newest messages that match a search are read at once, at most `HELD` of them and
no longer than one search may take, and sorted; the foot of the table says how far back they go. The page after the last
of them begins with the next older ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gatepost.language import _
from gatepost.manage.pages.code_labels import event_label
from gatepost.manage.pages.paging import foot, order_of, paged
from gatepost.manage.pages.trace_story import protection
from gatepost.manage.use_cases.list_page import sorted_by
from gatepost.texts import NN_

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from gatepost.manage.use_cases.list_page import Columns
    from gatepost.manage.use_cases.trace import TracedMessage


HELD: Final = 1000
"""Messages that are sorted at once."""
_WEAKEST_FIRST: Final = ("cleartext", "encrypted", "verified")
_SORTS: Final[Columns[TracedMessage]] = {
    "event": lambda message: event_label(message.events[0].event),
    "size": lambda message: message.events[0].size,
    "sender": lambda message: message.events[0].sender,
    "recipient": lambda message: message.events[0].recipient,
    "protection": lambda message: _strength(protection(message.events[0])),
    "connector": lambda message: message.events[0].connector or None,
    "subject": lambda message: message.events[0].subject,
    "reply": lambda message: message.events[0].reply or None,
}


class SortedMessages(NamedTuple):
    """A page of them. before, after: numbers of the pages beside it, 0 where there is none. shown: for the foot."""

    rows: Sequence[TracedMessage]
    shown: str
    before: int
    after: int


def trace_order(request: Request) -> str:
    """The column that messages are asked for in the order of, "" for time; a search that is watched has no other."""
    return "" if request.query_params.get("live") is not None else order_of(request, _SORTS)


def sorted_messages(request: Request, messages: Sequence[TracedMessage], sort: str, reached: str) -> SortedMessages:
    """The page that is asked for. messages: those that were read. reached: the day they go back to, "" if it is all."""
    page = paged(request, sorted_by(messages, sort, _SORTS))
    shown, before, after = foot(page, NN_("%(num)s message", "%(num)s messages"))
    if reached:
        shown = _(
            "%(shown)s, sorted. They go back to %(reached)s; older ones follow, sorted by themselves.",
            shown=shown,
            reached=reached,
        )
    return SortedMessages(page.rows, shown, before, after)


def _strength(level: str) -> int | None:
    return _WEAKEST_FIRST.index(level) if level in _WEAKEST_FIRST else None
