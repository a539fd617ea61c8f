"""Helpers of the use cases of users, API tokens and own accounts: their names, and the organizations that they may see.

What an account may see is checked against the organizations there are, so that a slip of the pen gives nobody less
than was meant, or more later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from gatepost.manage.use_cases.declaration import Cli
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.policy.connectors.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Collection

    from gatepost.manage.use_cases.context import Context


type KnownName = Annotated[str, Meta(description="Its name, in any case."), Cli(argument=True, metavar="NAME")]
type NewName = Annotated[str, Meta(max_length=100), Cli(argument=True, metavar="NAME")]
type ShortText = Annotated[str, Meta(max_length=500)]
type Organizations = Annotated[list[ShortText], Meta(max_length=1000)]
"""Names; None in its place is the whole gateway."""


def organizations_option(otherwise: str) -> Cli:
    """`--organization NAME`, several times. otherwise: what holds without it."""
    text = f"Only this organization; may be given several times. Without it {otherwise}."
    return Cli(option="organization", metavar="NAME", help=text)


def names_of(organizations: frozenset[str] | None) -> list[str] | None:
    """For a result: sorted."""
    return None if organizations is None else sorted(organizations)


def demand_organizations(context: Context, names: Collection[str] | None) -> None:
    """Raise Refusal (INPUT) for each that there is not."""
    if not names:
        return
    known = {organization.name for organization in context.directory().resources.organizations}
    unknown = sorted(set(names) - known)
    if unknown:
        there = ", ".join(sorted(known)) or "none yet; gatepost organization add NAME makes one"
        errors = [
            FieldError("organizations", f"there is no organization {name!r}; there are: {there}") for name in unknown
        ]
        raise Refusal(RefusalKind.INPUT, "nothing was changed", errors)
