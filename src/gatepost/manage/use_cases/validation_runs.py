"""Connectors tried as runs that can be followed and looked at again: what pages, calls and the command have in common.

What is tried is a connector of an organization that who asks may change, as it is stored or as it would be stored;
nothing else is ever connected to on anybody's behalf. What came of it is kept for lists and goes on record. How many
run at a time, and who may look at one, is `manage.use_cases.jobs`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gatepost.analysis.checks.validation import validation_record
from gatepost.manage.use_cases.change import Wish
from gatepost.manage.use_cases.choice import choose_connector, visible
from gatepost.manage.use_cases.jobs import Jobs
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.resources import apply_document
from gatepost.manage.use_cases.validation import Course, Stopped, Trial, check_trial, keep_validation, validate
from gatepost.policy.connectors.directory import Directory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatepost.manage.access.accounts import Accounts
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.access.records import Actor
    from gatepost.manage.use_cases.choice import Chosen
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.manage.use_cases.jobs import Job


SECONDS: Final = 180.0
"""How long a run may take."""
_PATIENCE: Final = 10.0  # seconds for a page to begin to look on

type Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A connector by its name, and what is to be tried. organization, direction: where the name alone is not enough.

    draft: a document of organizations, as `apply_document` takes it, to take it from in place of what is stored.
    """

    name: str
    organization: str = ""
    direction: str | None = None
    trial: Trial = field(default_factory=Trial)
    draft: Mapping[str, Any] | None = None


class Candidate(NamedTuple):
    """What is tried.

    directory: the resources that it is a part of. keep: takes the record of what came of it; says why it could not be
    kept, "" if it was. draft: whether the connector is not stored yet.
    """

    directory: Directory
    chosen: Chosen
    trial: Trial
    keep: Callable[[Record], str]
    draft: bool = False


@dataclass(frozen=True, slots=True)
class Tried:
    """What a run of a validation is about."""

    organization: str
    text: str
    kind: str = "validation"


def stored_candidate(gateway: Gateway, chosen: Chosen, trial: Trial) -> Candidate:
    """A connector as it is stored; what comes of it is kept for lists."""
    return Candidate(gateway.directory(), chosen, trial, partial(keep_validation, gateway, chosen))


def validated(
    gateway: Gateway, who: Principal, wanted: Wanted, watch: Callable[[Record], None] = lambda _: None
) -> Record:
    """Try it and wait; the record of what came of it. watch: told what is known so far.

    Raises Refusal: MISSING if there is no such connector, INPUT if it cannot be tried so.
    """
    course = Course(lambda found: watch(validation_record(found)))
    return _ended(gateway, candidate(gateway, who, wanted), course)


def candidate(gateway: Gateway, who: Principal, wanted: Wanted) -> Candidate:
    """What is meant. Raises Refusal: as `validated`, and INPUT with every error of a draft."""
    directory = gateway.directory() if wanted.draft is None else _drafted(gateway, who, wanted.draft)
    chosen = choose_connector(visible(directory.resources, who), wanted.name, wanted.organization, wanted.direction)
    check_trial(chosen, wanted.trial)
    keep = partial(keep_validation, gateway, chosen) if wanted.draft is None else _kept_nowhere
    return Candidate(directory, chosen, wanted.trial, keep, wanted.draft is not None)


def _drafted(gateway: Gateway, who: Principal, draft: Mapping[str, Any]) -> Directory:
    """The resources as they would be."""
    outcome = apply_document(gateway, who, draft, Wish(who.name, dry_run=True))
    return Directory(outcome.after, outcome.version)


def _kept_nowhere(_: Record) -> str:
    return ""


def begin_validation(
    gateway: Gateway, who: Principal, candidate: Candidate, accounts: Accounts, by: Actor, *, live: bool = False
) -> Job[Tried, Record]:
    """Begin to try it. accounts, by: for the audit, written in the end. live: only once somebody looks on.

    Raises Refusal: INPUT if it cannot be tried so, CONFLICT if too many runs are under way.
    """
    chosen = candidate.chosen
    check_trial(chosen, candidate.trial)
    course, followed = Course(seconds=SECONDS), Event()

    def work(tell: Callable[[Record], None]) -> Record:
        course.watch = lambda found: tell(validation_record(found))
        if live and not followed.wait(_PATIENCE):
            raise Refusal(Kind.CONFLICT, "Nobody looked on, so that nothing was tried.")
        try:
            record = _ended(gateway, candidate, course)
        except Refusal as refusal:
            if refusal.kind is Kind.UNREADABLE:
                note("stopped")
            raise
        note(record["outcome"])
        return record

    def note(outcome: str) -> None:
        owner, detail = chosen.organization.name, {"outcome": outcome, "draft": candidate.draft}
        accounts.record(by, "connector-validate", organization=owner, subject=chosen.label, detail=detail)

    return gateway.kept(Jobs).start(Tried(chosen.organization.name, chosen.label), who, work, course.stop, followed)


def _ended(gateway: Gateway, candidate: Candidate, course: Course) -> Record:
    try:
        found = validate(gateway, candidate.directory, candidate.chosen, candidate.trial, course)
    except Stopped:
        text = f"It was not done after {SECONDS:.0f} seconds, and was ended. Try again, or name fewer hosts."
        raise Refusal(Kind.UNREADABLE, text) from None
    record = validation_record(found)
    if failure := candidate.keep(record):
        record["notes"] = [*record["notes"], failure]
    return record
