"""What is wrong, or soon will be: `gatepost alarms` as a call."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.analysis.alarms.alarm import Kind, Severity  # noqa: TC001 - msgspec reads the types of fields
from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.endpoint import Endpoint, Reach
from gatepost.manage.use_cases.alarms import alarms, alarms_record

if TYPE_CHECKING:
    from gatepost.manage.rest.endpoint import Asked


class StandingAlarm(msgspec.Struct):
    """One thing that somebody must see to.

    certificate: its id. about: the host, name, address or partner. lines: to be typed or put into a zone. since:
    seconds since 1970.
    """

    kind: Kind
    severity: Severity
    certificate: str | None
    about: str | None
    title: str
    detail: str
    fix: str
    lines: list[str]
    since: float


class Alarms(msgspec.Struct):
    """The gravest first. looked: when the world was last looked at, seconds since 1970. unknown: what nobody knows."""

    alarms: list[StandingAlarm]
    looked: float | None
    unknown: list[str]


def _alarms(asked: Asked) -> dict[str, Any]:
    return alarms_record(alarms(asked.gateway, asked.principal, time.time()))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/alarms",
        "What is wrong, or soon will be, and what to do about it",
        _alarms,
        Alarms,
        Scope.READ,
        Reach.SEEN,
        "status",
        description="As the running gateway found it when it last looked; nobody is asked. Who sees some organizations "
        "finds what is wrong with their mail.",
    ),
)
