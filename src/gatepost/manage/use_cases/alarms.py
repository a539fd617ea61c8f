"""Alarms of the gateway: what is wrong, or soon will be, as its administrators see it.

What the running gateway found when it last looked (`node.alarms`), and judged anew what needs no look: ends of
validity, names, what is staged, and a disk that is full, of which the running gateway can note nothing. Asks nobody and
changes nothing. Who sees only some organizations finds what is wrong with mail of theirs; certificates are the
gateway's.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from gatepost.analysis.alarms.alarm import ALARMS_CONTENT, Alarm, Memory, Severity, advance, decoded
from gatepost.analysis.alarms.alarm import Kind as AlarmKind
from gatepost.analysis.alarms.domain_conflicts import domain_conflicts, judge_grants
from gatepost.analysis.alarms.machine import MachineFacts, judge_machine
from gatepost.analysis.alarms.site_certificates import judge_site_certificates
from gatepost.analysis.checks.alarm_subjects import connector_files, failing_renewals, scope_of, site_certificates
from gatepost.analysis.checks.certificate_alarms import Observed, judge, undecided, watched
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.declaration import Visibility, use_case
from gatepost.manage.use_cases.inventory import settings_files
from gatepost.manage.use_cases.refusal import RefusalKind, refusing
from gatepost.manage.use_cases.times import stamp
from gatepost.node.machine_findings import disk_refusal
from gatepost.pki.certificates.inventory import Inventory, listed
from gatepost.quantity import quantity
from gatepost.store.interface import StoreFailure
from gatepost.values import copy_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.context import Context, Gateway


_STALE = 26 * 3600.0  # seconds: a gateway that runs looks once a day


class ListAlarms(msgspec.Struct, kw_only=True):
    """All of them."""


class ActiveAlarm(msgspec.Struct, frozen=True):
    """One thing that somebody must see to.

    certificate: its id. about: the host, name, address or partner. lines: to be typed or put into a zone. since:
    seconds since 1970.
    """

    kind: AlarmKind
    severity: Severity
    certificate: str | None
    about: str | None
    title: str
    detail: str
    fix: str
    lines: list[str]
    since: float


class ActiveAlarms(msgspec.Struct, frozen=True):
    """The gravest first. looked: when the world was last looked at, seconds since 1970. unknown: what nobody knows."""

    alarms: list[ActiveAlarm]
    looked: float | None
    unknown: list[str]

    def of_certificates(self) -> ActiveAlarms:
        """The part that is about certificates."""
        return replace(self, alarms=[alarm for alarm in self.alarms if not alarm.kind.of_mail])

    def of_mail(self) -> ActiveAlarms:
        """The part that is about mail on its way; it is known whatever was looked at."""
        return replace(self, alarms=[alarm for alarm in self.alarms if alarm.kind.of_mail], unknown=[])


@use_case("GET /alarms", scope=Scope.READ, visibility=Visibility.SEEN, tag="status")
def list_alarms(context: Context, request: ListAlarms) -> ActiveAlarms:  # noqa: ARG001 - there is nothing to ask for
    """List alarms: what is wrong, or soon will be, and what to do about it.

    As the running gateway found it when it last looked; nobody is asked. Who sees some organizations finds what is
    wrong with their mail.
    """
    return current_alarms(context.gateway, context.principal, time.time())


def current_alarms(gateway: Gateway, principal: Principal, now: float) -> ActiveAlarms:
    """Alarms at `now`. Raises Refusal (UNREADABLE) if the store, or what is in it, cannot be read."""
    alarms = _all_alarms(gateway, now)
    return alarms if principal.is_of_gateway else _visible(alarms, principal)


def _visible(alarms: ActiveAlarms, principal: Principal) -> ActiveAlarms:
    """An alarm of mail is about "organization/…", as `analysis.alarms.mail_flow` names its subjects."""
    own = [alarm for alarm in alarms.of_mail().alarms if _is_visible(alarm, principal)]
    return ActiveAlarms(own, alarms.looked, [])


def _is_visible(alarm: ActiveAlarm, principal: Principal) -> bool:
    organization, slash, _ = (alarm.about or "").partition("/")
    return bool(slash) and principal.sees(organization)


def _all_alarms(gateway: Gateway, now: float) -> ActiveAlarms:
    settings, directory = gateway.settings, gateway.directory()
    organizations = directory.organizations
    with (
        refusing(RefusalKind.UNREADABLE, StoreFailure, ValueError, text="{data}: {error}", data=gateway.data),
        gateway.config() as store,
    ):
        certificates = listed(Inventory(store, None), settings_files(settings), now=now, with_chains=False)
        memory = decoded(store.content(ALARMS_CONTENT))
        scope = scope_of(organizations, settings)
        observed = Observed(renewals=failing_renewals(settings, store, scope, now))
        of_site = judge_site_certificates(site_certificates(settings, store), now)
    entries = connector_files(organizations, now) | certificates.entries
    judged = judge(entries, scope, observed, troubles=memory.troubles, roots=memory.roots, now=now)
    refusal = disk_refusal(settings)
    node = settings.server.node_name if store.is_shared else ""
    machine = judge_machine(MachineFacts((refusal,), node=node)) if refusal else ()
    judged = (*domain_conflicts(directory.disputes), *judged, *judge_grants(directory.resources), *machine, *of_site)

    def is_open(alarm: Alarm) -> bool:
        """Keep alarms that only the running gateway can end."""
        return alarm.kind.of_running_gateway or undecided(alarm, entries, scope, observed)

    memory, _ = advance(memory, judged, is_open, now=now)
    order = tuple(Severity)
    alarms = sorted(memory.alarms, key=lambda alarm: (-order.index(alarm.severity), alarm.since))
    unknown = (*certificates.trouble, *_unknown(memory, now)) if watched(entries, scope) else certificates.trouble
    return ActiveAlarms([_alarm(alarm) for alarm in alarms], memory.looked or None, _not_in(alarms, unknown))


def _not_in(alarms: Sequence[Alarm], unknown: Sequence[str]) -> list[str]:
    """What no alarm says: a certificate with a missing key has one."""
    details = {alarm.detail.removesuffix(".").casefold() for alarm in alarms}
    return [text for text in unknown if text.casefold() not in details]


def _unknown(memory: Memory, now: float) -> tuple[str, ...]:
    if not memory.looked:
        return ("revocation, TLSA records and addresses were never checked: the gateway checks them when it runs",)
    if now > memory.looked + _STALE:
        return (f"the last check was at {stamp(memory.looked)}: the gateway checks when it runs",)
    return memory.unknown


def summary(alarms: ActiveAlarms, command: str = "gatepost alarms") -> str:
    """One line: how many alarms, the gravest one, and which command says more."""
    if not alarms.alarms:
        return f"some checks could not run: {alarms.unknown[0]}" if alarms.unknown else "no alarms"
    counts = Counter(alarm.severity for alarm in alarms.alarms)
    many = ", ".join(_counted(severity, counts[severity]) for severity in reversed(tuple(Severity)) if counts[severity])
    return f"{many}: {alarms.alarms[0].title} (see {command})"


def _counted(severity: Severity, number: int) -> str:
    match severity:
        case Severity.WARNING:
            return quantity(number, "warning")
        case Severity.ERROR:
            return quantity(number, "error")
        case Severity.CRITICAL:
            return quantity(number, "critical alarm")


def _alarm(alarm: Alarm) -> ActiveAlarm:
    return copy_fields(ActiveAlarm, alarm, certificate=alarm.certificate or None, about=alarm.about or None)
