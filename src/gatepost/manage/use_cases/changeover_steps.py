"""The steps of a changeover: stage, switch now or at a time, cancel, roll back, withdraw, tell partners.

What a step does to the certificates is `pki.certificates.lifecycle`; here it is stored, with who and why, and what the
gates say is heeded. Each step may be tried without storing anything (`dry_run`). Each raises Refusal: CONFLICT if the
state of the certificate does not allow it, MISSING, UNREADABLE.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from gatepost.analysis.checks.changeover import apply_step
from gatepost.analysis.checks.gates import Light, gates_record
from gatepost.analysis.checks.gates_partners import partners_of
from gatepost.analysis.checks.partner_report import Mark
from gatepost.manage.use_cases.changeover import gates_of, scene_of, tlsa_of
from gatepost.manage.use_cases.inventory import (
    choose_certificate,
    inventory_for_look,
    inventory_of,
    listed_certificates,
)
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.times import stamp
from gatepost.net.identity import read_identity
from gatepost.pki.certificates import lifecycle as course
from gatepost.pki.certificates.entry import State, entry_id
from gatepost.pki.certificates.lifecycle import Refused
from gatepost.policy.connectors.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from gatepost.analysis.checks.changeover import Told
    from gatepost.analysis.checks.gates import GateReport
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.pki.certificates.entry import Entry
    from gatepost.pki.certificates.inventory import Inventory
    from gatepost.pki.certificates.listed import Listed


_FAR = 10 * 365 * 86400.0

_NOTE = 1000
_PATIENCE = 30.0  # seconds that a switch waits for its turn at the gates: it must not fail for others' looks

type _Step = Callable[[Entry, Mapping[str, Entry]], tuple[Entry, ...]]


class GatesClosed(Refusal):
    """Not switched: a gate is red, or could not be looked at. report: what was found."""

    def __init__(self, report: GateReport) -> None:
        what = "a gate is red" if report.light is Light.RED else "a gate could not be looked at"
        instead = "; nothing overrides this one" if report.unusable else ", or give a reason to switch all the same"
        kind = Kind.CONFLICT if report.light is Light.RED else Kind.UNREADABLE
        text = f"not switched: {what}; mend it{instead}"
        super().__init__(kind, text, options=[] if report.unusable else ["force"])
        self.report = report


class Switched(NamedTuple):
    """new: as it is now, with `switch_at` if it was planned. olds: whose place it took. report: of the gates before."""

    new: Entry
    olds: tuple[Entry, ...]
    report: GateReport

    @property
    def is_planned(self) -> bool:
        """Whether it waits for its time."""
        return self.new.state is State.NEXT


class RolledBack(NamedTuple):
    """new: staged again. current: those that are presented again. warnings: what of the DNS does not fit them."""

    new: Entry
    current: tuple[Entry, ...]
    warnings: tuple[str, ...]


class PartnersTold(NamedTuple):
    """told: all who know by now. left: who does not."""

    entry: Entry
    told: tuple[str, ...]
    left: tuple[str, ...]


def stage(gateway: Gateway, who: Principal, number: str, named: Sequence[str] = (), *, dry_run: bool = False) -> Entry:
    """Say which current certificates a next one takes the place of, beside those that are plain.

    A deprecated one is staged once more. It is returned as it is then.
    """
    with inventory_of(gateway, keys=False) as inventory:
        found = listed_certificates(inventory, gateway)
        entry = choose_certificate(found, number)
        others = [choose_certificate(found, one) for one in named]

        def step(one: Entry, known: Mapping[str, Entry]) -> tuple[Entry, ...]:
            ready = course.revive(one, known, now=time.time()) if one.state is State.DEPRECATED else one
            return (course.stage(ready, known, [known[other.id] for other in others]),)

        (changed,) = _stored(gateway, who, inventory, entry.id, step, "changeover: staged", dry_run=dry_run)
    return changed


def switch(  # noqa: PLR0913 - everything that a switch can be asked for
    gateway: Gateway,
    who: Principal,
    number: str,
    *,
    at: float | None = None,
    force: str = "",
    dry_run: bool = False,
    heard: Told | None = None,
) -> Switched:
    """Present a staged certificate to new sessions, now or at a time. Running sessions keep what they have.

    The gates are looked at first (heard: as `Gatekeeper.look`), and with `at` (seconds since 1970) once more when the
    time has come. force: a reason, though gates are not green; the history keeps it with what was red. Raises
    GatesClosed, Busy, and Refusal (INPUT) for a time that is past or too far ahead.
    """
    if at is not None:
        _check_time(at)
    with gateway.gates.slot(who.name, _PATIENCE), inventory_for_look(gateway) as inventory:
        found = listed_certificates(inventory, gateway)
        entry = choose_certificate(found, number)
        if entry.state is not State.NEXT:
            text = f"{entry.id} is {entry.state}: only a next certificate can be switched to"
            raise Refusal(Kind.CONFLICT, text)
        report = gates_of(gateway, inventory, entry, scene_of(gateway, found), heard)
        if at is None and (report.unusable or (report.light is not Light.GREEN and not force)):
            raise GatesClosed(report)
        step, note = _planned(at, force) if at is not None else _now(force)
        why = f"; forced: {force} ({report.reasons or 'all gates were open'})" if force else ""
        new, *olds = _stored(gateway, who, inventory, entry.id, step, f"{note}{why}", dry_run=dry_run)
    return Switched(new, tuple(olds), report)


def _check_time(at: float) -> None:
    """Raises Refusal (INPUT) for a time that is past, or so far ahead that no certificate lives until then."""
    now = time.time()
    if at <= now:
        text = f"{stamp(max(at, 0.0))} is in the past"
        raise Refusal(Kind.INPUT, f"{text}; to switch now, name no time", [FieldError("at", text)])
    if not at < now + _FAR:
        text = "that time is more than ten years ahead"
        raise Refusal(Kind.INPUT, text, [FieldError("at", text)])


def _planned(at: float, force: str) -> tuple[_Step, str]:
    def step(one: Entry, _: Mapping[str, Entry]) -> tuple[Entry, ...]:
        return (course.schedule(one, at, now=time.time(), forced=force),)

    return step, f"changeover: planned for {stamp(at)}"


def _now(force: str) -> tuple[_Step, str]:
    def step(one: Entry, known: Mapping[str, Entry]) -> tuple[Entry, ...]:
        return course.switch(one, known, now=time.time(), losing=bool(force))

    return step, "changeover: switched"


def switch_record(done: Switched) -> dict[str, Any]:
    """What a switch did. The keys do not change."""
    return {
        "id": done.new.id,
        "switched": not done.is_planned,
        "planned": done.new.switch_at or None,
        "replaced": [one.id for one in done.olds],
        "gates": gates_record(done.report),
    }


def cancel(gateway: Gateway, who: Principal, number: str = "", *, dry_run: bool = False) -> Entry:
    """Forget the time of a planned switch. number: "" if one alone is planned."""
    with inventory_of(gateway, keys=False) as inventory:
        found = listed_certificates(inventory, gateway)
        entry = _meant(found, number, [one for one in found.entries.values() if one.switch_at], "planned")
        note = "changeover: cancelled"
        _stored(gateway, who, inventory, entry.id, lambda one, _: (course.cancel(one),), note, dry_run=dry_run)
    return entry


def roll_back(
    gateway: Gateway, who: Principal, number: str = "", *, note: str = "", dry_run: bool = False
) -> RolledBack:
    """Present the certificate before again, within 24 hours of the switch; no gate is asked.

    number: the one that was switched to; "" is the last one. Without the master key, too: it is the gateway that
    presents.
    """
    with inventory_for_look(gateway) as inventory:
        found = listed_certificates(inventory, gateway)
        switched = [
            one for one in found.entries.values() if one.state is State.CURRENT and one.replaces and one.current_from
        ]
        last = sorted(switched, key=lambda one: -one.current_from)[:1]
        if last and not number:
            _must_not_be_done(last[0], found)
        entry = _meant(found, number, last, "to roll back")
        _must_open(inventory, found, entry)

        def step(one: Entry, known: Mapping[str, Entry]) -> tuple[Entry, ...]:
            return course.roll_back(one, known, now=time.time())

        reason = f": {note}" if note else ""
        text = f"changeover: rolled back{reason}"
        new, *olds = _stored(gateway, who, inventory, entry.id, step, text, dry_run=dry_run)
        # Looked at afterwards: going back must not wait for the DNS.
        scene = scene_of(gateway, listed_certificates(inventory, gateway))
        missed = [one for old in olds for one in tlsa_of(gateway, inventory, old, scene)]
    warnings = tuple(f"{one.text}; {one.fix}" for one in missed if one.verdict is Mark.FAIL)
    return RolledBack(new, tuple(olds), warnings)


def _must_not_be_done(last: Entry, found: Listed) -> None:
    """Who gives the command twice, not sure whether it worked, shall not undo the switch before as well."""
    for one in found.entries.values():
        if one.state is State.NEXT and one.since > max(one.added, last.current_from):
            what = f"{one.id} went back to next at {stamp(one.since)}, after the last switch"
            text = f"{what}; to roll back that switch too: gatepost certificate changeover roll-back {last.id}"
            raise Refusal(Kind.CONFLICT, text)


def _must_open(inventory: Inventory, found: Listed, entry: Entry) -> None:
    """What is rolled back to must be there: its files may hold another certificate by now."""
    for number in entry.replaces:
        old = found.entries.get(number)
        if old is not None and old.state is State.DEPRECATED and (old.key_file or inventory.seals):
            identity = inventory.identity(old)  # its error is a Refusal
            if entry_id(read_identity(identity).leaf) != old.id:
                text = f"{old.chain_file} holds another certificate by now: {number} cannot come back"
                raise Refusal(Kind.CONFLICT, text)


def withdraw(gateway: Gateway, who: Principal, number: str, *, force: str = "", dry_run: bool = False) -> Entry:
    """Retire a deprecated certificate for good: its key is destroyed, its entry stays as history.

    force: why, though it can still be rolled back to. A key in a file of its own (`key_file`) is left there.
    """
    with inventory_of(gateway, keys=False) as inventory:
        found = listed_certificates(inventory, gateway)
        entry = choose_certificate(found, number)

        def step(one: Entry, known: Mapping[str, Entry]) -> tuple[Entry, ...]:
            return (course.withdraw(one, known, now=time.time(), early=bool(force)),)

        reason = f"; forced: {force}" if force else ""
        text = f"changeover: withdrawn{reason}"
        (changed,) = _stored(gateway, who, inventory, entry.id, step, text, dry_run=dry_run)
    return changed


def tell(  # noqa: PLR0913 - what is remembered of it
    gateway: Gateway,
    who: Principal,
    number: str,
    partners: Collection[str],
    *,
    everybody: bool = False,
    waive: bool = False,
    note: str = "",
    dry_run: bool = False,
) -> PartnersTold:
    """Remember that partners were told, or (waive) need not be. everybody: all that are known now.

    Raises Refusal (INPUT) for one that is none.
    """
    with inventory_of(gateway, keys=False) as inventory:
        found = listed_certificates(inventory, gateway)
        entry = choose_certificate(found, number)
        scene = scene_of(gateway, found)
        known = {one.name for one in partners_of(entry, scene.organizations, scene.seen or {})}
        chosen = known if everybody else {one.lower() for one in partners}
        if not chosen and not everybody:
            text = "name a partner, or say that all of them are meant"
            raise Refusal(Kind.INPUT, text, [FieldError("partners", "name one, or all")], options=["all"])
        if strange := sorted(chosen - known):
            text = f"no such partner: {', '.join(strange)}; there are: {', '.join(sorted(known)) or 'none'}"
            raise Refusal(Kind.INPUT, text, [FieldError("partners", text)])
        what = f"changeover: {'need not be told' if waive else 'told'}: {', '.join(sorted(chosen)) or 'nobody'}"
        reason = f" ({note})" if note else ""
        (changed,) = _stored(
            gateway,
            who,
            inventory,
            entry.id,
            lambda one, _: (course.tell(one, chosen),),
            f"{what}{reason}"[:_NOTE],
            dry_run=dry_run,
        )
    return PartnersTold(changed, changed.told, tuple(sorted(known - set(changed.told))))


def _stored(  # noqa: PLR0913 - one step, stored or tried
    gateway: Gateway,
    who: Principal,
    inventory: Inventory,
    number: str,
    step: _Step,
    note: str,
    *,
    dry_run: bool,
) -> tuple[Entry, ...]:
    """Do a step of the course on one certificate and store it; its refusal is a Refusal."""

    def entries() -> tuple[int, Mapping[str, Entry]]:
        found = listed_certificates(inventory, gateway)
        _, known = inventory.entries()
        if dry_run:
            return found.version, found.entries
        for one in found.entries.values():
            if one.id not in known:  # the gateway never ran with these settings
                inventory.record(one, found.chains[one.id], note="found in the settings")
        return inventory.entries()

    def wanted(known: Mapping[str, Entry]) -> tuple[Entry, ...]:
        if number not in known:
            raise Refusal(Kind.MISSING, f"certificate {number} is not in the inventory any more")
        return step(known[number], known)

    try:
        if dry_run:
            return wanted(entries()[1])
        return apply_step(inventory, wanted, entries, author=who.name, note=note)
    except Refused as refused:
        raise Refusal(Kind.CONFLICT, f"{refused}; nothing was changed", options=refused.options) from refused


def _meant(found: Listed, number: str, candidates: Sequence[Entry], what: str) -> Entry:
    if number:
        return choose_certificate(found, number)
    if not candidates:
        raise Refusal(Kind.CONFLICT, f"there is no switch {what}")
    if len(candidates) > 1:
        several = ", ".join(one.id for one in candidates)
        raise Refusal(Kind.INPUT, f"there are several switches {what}, name one: {several}")
    return candidates[0]
