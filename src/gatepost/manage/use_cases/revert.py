"""Make the resources again what they were at an earlier version: of the history, and to undo a change just made.

A revert is a change like any other: checked with all other resources, in the history, and refused if somebody changed
something since its author looked. What it takes back is listed with who did it, so that nobody's work is lost unseen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.change import Edit, change
from gatepost.manage.use_cases.change_shapes import ChangeReport, ChangeRequest, fields_of, options_of
from gatepost.manage.use_cases.declaration import Cli, UseCaseReply, Visibility, use_case
from gatepost.manage.use_cases.history import HistoryEntry, history, history_entry
from gatepost.manage.use_cases.name_lookup import choose_organization
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, wrong_field

if TYPE_CHECKING:
    from gatepost.manage.use_cases.context import Context
    from gatepost.policy.connectors.resources import Resources


_LISTED: Final = 100  # changes that are taken back, of which who made them is told


class RevertResources(ChangeRequest, kw_only=True):
    """version: the resources become what they were then; with 0 what they were before the first change."""

    version: Annotated[
        int, Meta(ge=0, lt=2**62, description="Version to go back to."), Cli(argument=True, metavar="VERSION")
    ]
    organization: Annotated[
        str, Meta(max_length=100, description="Only this organization; all that are seen if it is empty.")
    ] = ""


class RevertReport(ChangeReport, kw_only=True):
    """As of any change. undone: changes that it takes back, the newest first, at most 100."""

    undone: list[HistoryEntry]


@use_case(
    "POST /history/{version}/revert",
    scope=Scope.CONNECTORS,
    visibility=Visibility.SEEN,
    tag="resources",
    dry_run=True,
    guarded=True,
    versioned=True,
)
def revert_resources(context: Context, request: RevertResources) -> UseCaseReply[RevertReport]:
    """Make the resources what they were at a version.

    Only organizations that the caller sees, and that were changed since, are touched. Keys and secrets that were
    removed with a resource do not come back; the warnings name them.
    """
    earlier = _earlier(context, request)

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        for name, table in earlier.items():
            if not context.principal.is_of_gateway:
                choose_organization(resources, name)
            draft.pop(name, None)
            if table is not None:
                draft[name] = table
        return Edit(tuple(earlier), restores=True)

    outcome = change(context.gateway, context.principal, step, options_of(context, request), whole=True)
    undone = _undone(context, request, outcome.version)
    return UseCaseReply(RevertReport(**fields_of(context, outcome), undone=undone), outcome.version)


def _earlier(context: Context, request: RevertResources) -> dict[str, Any]:
    """Each organization as it was, None if it was not there, of those that were changed since. Raises Refusal."""
    if request.organization and not context.principal.sees(request.organization):
        raise Refusal(RefusalKind.MISSING, f"There is no organization {request.organization!r}.")
    names = [request.organization] if request.organization else context.principal.organizations
    with context.config() as store:
        current = store.version()
        if request.version > current:
            raise wrong_field("version", f"is not there yet: the newest is {current}", "Nothing was done.")
        return store.earlier(request.version, names)


def _undone(context: Context, request: RevertResources, made: int) -> list[HistoryEntry]:
    """The changes between the two versions. made: the version of the revert itself, or the newest one of a dry run."""
    changes = history(
        context.gateway,
        context.principal,
        organization=request.organization,
        limit=_LISTED,
        before=0 if context.dry_run else made,
    )
    return [history_entry(change) for change in changes if change.version > request.version]
