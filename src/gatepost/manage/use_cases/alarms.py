"""What is wrong with the gateway, or soon will be, as its administrators see it.

What the running gateway found when it last looked (`node.alarms`), and judged anew what needs no look: ends of
validity, names, what is staged. Asks nobody and changes nothing. Who sees only some organizations finds what is wrong
with mail of theirs; certificates are the gateway's.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gatepost.analysis.alarms.alarm import Alarm, Severity
from gatepost.analysis.alarms.alarm import Kind as AlarmKind
from gatepost.analysis.alarms.alarm_state import ALARMS_CONTENT, Memory, advance, decoded
from gatepost.analysis.alarms.domain_conflicts import domain_conflicts
from gatepost.analysis.alarms.grants import judge_grants
from gatepost.analysis.checks.alarm_subjects import connector_files, failing_renewals, scope_of
from gatepost.analysis.checks.certificate_alarms import Observed, judge, undecided, watched
from gatepost.manage.use_cases.inventory import settings_files
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.times import stamp
from gatepost.pki.certificates.inventory import Inventory
from gatepost.pki.certificates.listed import listed
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.gateway import Gateway


_STALE = 26 * 3600.0  # seconds: a gateway that runs looks once a day


@dataclass(frozen=True, slots=True)
class Found:
    """alarms: the gravest first. looked: when the world was last looked at, 0.0 for never. unknown: sentences."""

    alarms: tuple[Alarm, ...]
    looked: float
    unknown: tuple[str, ...]

    def of_certificates(self) -> Found:
        """The part that is about certificates."""
        return replace(self, alarms=tuple(one for one in self.alarms if not one.kind.of_mail))

    def of_mail(self) -> Found:
        """The part that is about mail on its way; it is known whatever was looked at."""
        return replace(self, alarms=tuple(one for one in self.alarms if one.kind.of_mail), unknown=())


def alarms(gateway: Gateway, who: Principal, now: float) -> Found:
    """What stands at `now`. Raises Refusal (UNREADABLE) if the store, or what is in it, cannot be read."""
    found = _found(gateway, now)
    return found if who.is_of_gateway else _seen(found, who)


def _seen(found: Found, who: Principal) -> Found:
    """An alarm of mail is about "organization/…", as `analysis.alarms.mail_flow` names its subjects."""
    own = tuple(one for one in found.of_mail().alarms if "/" in one.about and who.sees(one.about.partition("/")[0]))
    return Found(own, found.looked, ())


def _found(gateway: Gateway, now: float) -> Found:
    settings, directory = gateway.settings, gateway.directory()
    organizations = directory.organizations
    try:
        with gateway.config() as store:
            certificates = listed(Inventory(store, None), settings_files(settings), now=now, with_chains=False)
            memory = decoded(store.content(ALARMS_CONTENT))
            scope = scope_of(organizations, settings)
            observed = Observed(renewals=failing_renewals(settings, store, scope))
    except (StoreFailure, ValueError) as failure:
        raise Refusal(Kind.UNREADABLE, f"{gateway.data}: {failure}") from failure
    entries = connector_files(organizations, now) | certificates.entries
    judged = judge(entries, scope, observed, troubles=memory.troubles, roots=memory.roots, now=now)
    judged = (*domain_conflicts(directory.disputes), *judged, *judge_grants(directory.resources))

    def is_open(alarm: Alarm) -> bool:
        """What mail shows only the running gateway knows."""
        return alarm.kind.of_traffic or undecided(alarm, entries, scope, observed)

    memory, _ = advance(memory, judged, is_open, now=now)
    order = tuple(Severity)
    standing = sorted(memory.alarms, key=lambda one: (-order.index(one.severity), one.since))
    unknown = (*certificates.trouble, *_unknown(memory, now)) if watched(entries, scope) else certificates.trouble
    return Found(tuple(standing), memory.looked, unknown)


def _unknown(memory: Memory, now: float) -> tuple[str, ...]:
    if not memory.looked:
        return ("revocation, TLSA records and addresses were never looked at: the gateway does that when it runs",)
    if now > memory.looked + _STALE:
        return (f"the last look was at {stamp(memory.looked)}: the gateway does that when it runs",)
    return memory.unknown


def summary(found: Found, command: str = "gatepost alarms") -> str:
    """One line: how many alarms, the gravest one, and which command says more."""
    if not found.alarms:
        return f"not all can be told: {found.unknown[0]}" if found.unknown else "no alarms"
    counts = Counter(one.severity for one in found.alarms)
    many = ", ".join(f"{counts[one]} {one}" for one in reversed(tuple(Severity)) if counts[one])
    return f"{many}: {found.alarms[0].title} ({command})"


def alarms_record(found: Found) -> dict[str, Any]:
    """For machines, as `gatepost alarms --json` prints it."""
    return {
        "alarms": [alarm_record(one) for one in found.alarms],
        "looked": found.looked or None,
        "unknown": list(found.unknown),
    }


def alarms_of(record: Mapping[str, Any]) -> Found:
    """What `alarms_record` tells. Raises ValueError or LookupError for what it never told."""
    told = tuple(_alarm(one) for one in record["alarms"])
    return Found(told, record["looked"] or 0.0, tuple(record["unknown"]))


def _alarm(record: Mapping[str, Any]) -> Alarm:
    return Alarm(
        AlarmKind(record["kind"]),
        Severity(record["severity"]),
        record["certificate"] or "",
        record["title"],
        record["detail"],
        record["fix"],
        record["about"] or "",
        tuple(record["lines"]),
        since=record["since"],
    )


def alarm_record(one: Alarm) -> dict[str, Any]:
    """One of them."""
    return {
        "kind": str(one.kind),
        "severity": str(one.severity),
        "certificate": one.certificate or None,
        "about": one.about or None,
        "title": one.title,
        "detail": one.detail,
        "fix": one.fix,
        "lines": list(one.lines),
        "since": one.since,
    }
