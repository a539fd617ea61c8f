"""Whether a gateway runs and what it works by: listeners, nameservers, workers, configuration, queue and log-ins.

`status` is all of it, and asks listeners and nameservers; the parts by themselves are read from files. Changes nothing.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from gatepost import __version__
from gatepost.mail.inbound.login import mechanisms
from gatepost.manage.use_cases.alarms import alarms, summary
from gatepost.manage.use_cases.listening import Found
from gatepost.manage.use_cases.queue import entries
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.policy.connectors.grants import ungranted_paths
from gatepost.store.interface import QueueFilter
from gatepost.store.schema import LOCK_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.gateway import Gateway


COUNTED = 10_000
"""Deliveries at which the counting ends."""
_STATES = ("active", "deferred", "held")


class Configuration(NamedTuple):
    """The version in force, 0 before the first; and who made it when, seconds since 1970."""

    version: int
    at: float
    author: str


class AlarmCount(NamedTuple):
    """How much is wrong: None if it cannot be told. text: a line."""

    alarms: int | None
    text: str


class Logins(NamedTuple):
    """By what users log in: the mechanisms that are offered, and the OAuth issuers of each organization."""

    mechanisms: list[str]
    issuers: dict[str, list[str]]
    without_passwords: list[str]


class Status(NamedTuple):
    """software: the version of gatepost. queue: deliveries by state. logins: None where no users are served.

    in_doubt: how many of them were sent before a stop that came before the reply, so that they may arrive twice.
    ungranted: files and sockets in resources that no owner of the gateway granted, which have no effect.
    """

    software: str
    hostname: str
    configuration: Configuration
    listeners: list[Found]
    nameservers: Found
    workers: list[Found]
    queue: dict[str, int]
    logins: Logins | None
    certificates: AlarmCount
    mail: AlarmCount
    in_doubt: int = 0
    ungranted: int = 0

    @property
    def ok(self) -> bool:
        """Whether there are listeners, every one of them answers, nameservers too, and every worker lives."""
        return bool(self.listeners) and all(one.ok for one in [*self.listeners, self.nameservers, *self.workers])


def status(gateway: Gateway, who: Principal) -> Status:
    """All of it; some seconds where a listener does not answer.

    Raises Refusal: UNREADABLE; FORBIDDEN to who sees some organizations only.
    """
    if not who.is_of_gateway:
        raise Refusal(Kind.FORBIDDEN, "The status is the gateway's, and you see some organizations only.")
    settings = gateway.settings
    in_force, (queue, in_doubt) = configuration(gateway), queue_depth(gateway, who)
    certificates, mail = _alarms(gateway, who)
    return Status(
        __version__,
        settings.server.hostname,
        in_force,
        gateway.listening.look(),
        gateway.resolving.look(),
        workers(gateway),
        queue,
        _logins(gateway) if any(one.role.for_users for one in settings.listeners) else None,
        certificates,
        mail,
        in_doubt,
        len(list(ungranted_paths(gateway.directory().resources))),
    )


def status_record(one: Status) -> dict[str, Any]:
    """For machines, as `gatepost status --json` prints it."""
    return {
        "ok": one.ok,
        "software": one.software,
        "hostname": one.hostname,
        "configuration": one.configuration._asdict(),
        "listeners": [found._asdict() for found in one.listeners],
        "nameservers": one.nameservers._asdict(),
        "workers": [found._asdict() for found in one.workers],
        "queue": one.queue,
        "in_doubt": one.in_doubt,
        "logins": one.logins._asdict() if one.logins is not None else None,
        "certificates": one.certificates._asdict(),
        "mail": one.mail._asdict(),
        "ungranted": one.ungranted,
    }


def status_of(record: Mapping[str, Any]) -> Status:
    """What `status_record` tells. Raises TypeError, LookupError or msgspec.ValidationError for what it never told."""
    logins = record["logins"]
    return Status(
        record["software"],
        record["hostname"],
        Configuration(**record["configuration"]),
        [Found(**one) for one in record["listeners"]],
        Found(**record["nameservers"]),
        [Found(**one) for one in record["workers"]],
        msgspec.convert(record["queue"], dict[str, int]),
        Logins(**logins) if logins is not None else None,
        AlarmCount(**record["certificates"]),
        AlarmCount(**record["mail"]),
        # An earlier version at the other end says neither.
        int(record.get("in_doubt", 0)),
        int(record.get("ungranted", 0)),
    )


def configuration(gateway: Gateway) -> Configuration:
    """Raises Refusal (UNREADABLE)."""
    with gateway.config() as store:
        newest = store.history(limit=1)
    return Configuration(newest[0].version, newest[0].at, newest[0].author) if newest else Configuration(0, 0.0, "")


def queue_depth(gateway: Gateway, who: Principal) -> tuple[dict[str, int], int]:
    """How many deliveries there are, by state, and how many of them are in doubt; the counting ends at COUNTED.

    Raises Refusal (UNREADABLE).
    """
    found = entries(gateway, who, QueueFilter(limit=COUNTED))
    in_doubt = sum(any(one.in_doubt for one in entry.delivery.recipients) for entry in found)
    return {state: sum(entry.state == state for entry in found) for state in _STATES}, in_doubt


def workers(gateway: Gateway) -> list[Found]:
    """Whether the processes live that took the workers' shards of the queue."""
    count = gateway.settings.server.workers or len(os.sched_getaffinity(0))
    return [_worker(gateway, index) for index in range(count)]


def _worker(gateway: Gateway, index: int) -> Found:
    try:
        pid = int((gateway.data / "queue" / str(index) / LOCK_FILE).read_text(encoding="ascii"))
        os.kill(pid, 0)
    except PermissionError:
        return Found(str(index), ok=True, detail="runs, under another account")
    except (OSError, ValueError, OverflowError):
        return Found(str(index), ok=False, detail="does not run")
    return Found(str(index), ok=True, detail=f"runs, process {pid}")


def _alarms(gateway: Gateway, who: Principal) -> tuple[AlarmCount, AlarmCount]:
    """How much is wrong with the gateway's own certificates, and with mail."""
    try:
        found = alarms(gateway, who, time.time())
    except Refusal as refusal:
        untold = AlarmCount(None, f"cannot be told: {refusal.text}")
        return untold, untold
    own, mail = found.of_certificates(), found.of_mail()
    return AlarmCount(len(own.alarms), summary(own, "gatepost certificate alarms")), AlarmCount(
        len(mail.alarms), summary(mail)
    )


def _logins(gateway: Gateway) -> Logins:
    directory = gateway.directory()
    organizations = directory.resources.organizations
    issuers = {one.name: [issuer.name for issuer in one.oauth_issuers if issuer.enabled] for one in organizations}
    return Logins(
        list(mechanisms(directory)),
        {organization: names for organization, names in issuers.items() if names},
        [one.name for one in organizations if not one.allow_basic_auth_smtp],
    )
