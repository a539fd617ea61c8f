"""Refusals: why a use case did not do what was asked, as a value that every interface words in its own way.

The command line makes an exit code of it, REST a status and a problem document (RFC 9457), a page a sentence beside the
field. Its text is for the administrator who asked and holds no secret. It names no option of a command, no field of a
call: what would help is in `options`, and each interface says that in its own words.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from gatepost.policy.connectors.errors import FieldError, ResourceErrors, first_errors
from gatepost.store.interface import StoreFailure
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gatepost.manage.access.principal import Principal


STORE_AWAY: Final = N_("What is stored cannot be read or changed now; try again later.")
"""For who learns no more."""

_log = logging.getLogger(__name__)


class RefusalKind(StrEnum):
    """Kind of a refusal: it decides exit code and status.

    INPUT: what was asked cannot be right (exit code 2, status 422). FORBIDDEN: who asks may not (2, 403). MISSING:
    there is nothing of that name (2, or 1 if it names mail, 404). BLOCKED: what is there stands in the way, a name that
    is taken or something that needs it (2, 409). CONFLICT: somebody else changed it meanwhile, or its state does not
    allow it now (1, 409). UNREADABLE: the gateway's files cannot be read or written, or a lookup failed (3, 503).
    """

    INPUT = "input"
    FORBIDDEN = "forbidden"
    MISSING = "missing"
    BLOCKED = "blocked"
    CONFLICT = "conflict"
    UNREADABLE = "unreadable"


class Refusal(Exception):  # noqa: N818 - it names what happened
    """Nothing was changed. text: what, where, why, what to do next. errors: by field, where fields are to blame.

    options: names of the arguments by which who asked says what is missing, or that it is to be done all the same
    ("organization", "force"). more: what else is known of it, for JSON, by names of its own: in REST extension members
    (RFC 9457 section 3.2). known: why, where who asked is not to learn it; the audit has it instead of the text.
    is_on_record: whether the audit has it already.
    """

    def __init__(
        self,
        kind: RefusalKind,
        text: str,
        errors: Iterable[FieldError] = (),
        *,
        options: Iterable[str] = (),
        more: Mapping[str, Any] | None = None,
        known: str = "",
    ) -> None:
        super().__init__(text)
        self.is_on_record = False
        self.known = known
        self.more = dict(more or {})
        self.kind = kind
        self.text = text
        self.errors = first_errors(errors)
        self.options = tuple(options)


class VersionConflict(Refusal):
    """The version that a change was made from is not in force any more."""

    def __init__(self, text: str, errors: Iterable[FieldError] = ()) -> None:
        super().__init__(RefusalKind.CONFLICT, text, errors)


class StoreUnreadable(Refusal):
    """A refusal as what is stored cannot be read, changed or used. public: its text for all, and for the audit.

    text: names files, servers and resources of anybody, and is for principals of the gateway alone.
    """

    def __init__(self, text: str, public: str = STORE_AWAY) -> None:
        super().__init__(RefusalKind.UNREADABLE, text)
        self.public = public

    def for_principal(self, principal: Principal) -> StoreUnreadable:
        """The same as this principal may read it; what that leaves out is in the log."""
        if principal.is_of_gateway or self.text == self.public:
            return self
        _log.error("%s", self.text)
        return StoreUnreadable(self.public, self.public)


def text_for_all(refusal: Refusal) -> str:
    """Return what anybody may read of a refusal that is kept; what a store said of itself is logged."""
    if isinstance(refusal, StoreUnreadable):
        _log.error("%s", refusal.text)
        return refusal.public
    return "; ".join(map(str, refusal.errors)) or refusal.text


class BusyRefusal(Refusal):
    """Too much of the kind is under way, in this process or of who asks: the same may be done a little later.

    again: seconds after which it is worth asking once more. kind: by which a command ends.
    """

    def __init__(self, text: str, again: int = 15, kind: RefusalKind = RefusalKind.CONFLICT) -> None:
        super().__init__(kind, text)
        self.again = again


def wrong_field(field: str, wrong: str, text: str = "") -> Refusal:
    """A refusal (INPUT) for one field. wrong: why its value cannot be taken. text: of the refusal, `wrong` if empty."""
    return Refusal(RefusalKind.INPUT, text or wrong, [FieldError(field, wrong)])


@contextmanager
def refusing(
    kind: RefusalKind, *errors: type[Exception], text: str = "{error}", field: str = "", **values: object
) -> Iterator[None]:
    """Refuse what ends within by one of these errors. text: of the refusal, with the error and these values.

    field: that the error is about, if it is about one. What a store says of itself, and why resources cannot be used,
    is a `StoreUnreadable`.
    """
    try:
        yield
    except errors as error:
        why = str(error)
        if kind is RefusalKind.UNREADABLE and isinstance(error, StoreFailure | ResourceErrors):
            raise StoreUnreadable(text.format(error=why, **values)) from error
        fields = [FieldError(field, why)] if field else ()
        raise Refusal(kind, text.format(error=why, **values), fields) from error
