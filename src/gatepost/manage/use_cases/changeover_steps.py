"""The steps of a changeover: stage, switch now or at a time, cancel, roll back, withdraw, notify partners.

What a step does to the certificates is `pki.certificates.lifecycle`; here it is stored, with who and why, and what the
gates say is heeded. Each step may be tried without storing anything (dry run). Each raises Refusal: CONFLICT if the
state of the certificate does not allow it, MISSING, UNREADABLE. They take no version: each says by itself what state it
needs, and is refused in another.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from gatepost.analysis.checks.changeover import apply_step
from gatepost.analysis.checks.gates import GateReport, Light, partners_of
from gatepost.analysis.checks.partner_report import Mark
from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.certificates import (
    CertificateNumber,
    CertificateSummary,
    GateSummary,
    certificate_gates,
    certificate_of,
    gates_of_report,
)
from gatepost.manage.use_cases.changeover import GatesLimit, check_tlsa, make_check_context, run_gate_checks
from gatepost.manage.use_cases.declaration import Cli, Visibility, use_cases
from gatepost.manage.use_cases.inventory import (
    choose_certificate,
    chosen_certificate,
    describe_certificate,
    inventory_for_look,
    inventory_of,
    listed_certificates,
    recorded_changes,
)
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, refusing, wrong_field
from gatepost.manage.use_cases.times import ahead, stamp
from gatepost.net.identity import read_identity
from gatepost.pki.certificates import lifecycle
from gatepost.pki.certificates.entry import Entry, State, entry_id
from gatepost.pki.certificates.lifecycle import Refused
from gatepost.policy.connectors.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gatepost.manage.use_cases.context import Context
    from gatepost.pki.certificates.inventory import Inventory, Listed


_FAR = 10 * 365 * 86400.0

_NOTE = 1000
_PATIENCE = 30.0  # seconds that a switch waits for its turn at the gates: it must not fail for others' looks

type _Step = Callable[[Entry, Mapping[str, Entry]], tuple[Entry, ...]]
type _Force = Annotated[str, Meta(max_length=1000)]
type _Note = Annotated[str, Meta(max_length=1000), Cli(help="Reason, recorded in the history.")]


class GatesClosed(Refusal):
    """Not switched: a gate is red, or could not be looked at. report: what was found; REST has it as "gates"."""

    def __init__(self, report: GateReport) -> None:
        what = "a check failed" if report.light is Light.RED else "a check was inconclusive"
        instead = "; you cannot override it" if report.unusable else ", or give a reason to switch anyway"
        super().__init__(
            RefusalKind.CONFLICT,
            f"not switched: {what}; fix the cause{instead}",
            [FieldError(f"gates.{finding.gate}", finding.text) for finding in report.stopping],
            options=[] if report.unusable else ["force"],
            more={"gates": msgspec.to_builtins(certificate_gates(report))},
        )
        self.report = report


# ------------------------------------------------------------------------------------------------ requests and results


class StageCertificate(msgspec.Struct, kw_only=True):
    """replaces: ids of current ones whose place it takes beside those that are plain."""

    certificate: CertificateNumber
    replaces: Annotated[
        list[str], Meta(max_length=50), Cli(metavar="ID", help="Also replaces this certificate. Repeatable.")
    ] = msgspec.field(default_factory=list)


class SwitchCertificate(msgspec.Struct, kw_only=True):
    """at: when, "2h" or a date with time (UTC); empty is now. force: why, though gates are not green. note: why."""

    certificate: CertificateNumber
    at: Annotated[
        str,
        Meta(max_length=64),
        Cli(metavar="TIME", help="The running gateway switches then: 2026-12-01T02:00 (UTC), or 2h."),
    ] = ""
    force: _Force = ""
    note: _Note = ""


class CancelSwitch(msgspec.Struct, kw_only=True):
    """Of which certificate."""

    certificate: CertificateNumber


class CancelOnlySwitch(msgspec.Struct, kw_only=True):
    """The one that there is."""


class RollBackSwitch(msgspec.Struct, kw_only=True):
    """note: why, for the history."""

    certificate: CertificateNumber
    note: _Note = ""


class RollBackLastSwitch(msgspec.Struct, kw_only=True):
    """note: why, for the history."""

    note: _Note = ""


class WithdrawCertificate(msgspec.Struct, kw_only=True):
    """force: why, though it could still be rolled back to."""

    certificate: CertificateNumber
    force: _Force = ""


class NotifyPartners(msgspec.Struct, kw_only=True):
    """partners: domains as the notice lists them. everybody: all that are known now. waive: they need not be told."""

    certificate: CertificateNumber
    partners: Annotated[
        list[Annotated[str, Meta(max_length=255)]], Meta(max_length=1000), Cli(argument=True, metavar="[PARTNER]...")
    ] = msgspec.field(default_factory=list)
    everybody: Annotated[bool, Cli(option="all", help="All partners known now.")] = False
    waive: Annotated[bool, Cli(help="Record that they need no notice.")] = False
    note: Annotated[
        str, Meta(max_length=1000), Cli(help="Note for the history: how you notified them, or why you did not.")
    ] = ""


class Switched(msgspec.Struct):
    """switched: whether it is current now. planned: when it will be. replaced: whose place it took.

    certificates: as they are now, the one that was named first.
    """

    id: str
    switched: bool
    planned: float | None
    replaced: list[str]
    gates: GateSummary
    certificates: list[CertificateSummary]


class RolledBack(msgspec.Struct):
    """current: those that are presented again. warnings: what of the DNS does not fit them.

    certificates: as they are now, the one that was named first.
    """

    id: str
    current: list[str]
    warnings: list[str]
    certificates: list[CertificateSummary]


class PartnersNotified(msgspec.Struct):
    """told: all who know by now. left: who does not."""

    certificate: CertificateSummary
    told: list[str]
    left: list[str]


# ------------------------------------------------------------------------------------------------ the steps


use_case = use_cases(scope=Scope.CERTIFICATES, visibility=Visibility.GATEWAY, tag="certificates", dry_run=True)


@use_case("POST /certificates/{certificate}/told", action="certificate-tell")
def notify_partners(context: Context, request: NotifyPartners) -> PartnersNotified:
    """Mark partners as notified, or as needing no notice."""
    gateway, note = context.gateway, request.note.strip()
    with chosen_certificate(context, request.certificate) as (inventory, listing, entry):
        scene = make_check_context(gateway, listing)
        known = {partner.name for partner in partners_of(entry, scene.organizations, scene.seen or {})}
        chosen = _chosen_partners(request, known)
        what = f"changeover: {'need not be told' if request.waive else 'told'}: {', '.join(sorted(chosen)) or 'nobody'}"
        reason = f" ({note})" if note else ""

        def step(one: Entry, _: Mapping[str, Entry]) -> tuple[Entry, ...]:
            return (lifecycle.tell(one, chosen),)

        (changed,) = _stored(context, inventory, entry.id, step, f"{what}{reason}"[:_NOTE])
    context.audit.describe(waived=request.waive)
    left = sorted(known - set(changed.told))
    return PartnersNotified(certificate_of(changed), list(changed.told), left)


def _chosen_partners(request: NotifyPartners, known: set[str]) -> set[str]:
    """Raises Refusal (INPUT) for one that is none."""
    chosen = known if request.everybody else {partner.lower() for partner in request.partners}
    if not chosen and not request.everybody:
        text = "name a partner, or choose all"
        raise Refusal(
            RefusalKind.INPUT, text, [FieldError("partners", "name a partner, or choose all")], options=["all"]
        )
    if strange := sorted(chosen - known):
        text = f"no such partner: {', '.join(strange)}; known partners: {', '.join(sorted(known)) or 'none'}"
        raise wrong_field("partners", text)
    return chosen


@use_case("POST /certificates/{certificate}/stage", action="certificate-stage")
def stage_certificate(context: Context, request: StageCertificate) -> CertificateSummary:
    """Choose the certificates that a next certificate replaces."""
    with chosen_certificate(context, request.certificate) as (inventory, listing, entry):
        others = [choose_certificate(listing, old) for old in request.replaces]

        def step(one: Entry, entries: Mapping[str, Entry]) -> tuple[Entry, ...]:
            # a deprecated one is staged once more
            ready = lifecycle.revive(one, entries, now=time.time()) if one.state is State.DEPRECATED else one
            return (lifecycle.stage(ready, entries, [entries[other.id] for other in others]),)

        (changed,) = _stored(context, inventory, entry.id, step, "changeover: staged")
    return certificate_of(changed)


@use_case("POST /certificates/{certificate}/switch", action="certificate-switch")
def switch_certificate(context: Context, request: SwitchCertificate) -> Switched:
    """Switch to a next certificate, now or at a set time.

    The checks run first. If one fails or is inconclusive, the switch is refused (409), unless force gives a reason.
    While too many checks run, it waits for half a minute at most; then 429.
    """
    gateway, force, reason = context.gateway, request.force.strip(), request.note.strip()
    context.audit.describe(reason=force, note=reason)
    at = _time(request.at) if request.at else None
    opened, limit = inventory_for_look(gateway), context.kept(GatesLimit)
    with (
        limit.slot(context.principal.name, _PATIENCE),
        chosen_certificate(context, request.certificate, opened) as (inventory, listing, entry),
    ):
        if entry.state is not State.NEXT:
            text = f"{entry.id} is {entry.state}: only a next certificate can be switched to"
            raise Refusal(RefusalKind.CONFLICT, text)
        report = run_gate_checks(gateway, inventory, entry, make_check_context(gateway, listing), context.on_progress)
        if at is None and (report.unusable or (report.light is not Light.GREEN and not force)):
            raise GatesClosed(report)
        step, note = _planned(at, force) if at is not None else _now(force)
        note += f": {reason}" if reason else ""
        why = f"; forced: {force} ({report.reasons or 'all gates were open'})" if force else ""
        new, *olds = _stored(context, inventory, entry.id, step, f"{note}{why}")
    replaced = [old.id for old in olds]
    planned = new.switch_at or None
    context.audit.describe(planned=planned, replaced=replaced, red=report.reasons if force else "")
    certificates = [certificate_of(changed) for changed in (new, *olds)]
    is_switched = new.state is not State.NEXT
    return Switched(new.id, is_switched, planned, replaced, gates_of_report(report), certificates)


def _time(text: str) -> float:
    """Raises Refusal (INPUT) for a time that is none, past, or so far ahead that no certificate lives until then."""
    with refusing(RefusalKind.INPUT, ValueError, field="at"):
        at = ahead(text)
    now = time.time()
    if at <= now:
        wrong = f"{stamp(max(at, 0.0))} is in the past"
        raise wrong_field("at", wrong, f"{wrong}; to switch now, leave the time empty")
    if not at < now + _FAR:
        wrong = "that time is more than ten years ahead"
        raise wrong_field("at", wrong)
    return at


def _planned(at: float, force: str) -> tuple[_Step, str]:
    def step(entry: Entry, _: Mapping[str, Entry]) -> tuple[Entry, ...]:
        return (lifecycle.schedule(entry, at, now=time.time(), forced=force),)

    return step, f"changeover: planned for {stamp(at)}"


def _now(force: str) -> tuple[_Step, str]:
    def step(entry: Entry, entries: Mapping[str, Entry]) -> tuple[Entry, ...]:
        return lifecycle.switch(entry, entries, now=time.time(), losing=bool(force))

    return step, "changeover: switched"


@use_case("POST /certificates/{certificate}/cancel", action="certificate-cancel")
def cancel_switch(context: Context, request: CancelSwitch) -> CertificateSummary:
    """Cancel a planned switch."""
    return _cancelled(context, request.certificate)


@use_case("POST /certificate_changeovers/cancel", action="certificate-cancel")
def cancel_only_switch(context: Context, request: CancelOnlySwitch) -> CertificateSummary:  # noqa: ARG001 - it names none
    """Cancel the only planned switch."""
    return _cancelled(context, "")


def _cancelled(context: Context, number: str) -> CertificateSummary:
    with inventory_of(context.gateway, keys=False) as inventory:
        listing = listed_certificates(inventory, context.gateway)
        entry = _meant(
            listing,
            number,
            [candidate for candidate in listing.entries.values() if candidate.switch_at],
            "planned switch",
        )
        describe_certificate(context, entry)

        def step(one: Entry, _: Mapping[str, Entry]) -> tuple[Entry, ...]:
            return (lifecycle.cancel(one),)

        (changed,) = _stored(context, inventory, entry.id, step, "changeover: cancelled")
    return certificate_of(changed)


@use_case("POST /certificates/{certificate}/roll-back", action="certificate-roll-back")
def roll_back_switch(context: Context, request: RollBackSwitch) -> RolledBack:
    """Roll back to the previous certificate, within 24 hours."""
    return _rolled_back(context, request.certificate, request.note.strip())


@use_case("POST /certificate_changeovers/roll-back", action="certificate-roll-back")
def roll_back_last_switch(context: Context, request: RollBackLastSwitch) -> RolledBack:
    """Roll back the last switch, within 24 hours."""
    return _rolled_back(context, "", request.note.strip())


def _rolled_back(context: Context, number: str, note: str) -> RolledBack:
    """No gate is asked; without the master key, too: it is the gateway that presents."""
    gateway = context.gateway
    context.audit.describe(note=note)
    with inventory_for_look(gateway) as inventory:
        listing = listed_certificates(inventory, gateway)
        entry = _switched_to(listing, number)
        describe_certificate(context, entry)
        _demand_restorable(inventory, listing, entry)

        def step(one: Entry, entries: Mapping[str, Entry]) -> tuple[Entry, ...]:
            return lifecycle.roll_back(one, entries, now=time.time())

        reason = f": {note}" if note else ""
        new, *current = _stored(context, inventory, entry.id, step, f"changeover: rolled back{reason}")
        # Looked at afterwards: going back must not wait for the DNS.
        scene = make_check_context(gateway, listed_certificates(inventory, gateway))
        missed = [finding for old in current for finding in check_tlsa(gateway, inventory, old, scene)]
    warnings = [f"{finding.text}; {finding.fix}" for finding in missed if finding.verdict is Mark.FAIL]
    certificates = [certificate_of(changed) for changed in (new, *current)]
    return RolledBack(new.id, [restored.id for restored in current], warnings, certificates)


def _switched_to(listed: Listed, number: str) -> Entry:
    """The one that was switched to: that is named, or the last."""
    switched = [
        entry
        for entry in listed.entries.values()
        if entry.state is State.CURRENT and entry.replaces and entry.current_from
    ]
    last = sorted(switched, key=lambda entry: -entry.current_from)[:1]
    if last and not number:
        _must_not_be_done(last[0], listed)
    return _meant(listed, number, last, "switch to roll back")


def _must_not_be_done(last: Entry, listed: Listed) -> None:
    """Refuse a second roll-back in a row: repeating the command must not undo the switch before as well."""
    for entry in listed.entries.values():
        if entry.state is State.NEXT and entry.since > max(entry.added, last.current_from):
            what = f"{entry.id} went back to next at {stamp(entry.since)}, after the last switch"
            text = f"{what}; to roll back that switch too: gatepost certificate changeover roll-back {last.id}"
            raise Refusal(RefusalKind.CONFLICT, text)


def _demand_restorable(inventory: Inventory, listed: Listed, entry: Entry) -> None:
    """Refuse a roll-back to a certificate whose files hold another one by now."""
    for number in entry.replaces:
        old = listed.entries.get(number)
        if old is not None and old.state is State.DEPRECATED and (old.key_file or inventory.seals):
            identity = inventory.identity(old)  # its error is a Refusal
            if entry_id(read_identity(identity).leaf) != old.id:
                text = f"{old.chain_file} now holds another certificate: {number} cannot be restored"
                raise Refusal(RefusalKind.CONFLICT, text)


@use_case("POST /certificates/{certificate}/withdraw", action="certificate-withdraw")
def withdraw_certificate(context: Context, request: WithdrawCertificate) -> CertificateSummary:
    """Destroy the key of a deprecated certificate."""
    force = request.force.strip()
    context.audit.describe(reason=force)
    with chosen_certificate(context, request.certificate) as (inventory, _, entry):

        def step(one: Entry, entries: Mapping[str, Entry]) -> tuple[Entry, ...]:
            return (lifecycle.withdraw(one, entries, now=time.time(), early=bool(force)),)

        reason = f"; forced: {force}" if force else ""
        (changed,) = _stored(context, inventory, entry.id, step, f"changeover: withdrawn{reason}")
    return certificate_of(changed)


def _stored(context: Context, inventory: Inventory, number: str, step: _Step, note: str) -> tuple[Entry, ...]:
    """Do a step on one certificate and store it, or try it in a dry run; its refusal is a Refusal."""

    def entries() -> tuple[int, Mapping[str, Entry]]:
        listing = listed_certificates(inventory, context.gateway)
        _, known = inventory.entries()
        if context.dry_run:
            return listing.version, listing.entries
        for entry in listing.entries.values():
            if entry.id not in known:  # the gateway never ran with these settings
                inventory.record(entry, listing.chains[entry.id], note="found in the settings")
        return inventory.entries()

    def wanted(known: Mapping[str, Entry]) -> tuple[Entry, ...]:
        if number not in known:
            raise Refusal(RefusalKind.MISSING, f"certificate {number} is no longer in the inventory")
        return step(known[number], known)

    try:
        if context.dry_run:
            return wanted(entries()[1])
        with recorded_changes(context):
            return apply_step(inventory, wanted, entries, author=context.principal.name, note=note)
    except Refused as refused:
        raise Refusal(RefusalKind.CONFLICT, f"{refused}; nothing was changed", options=refused.options) from refused


def _meant(listed: Listed, number: str, candidates: Sequence[Entry], what: str) -> Entry:
    if number:
        return choose_certificate(listed, number)
    if not candidates:
        raise Refusal(RefusalKind.CONFLICT, f"there is no {what}")
    if len(candidates) > 1:
        several = ", ".join(candidate.id for candidate in candidates)
        raise Refusal(RefusalKind.INPUT, f"there is more than one {what}; name one: {several}")
    return candidates[0]
