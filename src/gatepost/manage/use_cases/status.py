"""Status of a gateway: is it running? listeners, nameservers, workers, configuration, queue and log-ins.

`get_status` is all of it, and asks listeners and nameservers; its parts are read from files. Changes nothing.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec

from gatepost import __version__
from gatepost.mail.inbound.login import mechanisms
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.alarms import current_alarms, summary
from gatepost.manage.use_cases.declaration import Visibility, use_cases
from gatepost.manage.use_cases.listener_checks import ListenerChecks, ResolverCheck, ServiceStatus
from gatepost.manage.use_cases.nodes import NodeStatus, known_nodes, shown_nodes
from gatepost.manage.use_cases.queue import entries
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.node.machine_findings import disk_refusal
from gatepost.policy.connectors.grants import ungranted_paths
from gatepost.store.figures import WORKERS_DIRECTORY, read_figures, read_silent
from gatepost.store.interface import QueueFilter

if TYPE_CHECKING:
    from gatepost.manage.use_cases.context import Context, Gateway


use_case = use_cases(scope=Scope.READ, visibility=Visibility.GATEWAY, tag="status")
ABSENT = "does not run"  # the detail of a worker
COUNTED = 10_000
"""Deliveries at which the counting ends."""
_STATES = ("active", "deferred", "held")


class GetStatus(msgspec.Struct, kw_only=True):
    """All of it."""


class StatusConfiguration(msgspec.Struct, frozen=True):
    """The version in force, 0 before the first; and who made it when, seconds since 1970."""

    version: int
    at: float
    author: str


class StatusQueue(msgspec.Struct, frozen=True):
    """Deliveries by state; the counting ends at 10,000."""

    active: int
    deferred: int
    held: int


class StatusLogins(msgspec.Struct, frozen=True):
    """By what users log in. issuers: of OAuth, by organization. without_passwords: organizations that take none."""

    mechanisms: list[str]
    issuers: dict[str, list[str]]
    without_passwords: list[str]


class StatusAlarms(msgspec.Struct, frozen=True):
    """Number of alarms, null if it is not known; and a line about them."""

    alarms: int | None
    text: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """ok: every listener answers, nameservers too, and every worker lives and answers.

    ok is about this machine, whatever other nodes do (GET /alarms has `node-silent`). software: the version of
    gatepost.
    nodes: of the site; workers: of this machine. in_doubt: deliveries of the queue that were sent before a stop that
    came before the reply: they may arrive twice. logins: null where no listener is for users. certificates, mail: what
    is wrong with either (GET /alarms). ungranted: files and sockets in resources that have no effect, as no owner of
    the gateway granted them (GET /grants/missing).
    """

    ok: bool
    software: str
    hostname: str
    configuration: StatusConfiguration
    listeners: list[ServiceStatus]
    nameservers: ServiceStatus
    nodes: list[NodeStatus]
    workers: list[ServiceStatus]
    queue: StatusQueue
    in_doubt: int
    logins: StatusLogins | None
    certificates: StatusAlarms
    mail: StatusAlarms
    ungranted: int


@use_case("GET /status")
def get_status(context: Context, request: GetStatus) -> Status:  # noqa: ARG001 - there is nothing to ask for
    """Whether listeners and workers live, the configuration in force, the queue, what is wrong.

    The listeners are asked, which takes some seconds if one does not answer.
    """
    gateway, settings = context.gateway, context.settings
    with ThreadPoolExecutor(2) as threads:  # each may wait: for a database that is far away, or for listeners
        nodes = threads.submit(_nodes, context)
        checks = threads.submit(lambda: (context.kept(ListenerChecks).run(), context.kept(ResolverCheck).run()))
        in_force, (queue, in_doubt) = configuration(gateway), _queue(gateway, context.principal)
        certificates, mail = _alarms(gateway, context.principal)
    listeners, nameservers = checks.result()
    processes = workers(gateway)
    return Status(
        ok=bool(listeners) and all(status.ok for status in [*listeners, nameservers, *processes]),
        software=__version__,
        hostname=settings.server.hostname,
        configuration=in_force,
        listeners=listeners,
        nameservers=nameservers,
        nodes=nodes.result(),
        workers=processes,
        queue=queue,
        in_doubt=in_doubt,
        logins=_logins(gateway) if any(listener.role.for_users for listener in settings.listeners) else None,
        certificates=certificates,
        mail=mail,
        ungranted=len(list(ungranted_paths(context.directory().resources))),
    )


def _nodes(context: Context) -> list[NodeStatus]:
    """The nodes; none where the list cannot be read, as the rest can be told all the same."""
    nodes = known_nodes(context.gateway)
    return list(map(shown_nodes(context.gateway, nodes), nodes))


class RunningConfiguration(msgspec.Struct, frozen=True):
    """The configuration in force, the nodes and the workers: what needs no look at the network."""

    configuration: StatusConfiguration
    nodes: list[NodeStatus]
    workers: list[ServiceStatus]


@use_case()
def get_running(context: Context, request: GetStatus) -> RunningConfiguration:  # noqa: ARG001 - as above
    """The configuration in force, the nodes, and whether the workers live."""
    return RunningConfiguration(configuration(context.gateway), _nodes(context), workers(context.gateway))


def configuration(gateway: Gateway) -> StatusConfiguration:
    """Raises Refusal (UNREADABLE)."""
    with gateway.config() as store:
        newest = store.history(limit=1)
    return (
        StatusConfiguration(newest[0].version, newest[0].at, newest[0].author)
        if newest
        else StatusConfiguration(0, 0.0, "")
    )


def _queue(gateway: Gateway, principal: Principal) -> tuple[StatusQueue, int]:
    """Deliveries by state, and the number of those in doubt; counting ends at COUNTED."""
    queue_entries = entries(gateway, principal, QueueFilter(limit=COUNTED))
    in_doubt = sum(any(recipient.in_doubt for recipient in entry.delivery.recipients) for entry in queue_entries)
    return StatusQueue(**{state: sum(entry.state == state for entry in queue_entries) for state in _STATES}), in_doubt


def workers(gateway: Gateway) -> list[ServiceStatus]:
    """Whether the processes live that took the workers' places in the data directory, and take mail."""
    count = gateway.settings.server.workers or len(os.sched_getaffinity(0))
    return [_worker(gateway, index) for index in range(count)]


