"""Requests and results that all use cases share that change resources."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from gatepost.manage.use_cases.change import ChangeOptions, ChangeResult
from gatepost.manage.use_cases.declaration import InQuery, UseCaseReply
from gatepost.manage.use_cases.differences import FieldChange  # noqa: TC001 - msgspec reads it
from gatepost.manage.use_cases.nodes import NodesInForce, await_in_force
from gatepost.manage.use_cases.refusal import wrong_field
from gatepost.manage.use_cases.remaining_access import remaining_access
from gatepost.manage.use_cases.times import moment

if TYPE_CHECKING:
    from gatepost.manage.use_cases.blast_radius import Radius
    from gatepost.manage.use_cases.context import Context


type Note = Annotated[str, Meta(max_length=1000, description="Reason, recorded in the history."), InQuery()]
type Since = Annotated[
    str,
    Meta(max_length=64, description="With dry_run: mail since then is decided again. An age such as 7d, or a date."),
    InQuery(),
]


class ChangeRequest(msgspec.Struct, kw_only=True):
    """Fields of every request that changes resources. since: "" decides no mail again."""

    note: Note = ""
    since: Since = "7d"


class ChangeReport(msgspec.Struct):
    """Result of a change, or with dry_run of one that was not made.

    version: the one in force now. warnings: what to think about because of it; standing: what was so before. notes:
    what is left to do elsewhere, such as DNS records. blast_radius: with dry_run, what it touches and what it would
    have done to recent mail. nodes: where it is in force two seconds later at most, if several nodes run.
    """

    version: int
    dry_run: bool
    changes: list[FieldChange]
    warnings: list[str]
    standing: list[str]
    notes: list[str]
    blast_radius: dict[str, Any] | None = None
    nodes: NodesInForce | None = None

    @property
    def places(self) -> str:
        """Where it is in force, for the end of a sentence: ", in force on mx1, mx2"; "" where one node runs."""
        return f", {self.nodes.text}" if self.nodes is not None else ""

    @property
    def radius(self) -> Radius | None:
        """The blast radius to be shown."""
        from gatepost.manage.use_cases.blast_radius import radius_of  # noqa: PLC0415 - who only lists needs none

        return None if self.blast_radius is None else radius_of(self.blast_radius)


def options_of(context: Context, request: ChangeRequest) -> ChangeOptions:
    """Options for `change`. Raises Refusal (INPUT) for a time that is none."""
    since = _since(request.since) if context.dry_run else time.time()
    return ChangeOptions(context.principal.name, request.note, context.dry_run, since, context.expected)


def _since(text: str) -> float | None:
    try:
        return moment(text) if text else None
    except ValueError as error:
        raise wrong_field("since", str(error), "1 error; nothing was done.") from error


def fields_of(context: Context, outcome: ChangeResult) -> dict[str, Any]:
    """The fields of a `ChangeReport`. Waits for the nodes of a site, two seconds at most."""
    from gatepost.manage.use_cases.blast_radius import radius_record  # noqa: PLC0415 - as above

    changed = bool(outcome.changes) and not outcome.dry_run
    return {
        "version": outcome.version,
        "dry_run": outcome.dry_run,
        "changes": outcome.changes,
        "warnings": [*outcome.warnings, *remaining_access(context, outcome.changes)],
        "standing": outcome.standing,
        "notes": outcome.notes,
        "blast_radius": None if outcome.radius is None else radius_record(outcome.radius),
        "nodes": await_in_force(context, outcome.version) if changed else None,
    }


def change_reply(
    context: Context, outcome: ChangeResult, *, location: str = "", created: bool = False
) -> UseCaseReply[ChangeReport]:
    """The reply of a use case that changed resources. location, created: as in `UseCaseReply`."""
    return UseCaseReply(
        ChangeReport(**fields_of(context, outcome)), outcome.version, location, created and not outcome.dry_run
    )
