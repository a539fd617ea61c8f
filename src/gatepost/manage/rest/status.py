"""How the gateway is: `gatepost status` as a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.manage.access.principal import Scope
from gatepost.manage.rest.endpoint import Endpoint, Reach
from gatepost.manage.use_cases.status import status, status_record

if TYPE_CHECKING:
    from gatepost.manage.rest.endpoint import Asked


class StatusConfiguration(msgspec.Struct):
    """The version in force, 0 before the first; and who made it when, seconds since 1970."""

    version: int
    at: float
    author: str


class StatusListener(msgspec.Struct):
    """A listener, or what is served beside mail. ok: it answers as it should. detail: what it says."""

    name: str
    ok: bool
    detail: str


class StatusNameservers(msgspec.Struct):
    """The nameservers that the gateway asks. ok: one answers. detail: else what happened, with its address."""

    name: str
    ok: bool
    detail: str


class StatusWorker(msgspec.Struct):
    """A worker process."""

    name: str
    ok: bool
    detail: str


class StatusQueue(msgspec.Struct):
    """Deliveries by state; the counting ends at 10,000."""

    active: int
    deferred: int
    held: int


class StatusLogins(msgspec.Struct):
    """By what users log in. issuers: of OAuth, by organization. without_passwords: organizations that take none."""

    mechanisms: list[str]
    issuers: dict[str, list[str]]
    without_passwords: list[str]


class StatusAlarms(msgspec.Struct):
    """How many alarms there are, null if that cannot be told; and a line about them."""

    alarms: int | None
    text: str


class Status(msgspec.Struct):
    """ok: every listener answers, nameservers too, and every worker lives. software: the version of gatepost.

    in_doubt: deliveries of the queue that were sent before a stop that came before the reply: they may arrive twice.
    logins: null where no listener is for users. certificates, mail: what is wrong with either (GET /alarms). ungranted:
    files and sockets in resources that have no effect, as no owner of the gateway granted them (GET /grants/missing).
    """

    ok: bool
    software: str
    hostname: str
    configuration: StatusConfiguration
    listeners: list[StatusListener]
    nameservers: StatusNameservers
    workers: list[StatusWorker]
    queue: StatusQueue
    in_doubt: int
    logins: StatusLogins | None
    certificates: StatusAlarms
    mail: StatusAlarms
    ungranted: int


def _status(asked: Asked) -> dict[str, Any]:
    return status_record(status(asked.gateway, asked.principal))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/status",
        "Whether listeners and workers live, the configuration in force, the queue, what is wrong",
        _status,
        Status,
        Scope.READ,
        Reach.GATEWAY,
        "status",
        description="The listeners are asked, which takes some seconds if one does not answer.",
    ),
)
