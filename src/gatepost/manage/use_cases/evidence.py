"""The evidence log as administrators see it: its heads and keys, and whether it is what was written.

Heads and keys are about all mail, and for who sees the whole gateway. Entries with their proof: `evidence_export`.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.declaration import Items, Visibility, use_cases
from gatepost.manage.use_cases.jobs import ConcurrencyLimit, Job, Jobs
from gatepost.manage.use_cases.paging import Paging, page_of
from gatepost.manage.use_cases.refusal import RefusalKind, refusing
from gatepost.manage.use_cases.reports import Day  # noqa: TC001 - msgspec reads it
from gatepost.pki.certificates.evidence_key import public_key_id, readable_keys
from gatepost.store.evidence_log import read_heads
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from gatepost.events.evidence.heads import DayHead
    from gatepost.manage.use_cases.context import Context
    from gatepost.manage.use_cases.evidence_audit import Verification
    from gatepost.settings.model import Settings
    from gatepost.store.storage import Storage


use_case = use_cases(scope=Scope.READ, tag="evidence")


class ListHeads(Paging, kw_only=True):
    """since: a UTC day."""

    since: Day = ""


class Head(msgspec.Struct):
    """One hash for all that was logged up to the end of a day; the last entry of each writer."""

    day: str
    hash: str
    writers: dict[str, dict[str, int | str]]


class ListKeys(msgspec.Struct, kw_only=True):
    """All of them."""


class EvidenceKey(msgspec.Struct):
    """A public key, PEM; both empty for one that cannot be read."""

    id: str
    pem: str


class EvidenceKeys(msgspec.Struct):
    """Keys that the log is, or was, signed with."""

    items: list[EvidenceKey]


class VerifyLog(msgspec.Struct, kw_only=True):
    """All of it."""


class GetVerification(msgspec.Struct, kw_only=True):
    """The newest."""


class VerificationState(msgspec.Struct, kw_only=True):
    """The verification that runs, else the last one since the process began. Times in seconds since 1970, 0 for none.

    verified: null if nobody can tell, and while it runs. found: what `gatepost evidence verify --json` prints. lines:
    what was verified, in words.
    """

    running: bool
    begun: float
    ended: float
    verified: bool | None
    error: str
    found: dict[str, Any]
    lines: list[str] = []


@use_case("GET /evidence/heads", visibility=Visibility.GATEWAY)
def list_heads(context: Context, request: ListHeads) -> Items[Head]:
    """The signed head of each day."""
    days = read_heads(context.storage.evidence()).days
    day_heads = [item for day, item in sorted(days.items()) if day >= request.since]
    return page_of(day_heads, lambda day_head: day_head.day, request, _head)


def _head(head: DayHead) -> Head:
    return Head(head.day, head.hash, {name: end._asdict() for name, end in head.writers.items()})


@use_case("GET /evidence/keys", visibility=Visibility.GATEWAY)
def list_keys(context: Context, request: ListKeys) -> EvidenceKeys:  # noqa: ARG001 - there is nothing to ask for
    """The public keys of the signatures. What is stored as one and cannot be read has no id."""
    log = context.storage.evidence()
    with refusing(RefusalKind.UNREADABLE, StoreFailure, OSError, text="keys of {name}: {error}", name=log.name):
        readable, others = readable_keys(log.public_keys())
    keys = [EvidenceKey(public_key_id(key), key.decode("ascii")) for key in readable]
    return EvidenceKeys(keys + [EvidenceKey("", "")] * others)


@use_case("GET /evidence/verification", visibility=Visibility.GATEWAY)
def get_verification(context: Context, request: GetVerification) -> VerificationState:  # noqa: ARG001 - as above
    """The verification of the log: that which runs, or the last."""
    return _state(context.kept(LogVerification).last)


@use_case("POST /evidence/verification", visibility=Visibility.GATEWAY, status=202, action="evidence-verify")
def verify_own_log(context: Context, request: VerifyLog) -> VerificationState:  # noqa: ARG001 - as above
    """Verify the log, behind the answer; ask with GET what came of it."""
    return _state(context.kept(LogVerification).start(context))


@dataclass(frozen=True, slots=True)
class OwnLog:
    """Subject of a verification's job."""

    text: str = "evidence log"
    organization: str = ""


class LogVerification:
    """The verification of the gateway's own log, one at a time, by `Context.kept`. For any thread."""

    def __init__(self, _: Settings) -> None:
        self._lock = Lock()
        self._limit = ConcurrencyLimit(1, 1, "the log is being verified")
        self.last: Job[OwnLog, Verification] | None = None

    def start(self, context: Context) -> Job[OwnLog, Verification]:
        """Begin, unless one runs."""
        storage = context.storage
        with self._lock:
            if self.last is None or self.last.done:
                self.last = context.kept(Jobs).start(
                    OwnLog(), context.principal, lambda _: _verified(storage), limit=self._limit
                )
            return self.last


def _verified(storage: Storage) -> Verification:
    from gatepost.analysis.checks.evidence import drill_documents  # noqa: PLC0415 - as below
    from gatepost.manage.use_cases.evidence_audit import verify_stored_log as verified  # noqa: PLC0415 - few processes ever verify

    with refusing(RefusalKind.UNREADABLE, StoreFailure, OSError):
        return verified(storage.evidence(), drill_documents(storage))


def _state(job: Job[OwnLog, Verification] | None) -> VerificationState:
    if job is None:
        return VerificationState(running=False, begun=0.0, ended=0.0, verified=None, error="", found={})
    verification = job.result
    return VerificationState(
        running=not job.done,
        begun=job.begun,
        ended=job.ended,
        verified=verification.verified if verification else None,
        error=job.trouble,
        found=verification.data if verification else {},
        lines=verification.lines if verification else [],
    )


class GetKeptDays(msgspec.Struct, kw_only=True):
    """Of the log."""


@use_case(visibility=Visibility.SEEN)
def get_kept_days(context: Context, request: GetKeptDays) -> tuple[str, str]:  # noqa: ARG001 - there is one log
    """The first and the last day that the log has, "" where there is none."""
    days = sorted({day.day for day in context.storage.evidence().days()})
    return (days[0], days[-1]) if days else ("", "")
