"""Validating connectors: jobs that can be followed, and looked at again for an hour.

What is tried is a connector of an organization that the principal may change, as it is stored or as it would be;
nothing else is ever connected to on anybody's behalf. The result is kept for lists, and recorded in the audit.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple
from urllib.parse import quote

import msgspec
from msgspec import Meta

from gatepost.analysis.checks.validation import validation_record
from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases import validation
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.declaration import Cli, InQuery, UseCaseReply, Visibility, use_cases
from gatepost.manage.use_cases.jobs import Job, Jobs, OrganizationSubject, Wait
from gatepost.manage.use_cases.name_lookup import Chosen, choose_connector, visible
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resources import apply_document
from gatepost.manage.use_cases.times import TimeText, read_time
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.errors import FieldError
from gatepost.values import copy_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatepost.manage.use_cases.context import Context


use_case = use_cases(scope=Scope.CONNECTORS, tag="connectors")
SECONDS: Final = 180.0
"""How long a validation may take."""
_MAX_BODY: Final = 32 * 1024 * 1024  # as all resources

type Record = dict[str, Any]
type _Text = Annotated[str, Meta(max_length=1000)]


class ValidateConnector(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The connector to validate, and how.

    recipients, sender: outbound, of a test message; none is sent without recipients. session: inbound, a session or
    queue id of the trace, decided anew. ip, reverse_path, forward_path, certificate (PEM, the client's first): inbound,
    a client that would come; reverse_path "" or "<>" is the null reverse-path. since: inbound, from when on mail counts
    as seen. resources: as `PATCH /resources` takes them, to take the connector from, which is not stored then.
    """

    organization: Annotated[str, Meta(description="Whose connector it is.")]
    connector: _Text
    direction: Annotated[Literal["", "inbound", "outbound"], Meta(description="Where both have it.")] = ""
    recipients: Annotated[
        list[_Text],
        Meta(max_length=10),
        Cli(option="recipient", metavar="ADDRESS", help="Outbound: send a test message. May be repeated."),
    ] = []
    sender: Annotated[
        _Text,
        Cli(metavar="ADDRESS", help="Sender of the test message. Default: postmaster of the first accepted domain."),
    ] = ""
    session: Annotated[_Text, Cli(metavar="ID", help="Inbound: decide this session or queue id again.")] = ""
    certificate: Annotated[str, Meta(max_length=validation.MOST_PEM)] = ""
    ip: Annotated[_Text, Cli(metavar="ADDRESS", help="Inbound: IP address of the simulated client.")] = ""
    reverse_path: Annotated[
        _Text | None,
        Cli(option="from", metavar="ADDRESS", help="Inbound: the sender; '' is the null reverse-path."),
    ] = None
    forward_path: Annotated[
        _Text,
        Cli(option="to", metavar="ADDRESS", help="Inbound: the recipient. Default: one whom the connector is for."),
    ] = ""
    since: Annotated[
        TimeText, Cli(option="within", metavar="TIME", help="Inbound: how far back to look for mail. Default: 30d.")
    ] = "30d"
    resources: dict[str, Any] | None = None
    wait: Annotated[Wait, InQuery()] = 20.0


class ShowValidation(msgspec.Struct, kw_only=True):
    """The validation to show, and how long to wait for its result."""

    organization: Annotated[str, Meta(description="Whose connector it is.")]
    id: Annotated[str, Meta(description="Of the validation, as its beginning answered.")]
    wait: Wait = 20.0


class WrongField(msgspec.Struct, frozen=True):
    """An error of one field."""

    field: str
    message: str


class ValidationState(msgspec.Struct, frozen=True):
    """A validation. result: as far as it came, as `gatepost connector validate --json` prints it; null at first.

    Until done, the status of a task may be "running" or "waiting". trouble: why it ended without a result. errors:
    fields of the request that are to blame for that.
    """

    id: str
    connector: str
    done: bool
    trouble: str
    result: dict[str, Any] | None
    errors: list[WrongField] = []

    @property
    def record(self) -> Record:
        """The result of one that has ended. Raises Refusal if it has none."""
        errors = [FieldError(error.field, error.message) for error in self.errors]
        if self.trouble or self.result is None:
            raise Refusal(RefusalKind.INPUT if errors else RefusalKind.UNREADABLE, self.trouble, errors)
        return self.result


class Candidate(NamedTuple):
    """A connector to validate, stored or not.

    directory: the resources that it is a part of. keep: takes the record of what came of it; says why it could not be
    kept, "" if it was. draft: whether the connector is not stored yet.
    """

    directory: Directory
    chosen: Chosen
    trial: validation.ValidationOptions
    keep: Callable[[Record], str]
    draft: bool = False


class Validated(OrganizationSubject):
    """The connector that a job validates."""


