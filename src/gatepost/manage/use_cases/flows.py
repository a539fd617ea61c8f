"""Mail received and sent in the last day, hour by hour, by how it was protected."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.declaration import Visibility, use_case
from gatepost.store.storage import Storage
from gatepost.store.trace import HOUR, Flow

if TYPE_CHECKING:
    from gatepost.manage.use_cases.context import Context
    from gatepost.settings.model import Settings
    from gatepost.store.trace import HourCounts


_HOURS: Final = 24


class CountFlows(msgspec.Struct, kw_only=True):
    """organization: "" for all that are seen."""

    organization: Annotated[str, Meta(max_length=1000)] = ""


class FlowHour(msgspec.Struct):
    """Messages of the hour that begins then, seconds since 1970, by the protection of their connection."""

    begin: int
    event: Literal["SEND", "RECEIVE"]
    authenticated: int
    encrypted: int
    none: int


class Flows(msgspec.Struct):
    """The hours from `begin` on, those of each event in their order. counted: whether there is any message."""

    begin: int
    counted: bool
    hours: list[FlowHour]


def trace_hours(settings: Settings) -> HourCounts:
    """Hourly counts of the trace, kept between calls by `Context.kept`."""
    return Storage.of(settings).trace().hours()


@use_case(scope=Scope.READ, visibility=Visibility.SEEN, tag="reports")
def count_flows(context: Context, request: CountFlows) -> Flows:
    """Count mail received and sent in the last day, hour by hour, by its protection."""
    end = (int(time.time()) // HOUR + 1) * HOUR
    begin = end - _HOURS * HOUR
    seen, organization = context.principal.organizations, request.organization
    if organization:
        seen = frozenset({organization}) if context.principal.sees(organization) else frozenset()
    counted = context.kept(trace_hours).counted(begin, end, seen)
    levels = ("authenticated", "encrypted", "none")
    events: tuple[Literal["SEND", "RECEIVE"], ...] = ("SEND", "RECEIVE")
    hours = [
        FlowHour(hour, event, *(counted[Flow(hour, event, level)] for level in levels))
        for event in events
        for hour in range(begin, end, HOUR)
    ]
    return Flows(begin, bool(counted), hours)
