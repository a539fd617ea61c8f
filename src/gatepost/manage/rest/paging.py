"""Pages of endpoints that are declared by hand: `manage.use_cases.paging`, whose refusals become problems. Pure."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from gatepost.manage.rest.problem import Problem
from gatepost.manage.use_cases import paging
from gatepost.manage.use_cases.paging import After as After  # noqa: PLC0414 - for endpoints by hand
from gatepost.manage.use_cases.paging import Limit as Limit  # noqa: PLC0414 - as above
from gatepost.manage.use_cases.paging import Paging as Paging  # noqa: PLC0414, TC001 - as above
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.web.problem import ProblemType
from gatepost.policy.connectors.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Page(NamedTuple):
    """Some items of a list. after: the cursor of the page behind, None on the last. version: of the resources."""

    items: Sequence[Any]
    after: str | None = None
    version: int | None = None


def position[T](text: str, kind: type[T]) -> T:
    """The position in a cursor. Raises Problem for what no page gave."""
    with _problems():
        return paging.position(text, kind)


def page_of[T](
    items: Sequence[T], name: Callable[[T], str], asked: Paging, shown: Callable[[T], Any], version: int | None = None
) -> Page:
    """A page of a list that is in memory, in its own order. name: what tells its items apart."""
    with _problems():
        found = paging.page_of(items, name, asked, shown, version)
    return Page(found.items, found.after, found.version)


@contextmanager
def _problems() -> Iterator[None]:
    try:
        yield
    except Refusal as refusal:
        errors = [FieldError(f"query.{one.path}", one.message) for one in refusal.errors]
        raise Problem(ProblemType.INVALID, refusal.text, errors) from refusal