@use_case(
    "POST /organizations/{organization}/validations",
    visibility=Visibility.ORGANIZATION,
    status=201,
    max_body=_MAX_BODY,
    may_404=True,
    action="connector-validate",
    self_audited=True,
)
def start_validation(context: Context, request: ValidateConnector) -> UseCaseReply[ValidationState]:
    """Try a connector, each step a task.

    Two at a time of a user or token of the gateway, or of all those of a tenant, and six of all, checks among them.
    It is on record.
    """
    job = start_candidate(context, _candidate(context, request))
    job.wait(request.wait)
    if job.refusal is not None and job.refusal.errors:
        raise job.refusal
    owner = quote(job.subject.organization, safe="")
    return UseCaseReply(state_of(job), location=f"/organizations/{owner}/validations/{job.id}")


@use_case("GET /organizations/{organization}/validations/{id}", visibility=Visibility.ORGANIZATION)
def show_validation(context: Context, request: ShowValidation) -> ValidationState:
    """A validation, as far as it came."""
    job = context.kept(Jobs).find(request.id, context.principal, Validated)
    if job.subject.organization != request.organization:
        raise Refusal(RefusalKind.MISSING, "There is no such validation; results are available for one hour.")
    job.wait(request.wait)
    return state_of(job)


class FollowValidation(msgspec.Struct, kw_only=True):
    """Choose one validation."""

    id: str


@use_case(visibility=Visibility.SEEN)
def follow_validation(context: Context, request: FollowValidation) -> Job[Validated, Record]:
    """A validation, to be followed as it goes."""
    return context.kept(Jobs).find(request.id, context.principal, Validated)


def state_of(job: Job[Validated, Record]) -> ValidationState:
    """As it is now."""
    done = job.done  # before the rest: with it comes all that there is to see
    errors = [WrongField(error.path, error.message) for error in (job.refusal.errors if job.refusal else ())]
    return ValidationState(job.id, job.subject.text, done, job.trouble, job.result, errors)


def start_candidate(context: Context, candidate: Candidate) -> Job[Validated, Record]:
    """Begin to try what was made out already, by somebody who may. Beginning and end are recorded in the audit.

    Raises Refusal: INPUT if it cannot be tried so, Busy if too many jobs are under way.
    """
    chosen = candidate.chosen
    validation.check_options(chosen, candidate.trial)
    course = validation.CancelToken(seconds=SECONDS)

    def work(progress: Callable[[Record], None]) -> Record:
        course.watch = lambda result: progress(validation_record(result))
        return run_candidate(context, candidate, course)

    subject = Validated(chosen.organization.name, chosen.label)
    return context.kept(Jobs).start(subject, context.principal, work, course.stop)


def run_candidate(context: Context, candidate: Candidate, cancel_token: validation.CancelToken) -> Record:
    """Try it, to the end; the result is kept, and the audit has its beginning and end. Raises Refusal."""
    chosen = candidate.chosen
    owner, label = chosen.organization.name, chosen.label
    with context.recording("connector-validate", owner, label, draft=candidate.draft) as event:
        record = _ended(context, candidate, cancel_token)
        event.detail["outcome"] = record["outcome"]
    return record


def _candidate(context: Context, request: ValidateConnector) -> Candidate:
    """Raises Refusal: MISSING if there is no such connector, INPUT if it cannot be tried so, or for a draft."""
    gateway, draft, principal = context.gateway, request.resources, context.principal
    directory = context.directory() if draft is None else _drafted(context, draft)
    resources = visible(directory.resources, principal)
    chosen = choose_connector(resources, request.connector, request.organization, request.direction or None)
    context.audit.describe(subject=chosen.label)
    trial = options_of_request(request)
    if draft is not None:
        return Candidate(directory, chosen, trial, lambda _: "", draft=True)
    keep: Callable[[Record], str] = partial(validation.keep_validation, gateway, chosen)
    if trial.session and not validation.finds_session(gateway, trial.session, chosen.organization.name):
        keep = validation.keep_nothing
    return Candidate(directory, chosen, trial, keep)


def options_of_request(request: ValidateConnector) -> validation.ValidationOptions:
    """Options of a validation from a request. Raises Refusal (INPUT) for a time that is none."""
    return copy_fields(
        validation.ValidationOptions,
        request,
        certificate=request.certificate.encode("utf-8", "replace"),
        since=read_time("since", request.since),
    )


def _drafted(context: Context, draft: Mapping[str, Any]) -> Directory:
    """The resources as they would be."""
    outcome = apply_document(
        context.gateway, context.principal, draft, ChangeOptions(context.principal.name, dry_run=True)
    )
    return Directory(outcome.after, outcome.version)


def _ended(context: Context, candidate: Candidate, cancel_token: validation.CancelToken) -> Record:
    seen = context.principal.organizations
    try:
        result = validation.validate(
            context.gateway, candidate.directory, candidate.chosen, candidate.trial, cancel_token, seen=seen
        )
    except validation.ValidationCancelled:
        text = f"The validation did not finish within {SECONDS:.0f} seconds. Try again, or use fewer hosts."
        raise Refusal(RefusalKind.UNREADABLE, text) from None
    record = validation_record(result)
    if failure := candidate.keep(record):
        record["notes"] = [*record["notes"], failure]
    return record
