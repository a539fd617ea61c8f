"""What calls that change resources have in common: their parameters, their wish, their answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from gatepost.manage.rest.endpoint import Answer
from gatepost.manage.rest.problem import Problem
from gatepost.manage.use_cases.change import Wish, outcome_record
from gatepost.manage.use_cases.times import TimeText as TimeText  # noqa: PLC0414 - for endpoints by hand
from gatepost.manage.use_cases.times import moment
from gatepost.manage.web.problem import ProblemType
from gatepost.policy.connectors.errors import FieldError

if TYPE_CHECKING:
    from gatepost.manage.rest.endpoint import Asked
    from gatepost.manage.use_cases.change import Outcome


class ChangeQuery(msgspec.Struct, kw_only=True):
    """Parameters of every change of resources."""

    note: Annotated[str, Meta(max_length=1000, description="Why, for the history.")] = ""
    since: Annotated[
        str,
        Meta(
            max_length=64, description="With dry_run: mail since then is decided again. An age such as 7d, or a date."
        ),
    ] = "7d"


class FieldChange(msgspec.Struct):
    """One field that is added (+), removed (-) or changed (~)."""

    sign: str
    field: str
    before: Any
    after: Any


class ChangeOutcome(msgspec.Struct):
    """What a change did, or with dry_run would do.

    version: the one in force now. warnings: what to think about because of it; standing: what was so before. notes:
    what is left to do elsewhere, such as DNS records. blast_radius: with dry_run, what it touches and what it would
    have done to recent mail.
    """

    version: int
    dry_run: bool
    changes: list[FieldChange]
    warnings: list[str]
    standing: list[str]
    notes: list[str]
    blast_radius: dict[str, Any] | None = None


def wish(asked: Asked) -> Wish:
    """How the change is to be made. Raises Problem for a time that is none."""
    since = seconds("since", asked.query.since) if asked.dry_run else time.time()
    return Wish(asked.principal.name, asked.query.note, asked.dry_run, since, asked.expected)


def answer(outcome: Outcome, *, location: str = "", status: int | None = None) -> Answer:
    """The outcome as JSON, of the version that is in force now."""
    said = {"warnings": outcome.warnings, "standing": outcome.standing, "notes": outcome.notes}
    return Answer({"blast_radius": None} | outcome_record(outcome) | said, outcome.version, location, status)


def seconds(name: str, text: str, part: str = "query.") -> float:
    """A time, as seconds since 1970. part: of the call that it is in, "" for the body. Raises Problem."""
    try:
        return moment(text)
    except ValueError as error:
        raise Problem(
            ProblemType.INVALID, "1 error(s); nothing was done.", [FieldError(f"{part}{name}", str(error))]
        ) from error
