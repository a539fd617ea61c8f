"""Many connectors validated by one call: a job that goes on when nobody looks, with a result for each of them.

Few run at a time, fewer of one organization, whoever asked. Each is tried as it is stored when its turn comes, and its
result is kept and recorded like that of `validation_runs`, which does the work.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from functools import partial
from threading import Lock, Thread
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.declaration import InQuery, Items, UseCaseReply, Visibility, use_cases
from gatepost.manage.use_cases.jobs import ConcurrencyLimit, Job, Jobs, OrganizationSubject, Wait
from gatepost.manage.use_cases.name_lookup import INBOUND, OUTBOUND, choose_connector, visible
from gatepost.manage.use_cases.record_budget import AUDIT_EVENT, RecordBudget
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, text_for_all
from gatepost.manage.use_cases.resource_actions import MOST, ConnectorName
from gatepost.manage.use_cases.validation import CancelToken, ValidationOptions, keep_validation
from gatepost.manage.use_cases.validation_runs import SECONDS, Candidate, run_candidate
from gatepost.quantity import quantity
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.manage.use_cases.context import Context
    from gatepost.settings.model import Settings


use_case = use_cases(scope=Scope.CONNECTORS, visibility=Visibility.SEEN, tag="connectors")
_AT_A_TIME: Final = 3  # of one call
_PATIENCE: Final = 0.5  # seconds until one that waits for its turn looks whether it was stopped
_VERDICT: Final = 300  # characters; the connector's page has all of it
_BUSY: Final = "a validation of many connectors of yours is under way; stop it, or begin another when it has ended"
_GONE: Final = "There is no such validation; results are available for one hour."

_log = logging.getLogger(__name__)

type State = Literal["waiting", "running", "done", "stopped"]
type Outcome = Literal["", "validated", "not-validated", "unknown"]


class ValidateConnectors(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """connectors: enabled or not; one that is named twice is validated once."""

    connectors: Annotated[list[ConnectorName], Meta(min_length=1, max_length=MOST)]
    wait: Annotated[Wait, InQuery()] = 0.0


class ShowValidations(msgspec.Struct, kw_only=True):
    """The validation of many to show, and how long to wait for its end."""

    id: Annotated[str, Meta(description="Of the validation, as its beginning answered.")]
    wait: Wait = 0.0


class ListValidations(msgspec.Struct, kw_only=True):
    """All of them."""


class StopValidations(msgspec.Struct, kw_only=True):
    """The validation of many to stop."""

    id: Annotated[str, Meta(description="Of the validation, as its beginning answered.")]


class ConnectorResult(msgspec.Struct, frozen=True):
    """One connector of many. outcome, verdict: "" until it is done. seconds: how long it took.

    stopped: it was not tried, or not to its end, because somebody stopped the validation.
    """

    organization: str
    direction: str
    name: str
    state: State = "waiting"
    outcome: Outcome = ""
    verdict: str = ""
    seconds: float = 0.0


class ValidationCounts(msgspec.Struct, frozen=True):
    """A validation of many. at: when it began, seconds since 1970. left: connectors that wait or run."""

    id: str
    at: float
    by: str
    done: bool
    stopped: bool
    total: int
    validated: int
    not_validated: int
    unknown: int
    left: int


class BulkValidation(msgspec.Struct, frozen=True):
    """A validation of many connectors, as far as it came. trouble: why it ended before its end, "" if it did not."""

    counts: ValidationCounts
    connectors: list[ConnectorResult]
    trouble: str = ""

    @property
    def id(self) -> str:
        """Its id."""
        return self.counts.id

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.counts.done


class ManyConnectors(OrganizationSubject):
    """The connectors that a job validates. organization: of all of them, "" if they are of several."""


class BulkLimit(ConcurrencyLimit):
    """Of calls: one at a time of a user or token of the gateway, or of a tenant."""

    def __init__(self, _: Settings | None = None) -> None:
        super().__init__(8, 1, _BUSY)


class TurnLimit(ConcurrencyLimit):
    """Of connectors that are validated by such calls: six at a time, and two of one organization."""

    def __init__(self, _: Settings | None = None) -> None:
        super().__init__(6, 2, _BUSY)


class Batch:
    """The connectors of one call: whose turn it is, and what came of each. For any thread.

    try_one: validates a connector; raises Refusal.
    """

    def __init__(
        self, names: list[ConnectorName], try_one: Callable[[ConnectorName, CancelToken], dict[str, Any]]
    ) -> None:
        self.stopped = False
        self._try = try_one
        self._results = {name: ConnectorResult(name.organization, name.direction, name.name) for name in names}
        self._waiting = deque(_alternating(names))
        self._tokens: set[CancelToken] = set()
        self._lock = Lock()

    @property
    def results(self) -> list[ConnectorResult]:
        """In the order of the call."""
        with self._lock:
            return list(self._results.values())

    def stop(self) -> None:
        """End those that run, and begin no other."""
        with self._lock:
            self.stopped = True
            self._waiting.clear()
            tokens = list(self._tokens)
        for token in tokens:
            token.stop()

    def run(self, turns: ConcurrencyLimit, changed: Callable[[Batch], None]) -> Batch:
        """Validate all of them. changed: called when there is more to see, on several threads."""
        work = partial(self._work, turns, lambda: changed(self))
        others = [Thread(target=work, name="validations", daemon=True) for _ in range(_AT_A_TIME - 1)]
        for other in others:
            other.start()
        work()
        for other in others:
            other.join()
        with self._lock:
            for name, result in self._results.items():
                if result.state == "waiting":
                    self._results[name] = replace(result, state="stopped")
        return self

    def _work(self, turns: ConcurrencyLimit, changed: Callable[[], None]) -> None:
        while (name := self._next()) is not None:
            while not turns.acquire(name.organization, _PATIENCE):
                if self.stopped:
                    return
            try:
                self._set(name, state="running")
                changed()
                self._set(name, **self._tried(name))
                changed()
            finally:
                turns.release(name.organization)

    def _next(self) -> ConnectorName | None:
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def _set(self, name: ConnectorName, **fields: Any) -> None:
        with self._lock:
            self._results[name] = replace(self._results[name], **fields)

    def _tried(self, name: ConnectorName) -> dict[str, Any]:
        token, begun = CancelToken(seconds=SECONDS), time.monotonic()
        with self._lock:
            self._tokens.add(token)
            if self.stopped:
                token.stop()
        try:
            record = self._try(name, token)
            outcome, verdict = record["outcome"], str(record["verdict"])
        except Refusal as refusal:
            outcome, verdict = "unknown", text_for_all(refusal)
        except Exception:  # noqa: BLE001 - the others have their turn, whatever it was
            _log.exception("connector %s of %s could not be validated", name.name, name.organization)
            outcome, verdict = "unknown", "This could not be worked out; the gateway's log says why."
        finally:
            with self._lock:
                self._tokens.discard(token)
        seconds = round(time.monotonic() - begun, 3)
        if self.stopped and outcome == "unknown":
            return {"state": "stopped", "seconds": seconds}
        return {"state": "done", "outcome": outcome, "verdict": verdict[:_VERDICT], "seconds": seconds}


def _alternating(names: list[ConnectorName]) -> list[ConnectorName]:
    """One of each organization in turn, as one whose turns are all taken would hold up the others."""
    places: Counter[str] = Counter()
    ranked = []
    for name in names:
        ranked.append((places[name.organization], name))
        places[name.organization] += 1
    return [name for _, name in sorted(ranked, key=lambda pair: pair[0])]


@use_case("POST /connectors/validations", status=201, may_404=True, action="connector-validate", self_audited=True)
def validate_connectors(context: Context, request: ValidateConnectors) -> UseCaseReply[BulkValidation]:
    """Try many connectors, as they are stored.

    Six at a time of all, two of one organization, one such call of a user or token of the gateway, and one of all
    those of a tenant. Each result is kept and on record. It goes on when nobody looks.
    """
    names = _stored_names(context, request.connectors)
    owners = sorted({name.organization for name in names})
    batch = Batch(names, partial(_try_stored, context))
    subject = ManyConnectors(owners[0] if len(owners) == 1 else "", quantity(len(names), "connector"))
    turns = context.kept(TurnLimit)

    def work(progress: Callable[[Batch], None]) -> Batch:
        progress(batch)
        return batch.run(turns, progress)

    job = context.kept(Jobs).start(subject, context.principal, work, limit=context.kept(BulkLimit))
    job.wait(request.wait)
    return UseCaseReply(bulk_state(job), location=f"/connectors/validations/{job.id}")


def _stored_names(context: Context, names: list[ConnectorName]) -> list[ConnectorName]:
    """Each once, as it is stored. Raises Refusal (MISSING) for one that is not there for the principal."""
    resources = context.seen()
    known = {
        (owner.name, direction, part.name.lower()): part.name
        for owner in resources.organizations
        for direction, kind in (("inbound", INBOUND), ("outbound", OUTBOUND))
        for part in kind.of(owner)
    }
    stored: dict[ConnectorName, None] = {}
    for name in names:
        there = known.get((name.organization, name.direction, name.name.lower()))
        if there is None:  # which says what there is
            there = choose_connector(resources, name.name, name.organization, name.direction).connector.name
        stored[ConnectorName(organization=name.organization, direction=name.direction, name=there)] = None
    return list(stored)


def _try_stored(context: Context, name: ConnectorName, token: CancelToken) -> dict[str, Any]:
    """Of the connector as it is now, which may have been changed or removed since the call. Raises Refusal."""
    directory = context.directory()
    resources = visible(directory.resources, context.principal)
    chosen = choose_connector(resources, name.name, name.organization, name.direction)
    keep = partial(keep_validation, context.gateway, chosen)
    context.kept(RecordBudget).charge(context.principal, AUDIT_EVENT, is_call=True)
    return run_candidate(context, Candidate(directory, chosen, ValidationOptions(), keep), token)


@use_case("GET /connectors/validations/{id}")
def show_validations(context: Context, request: ShowValidations) -> BulkValidation:
    """A validation of many connectors, as far as it came."""
    job = _found(context, request.id)
    job.wait(request.wait)
    return bulk_state(job)


@use_case()
def follow_validations(context: Context, request: ShowValidations) -> Job[ManyConnectors, Batch]:
    """A validation of many connectors, to be followed as it goes."""
    return _found(context, request.id)


@use_case("GET /connectors/validations")
def list_validations(context: Context, request: ListValidations) -> Items[ValidationCounts]:  # noqa: ARG001 - there is nothing to ask for
    """Validations of many connectors that go on, or ended in the last hour, the newest first."""
    return Items([_counts(job) for job in context.kept(Jobs).recent(context.principal, ManyConnectors)])


@use_case("DELETE /connectors/validations/{id}", action="connector-validate-stop")
def stop_validations(context: Context, request: StopValidations) -> BulkValidation:
    """Stop a validation of many connectors; results so far stay."""
    job = _found(context, request.id)
    context.audit.describe(organization=job.subject.organization, subject=job.subject.text)
    if job.result is not None and not job.done:
        job.result.stop()
        job.wait(5.0)
    return bulk_state(job)


def _found(context: Context, identity: str) -> Job[ManyConnectors, Batch]:
    """Raises Refusal (MISSING)."""
    try:
        return context.kept(Jobs).find(identity, context.principal, ManyConnectors)
    except Refusal:
        raise Refusal(RefusalKind.MISSING, _GONE) from None


def bulk_state(job: Job[ManyConnectors, Batch]) -> BulkValidation:
    """As it is now."""
    counts = _counts(job)
    return BulkValidation(counts, job.result.results if job.result is not None else [], job.trouble)


def _counts(job: Job[ManyConnectors, Batch]) -> ValidationCounts:
    done = job.done  # before the rest: with it comes all that there is to see
    results = job.result.results if job.result is not None else []
    outcomes = Counter(result.outcome for result in results)
    return ValidationCounts(
        job.id,
        job.begun,
        job.by,
        done,
        stopped=job.result is not None and job.result.stopped,
        total=len(results),
        validated=outcomes["validated"],
        not_validated=outcomes["not-validated"],
        unknown=outcomes["unknown"],
        left=sum(result.state in {"waiting", "running"} for result in results),
    )
