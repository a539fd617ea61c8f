"""The one way in: authorise, validate, run and record a use case, whichever interface asks for it.

REST, pages and commands on this machine call `execute`; commands for another gateway come in by its REST. What is
forbidden is recorded by `manage.web.problem`, once a minute, so that nobody fills the audit by asking in a loop.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import msgspec

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.access.records import AccountError, AccountErrorKind, AuditOutcome
from gatepost.manage.use_cases.context import Context, outcome_of
from gatepost.manage.use_cases.declaration import UseCase, Visibility
from gatepost.manage.use_cases.record_budget import AUDIT_EVENT, RecordBudget
from gatepost.manage.use_cases.refusal import STORE_AWAY, Refusal, RefusalKind, StoreUnreadable
from gatepost.manage.use_cases.request_values import WrongFields, checked
from gatepost.store.interface import OutcomeUnknown, StoreFailure

CHANGE: Final = "change"
"""The action of a change of resources that was refused; one that was made is in the history."""
UNCONFIRMED: Final = "You logged in more than 15 minutes ago: confirm at /confirm that it is you, or use an API token."
NOTHING: Final = "Nothing was done."
"""Beside the errors of fields."""

_KINDS: Final = {
    AccountErrorKind.INPUT: RefusalKind.INPUT,
    AccountErrorKind.MISSING: RefusalKind.MISSING,
    AccountErrorKind.CONFLICT: RefusalKind.CONFLICT,
}

_log = logging.getLogger(__name__)


def execute[R: msgspec.Struct, A](case: UseCase[R, A], context: Context, request: R) -> A:
    """Do it. Raises Refusal: FORBIDDEN or MISSING if the principal may not, INPUT for wrong fields, or its own.

    A success and a refusal are recorded in the same form; a dry run is not. That it was begun is on record before
    anything is done, so that a kill leaves an event without an outcome, not an action without an event. What accounts
    do not allow is a refusal, too, and what is stored and cannot be had (UNREADABLE). What nobody foresaw is raised as
    it came.
    """
    begin(case, context, {name: getattr(request, name) for name in case.path_names})
    is_written = case.is_recorded and not case.records_itself and not context.dry_run
    begun = 0
    try:
        valid = _checked(request)
        if case.is_recorded and case.scope is not None and not context.dry_run:
            context.kept(RecordBudget).charge(context.principal, AUDIT_EVENT, is_call=True)
        begun = _record_begin(context) if is_written else 0
        result = case.function(context, valid)
    except (AccountError, StoreFailure) as error:
        refusal = _refused(error) if isinstance(error, AccountError) else _unreadable(context, error)
        record_refusal(case, context, refusal, begun)
        raise refusal from error
    except StoreUnreadable as error:
        record_refusal(case, context, error, begun)
        raise error.for_principal(context.principal) from error.__cause__
    except Exception as error:
        record_refusal(case, context, error, begun)
        raise
    if is_written:
        try:
            _write(context, AuditOutcome.DONE, begun)
        except (StoreFailure, Refusal):  # it was done, and to say that it was not would be worse
            _log.exception("the audit does not have that %s did %s", context.principal.name, case.name)
    return result


def _record_begin(context: Context) -> int:
    """The id of the event that says so; 0 if the audit cannot be written, which stops nobody."""
    with suppress(StoreFailure, Refusal):
        return _write(context, AuditOutcome.BEGUN)
    return 0


def _refused(error: AccountError) -> Refusal:
    text = "nothing was changed" if error.errors and error.why is AccountErrorKind.INPUT else error.text
    return Refusal(_KINDS[error.why], text, error.errors)


def _unreadable(context: Context, failure: StoreFailure) -> Refusal:
    """The refusal where what is stored cannot be had, such as a server that is away. Only the owner learns of what."""
    if not context.principal.is_of_gateway:
        _log.error("%s", failure)
    text = STORE_AWAY
    if isinstance(failure, OutcomeUnknown):
        text = "Nobody knows whether this was stored, since the database did not answer; look before you repeat it."
    why = f" {failure}" if context.principal.is_of_gateway else ""
    return StoreUnreadable(text + why, text)


def begin(case: UseCase[Any, Any], context: Context, path: Mapping[str, str]) -> None:
    """Authorise a call, and describe it for the audit by its path; REST does so before it reads a body.

    Raises Refusal.
    """
    authorize(case, context.principal, path)
    if case.requires_reauth and not context.is_confirmed:
        raise Refusal(RefusalKind.FORBIDDEN, UNCONFIRMED)
    action = case.action or (CHANGE if case.guarded else "request")
    context.audit.describe(action, organization=path.get("organization", ""), subject=case.audit_subject(path))


@contextmanager
def recording_refusals(case: UseCase[Any, Any], context: Context, **subject: str) -> Iterator[None]:
    """Record it as a refusal of the use case if a form is refused within, before there is a request to `execute`.

    subject: what the call is about, as if its path named it. Raises Refusal.
    """
    begin(case, context, subject)
    try:
        yield
    except Refusal as refusal:
        record_refusal(case, context, refusal)
        raise


def authorize(case: UseCase[Any, Any], principal: Principal, path: Mapping[str, str]) -> None:
    """Raises Refusal unless the use case exists for the principal (MISSING) and it may ask for it (FORBIDDEN)."""
    if case.visibility is Visibility.ORGANIZATION and not principal.sees(path["organization"]):
        raise Refusal(RefusalKind.MISSING, f"There is no organization {path['organization']!r}.")
    if case.visibility is Visibility.GATEWAY and not principal.is_of_gateway:
        text = "This is the gateway's; the token or role is for some organizations only."
        raise Refusal(RefusalKind.FORBIDDEN, text)
    if case.scope is not None and not principal.scopes & {case.scope, Scope.OWNER}:
        text = f"The scope {str(case.scope)!r} is needed, which the token or role lacks."
        raise Refusal(RefusalKind.FORBIDDEN, text)


def record_refusal(case: UseCase[Any, Any], context: Context, error: Exception, begun: int = 0) -> None:
    """Record that a call was refused or failed; the caller learns of the error even if that cannot be written."""
    is_forbidden = getattr(error, "kind", None) is RefusalKind.FORBIDDEN
    is_on_record = isinstance(error, Refusal) and error.is_on_record
    if not case.is_recorded or context.dry_run or is_on_record or (is_forbidden and not begun):
        return
    outcome, why = outcome_of(error, context.reference)
    with suppress(StoreFailure, Refusal):  # the accounts of a command may not be there to be opened
        _write(context, outcome, begun, why=why)


def _checked[R: msgspec.Struct](request: R) -> R:
    """The request within its declared limits, also where it was built in Python. Raises Refusal (INPUT)."""
    try:
        return checked(request)
    except WrongFields as wrong:
        raise Refusal(RefusalKind.INPUT, NOTHING, wrong.errors) from wrong


def _write(context: Context, outcome: AuditOutcome, begun: int = 0, **more: Any) -> int:
    """Write the records of the call, the first in place of the event that it was begun (0: none); returns its id."""
    first, *others = context.audit.records
    for record in others:
        context.write_record(record, outcome, **more)
    return context.write_record(first, outcome, begun, **more)  # last: until then it is begun, whatever was written