def _worker(gateway: Gateway, index: int) -> ServiceStatus:
    try:
        pid = int(gateway.storage.worker_lock(index).read_text(encoding="ascii"))
        os.kill(pid, 0)
    except PermissionError:
        return ServiceStatus(str(index), ok=True, detail="runs, under another account")
    except (OSError, ValueError, OverflowError):
        return ServiceStatus(str(index), ok=False, detail=ABSENT)
    if pid in read_silent(gateway.data / WORKERS_DIRECTORY):
        return ServiceStatus(str(index), ok=False, detail=f"does not answer, process {pid}")
    figures = read_figures(gateway.data / WORKERS_DIRECTORY, index)
    reason = figures.reason if figures.pid == pid else ""
    if reason := reason or disk_refusal(gateway.settings):
        detail = f"runs, process {pid}, and takes no mail: {reason}"
        return ServiceStatus(str(index), ok=False, detail=detail)
    load = f"; {figures.load.text}" if figures.pid == pid and figures.load.text else ""
    return ServiceStatus(str(index), ok=True, detail=f"runs, process {pid}{load}")


def _alarms(gateway: Gateway, principal: Principal) -> tuple[StatusAlarms, StatusAlarms]:
    """Alarms of the gateway's own certificates, and of mail."""
    try:
        alarms = current_alarms(gateway, principal, time.time())
    except Refusal as refusal:
        unknown = StatusAlarms(None, f"not available: {refusal.text}")
        return unknown, unknown
    own, mail = alarms.of_certificates(), alarms.of_mail()
    return StatusAlarms(len(own.alarms), summary(own, "gatepost certificate alarms")), StatusAlarms(
        len(mail.alarms), summary(mail)
    )


def _logins(gateway: Gateway) -> StatusLogins:
    directory = gateway.directory()
    organizations = directory.resources.organizations
    issuers = {
        organization.name: [issuer.name for issuer in organization.oauth_issuers if issuer.enabled]
        for organization in organizations
    }
    return StatusLogins(
        list(mechanisms(directory)),
        {organization: names for organization, names in issuers.items() if names},
        [organization.name for organization in organizations if not organization.allow_basic_auth_smtp],
    )
