"""Drills that are kept, of all connectors: their list, and one of them, verified when it is looked at.

Names of documents tell whose they are without reading them, so that a page costs what its rows cost. Of connectors that
were removed, the drills are for who sees the whole gateway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.declaration import Cli, Items, Visibility, use_cases
from gatepost.manage.use_cases.drills import HeldDrill, verified
from gatepost.manage.use_cases.name_lookup import choose_organization, chosen_organizations
from gatepost.manage.use_cases.paging import Paging, cut, position
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, StoreUnreadable
from gatepost.store.documents import failure_text
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.analysis.checks.evidence import DrillName, Kept
    from gatepost.manage.use_cases.context import Context


use_case = use_cases(scope=Scope.READ, visibility=Visibility.SEEN, tag="connectors")


class ListDrills(Paging, kw_only=True):
    """Filters of drills; empty fields match all."""

    organization: Annotated[str, Meta(max_length=1000), Cli(help="Only of this organization.")] = ""
    connector: Annotated[
        str,
        Meta(max_length=1000, description="Its name; with organization."),
        Cli(help="Only of this connector; name its organization, too."),
    ] = ""


class ShowKeptDrill(msgspec.Struct, kw_only=True):
    """Choose one drill."""

    name: Annotated[str, Meta(max_length=200, description="Of its document, as the list has it.")]


class KeptDrill(msgspec.Struct, frozen=True):
    """A drill in the list. name: of its document. at: when it was held, seconds since 1970.

    number: in its connector's series. fault: why what is kept is not what was written; then nothing else of it may be
    believed. messages_left: how many attacks took the message, those out of scope included.
    """

    name: str
    at: float
    organization: str
    connector: str
    number: int
    passed: bool
    verdict: str
    attacks: int
    messages_left: int
    sha256: str
    fault: str


@use_case("GET /drills")
def list_drills(context: Context, request: ListDrills) -> Items[KeptDrill]:
    """Drills that are kept, the newest first, each verified by its own hash."""
    from gatepost.analysis.checks.evidence import drill_documents, read_drill  # noqa: PLC0415 - most processes list none

    documents = drill_documents(context.storage)
    try:
        names = _seen(context, request)
    except (OSError, StoreFailure) as error:
        raise StoreUnreadable(failure_text(documents, error)) from error
    if request.after:
        after = position(request.after, tuple[str, str])
        names = [name for name in names if (name.at, name.name) < after]
    page, rest = cut(names[: request.limit + 1], request.limit, lambda name: (name.at, name.name))
    return Items([_kept_drill(name, read_drill(documents, name.name)) for name in page], rest)


@use_case("GET /drills/{name}")
def show_kept_drill(context: Context, request: ShowKeptDrill) -> HeldDrill:
    """A drill that is kept, verified now: by its hash, the drills before it and the trace."""
    from gatepost.analysis.checks.evidence import drill_documents, previous, read_drill  # noqa: PLC0415 - most processes list none

    documents = drill_documents(context.storage)
    try:
        name = next((name for name in _seen(context, ListDrills()) if name.name == request.name), None)
        if name is None:
            raise Refusal(RefusalKind.MISSING, f"There is no drill {request.name!r}.")
        kept = read_drill(documents, name.name)
        fault = kept.fault or previous(documents, kept)
    except (OSError, StoreFailure) as error:
        raise StoreUnreadable(failure_text(documents, error)) from error
    return verified(context.gateway, context.principal, kept, fault)


def _seen(context: Context, request: ListDrills) -> Sequence[DrillName]:
    """The drills of connectors that are seen, and of one organization or connector, if it is named.

    Raises Refusal (MISSING) for an organization that is not there; OSError or StoreFailure.
    """
    from gatepost.analysis.checks.evidence import drill_documents, drill_names, series_of  # noqa: PLC0415 - most processes list none

    names = drill_names(drill_documents(context.storage))
    resources = context.seen()
    if request.organization:
        choose_organization(resources, request.organization)
    elif request.connector:
        raise Refusal(RefusalKind.INPUT, "Name the organization of the connector, too.", options=["organization"])
    elif context.principal.is_of_gateway:
        return names
    series = {
        series_of(owner.name, connector)
        for owner in chosen_organizations(resources, request.organization)
        for connector in [request.connector or each.name for each in owner.outbound_connectors]
    }
    return [name for name in names if name.series in series]


def _kept_drill(name: DrillName, kept: Kept) -> KeptDrill:
    from gatepost.analysis.checks.evidence import moment_of  # noqa: PLC0415 - most processes list none

    record = kept.record

    def text(field: str) -> str:
        return str(record.get(field, ""))[:300]

    def number(field: str) -> int:
        value = record.get(field)
        return value if isinstance(value, int) else 0

    passed = not kept.fault and record.get("passed") is True
    return KeptDrill(
        name.name,
        moment_of(name.at),
        text("organization"),
        text("connector"),
        name.number,
        passed=passed,
        verdict=text("verdict"),
        attacks=number("attacks"),
        messages_left=number("messages_left"),
        sha256=kept.sha256[:64],
        fault=kept.fault,
    )
