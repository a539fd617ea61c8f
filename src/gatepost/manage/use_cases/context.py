"""The context of a use case: the gateway on this machine, and the principal, conditions and audit of a call.

A gateway is its settings, what is stored, its resources, and what this process keeps for it. Resources are parsed once
for each version, and immutable. It is made once by a process that answers many (the admin centre), or for one command.
For any thread. Everything blocks; call it on a thread from an event loop.

Audit records are collected while the use case runs; `execution` writes them.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.manage.access.records import Actor, AuditOutcome
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, StoreUnreadable, refusing
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gatepost.manage.access.accounts import Accounts
    from gatepost.manage.access.actions import Action
    from gatepost.manage.access.principal import Principal
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.resources import PrefixLimits, Resources
    from gatepost.settings.model import Settings
    from gatepost.store.changes import ConfigStore


class StoredResources:
    """data: the data directory, for errors. prefixes: of the settings."""

    def __init__(self, storage: Storage, data: Path, prefixes: PrefixLimits) -> None:
        self._data = data
        self._prefixes = prefixes
        self._stores = storage.configurations()
        self._directory: Directory | None = None

    @contextmanager
    def config(self) -> Iterator[ConfigStore]:
        """The configuration store, for this use alone. Raises Refusal (UNREADABLE) if it cannot be opened or fails."""
        with (
            refusing(RefusalKind.UNREADABLE, StoreFailure, text="{data}: {error}", data=self._data),
            self._stores.store() as store,
        ):
            yield store

    def directory(self) -> Directory:
        """The resources as they are stored, which a running gateway has in force; parsed once for each version.

        Raises Refusal (UNREADABLE) if they cannot be read, or not be used by this version.
        """
        from gatepost.policy.connectors.grants import STORED_KINDS  # noqa: PLC0415 - most commands need no resources

        with self.config() as store:
            known = self._directory
            if known is not None and known.version == store.version():
                return known
            return self.understood(store, *store.load(*STORED_KINDS))

    def understood(self, store: ConfigStore, version: int, document: Mapping[str, Any]) -> Directory:
        """The same of what was just read of the store, with its grants.

        Raises Refusal (UNREADABLE) if it cannot be used by this version.
        """
        from gatepost.policy.connectors.errors import ResourceErrors  # noqa: PLC0415 - most commands need no resources
        from gatepost.store.directory import stored_directory  # noqa: PLC0415 - as above

        known = self._directory
        if known is not None and known.version == version:
            return known
        with refusing(
            RefusalKind.UNREADABLE,
            ResourceErrors,
            text="{data}: the stored resources cannot be used by this version: {error}",
            data=self._data,
        ):
            self._directory = stored_directory(store, version, document, self._prefixes)
        return self._directory


class Gateway:
    """Names the parts, and holds nothing itself. settings: of the server. data: its directory. storage: all stored."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.data = Path(settings.server.data_dir)
        self.storage = Storage.of(settings)
        self.resources = StoredResources(self.storage, self.data, settings.limits.prefixes())
        self.instances = KeptInstances(settings)

    def config(self) -> AbstractContextManager[ConfigStore]:
        """The configuration store: see `StoredResources`."""
        return self.resources.config()

    def directory(self) -> Directory:
        """The resources in force: see `StoredResources`."""
        return self.resources.directory()

    def kept[T](self, kind: Callable[[Settings], T]) -> T:
        """The one instance of a class in this process: see `KeptInstances`."""
        return self.instances.of(kind)


class KeptInstances:
    """settings: what each is made of."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: dict[Any, Any] = {}
        self._making = RLock()  # what is made may need what else is kept

    def of[T](self, kind: Callable[[Settings], T]) -> T:
        """The one instance of what `kind`, a class or a function of a module, makes of the settings; on first use."""
        with self._making:
            if kind not in self._made:
                self._made[kind] = kind(self._settings)
            instance: T = self._made[kind]
        return instance


class AuditRecord(msgspec.Struct):
    """One audit event to be: beside who and when. organization: "" is the gateway itself.

    detail: for JSON; "before" and "after" are shown field by field. outcome: if no error says another.
    """

    action: Action
    organization: str = ""
    subject: str = ""
    detail: dict[str, Any] = msgspec.field(default_factory=dict)
    outcome: AuditOutcome = AuditOutcome.DONE


class AuditTrail:
    """The records of one call: one that is known from the beginning, or those that were added in its place.

    who: as whom it is recorded, "" for the principal; at a log-in that is learned during the call.
    """

    def __init__(self) -> None:
        self.who = ""
        self._call = AuditRecord("request")
        self._added: list[AuditRecord] = []

    @property
    def records(self) -> list[AuditRecord]:
        """Records to write when the call has ended, whatever its result."""
        return self._added or [self._call]

    def describe(
        self,
        action: Action | None = None,
        *,
        organization: str | None = None,
        subject: str | None = None,
        who: str = "",
        **detail: Any,
    ) -> None:
        """Say what the call is about, before it can be refused; what is not given stays."""
        self.who = who or self.who
        self._call.action = action or self._call.action
        self._call.organization = self._call.organization if organization is None else organization
        self._call.subject = self._call.subject if subject is None else subject
        self._call.detail |= detail

    def name(self, *things: str) -> None:
        """Add names to what the call is about, which its path does not have."""
        self._call.subject = f"{self._call.subject} {', '.join(things)}".strip()

    def add(self, action: Action, *, organization: str = "", subject: str = "", **detail: Any) -> None:
        """Record this instead of the call: for each organization that it touched, say."""
        self._added.append(AuditRecord(action, organization, subject, detail))


def outcome_of(error: BaseException, reference: str = "") -> tuple[AuditOutcome, str]:
    """The outcome of a call that raised `error`, and why. reference: under which the log knows the call."""
    if not isinstance(error, Refusal):
        return AuditOutcome.FAILED, f"The gateway's log says why, under {reference or 'its time'}."
    if isinstance(error, StoreUnreadable):
        return AuditOutcome.FAILED, error.public
    outcome = AuditOutcome.FAILED if error.kind is RefusalKind.UNREADABLE else AuditOutcome.REFUSED
    return outcome, "; ".join(map(str, error.errors)) or error.known or error.text


_log = logging.getLogger(__name__)


class Context(msgspec.Struct, frozen=True):
    """One call. Immutable, but for `audit`, which collects.

    gateway: its settings, resources and files. open_accounts: gives users, tokens and the audit; called when they are
    needed. address: where the caller is, without port; "" is this machine. dry_run: say what would change, change
    nothing. expected: the version that must still be in force for a change, None if any will do. is_confirmed: the
    caller proved lately who they are (always so for API tokens and commands). reference: under which the log knows the
    call. on_progress: called as it runs with what there is to show, as the use case says.
    """

    gateway: Gateway
    principal: Principal
    open_accounts: Callable[[], Accounts]
    address: str = ""
    dry_run: bool = False
    expected: int | None = None
    is_confirmed: bool = True
    reference: str = ""
    on_progress: Callable[..., None] = lambda *_: None
    audit: AuditTrail = msgspec.field(default_factory=AuditTrail)

    @property
    def settings(self) -> Settings:
        """Of the server."""
        return self.gateway.settings

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.gateway.data

    @property
    def storage(self) -> Storage:
        """Everything stored."""
        return self.gateway.storage

    @property
    def accounts(self) -> Accounts:
        """Users, tokens, sessions and the audit."""
        return self.open_accounts()

    @property
    def actor(self) -> Actor:
        """The actor for the audit log."""
        return Actor(self.principal.name, self.address)

    @contextmanager
    def recording(self, action: Action, organization: str, subject: str, **detail: Any) -> Iterator[AuditRecord]:
        """Record in the audit that something begins which ends after the call (`self_audited`), and how it ended.

        The block may change the record. An error makes it refused or failed; a refusal is on record then.
        """
        record = AuditRecord(action, organization, subject, detail)
        begun = self._record(record, AuditOutcome.BEGUN)
        try:
            yield record
        except BaseException as error:
            outcome, why = outcome_of(error, self.reference)
            record.detail["why"] = why
            self._record(record, outcome, begun)
            if isinstance(error, Refusal):
                error.is_on_record = True
            raise
        self._record(record, record.outcome, begun)

    def write_record(self, record: AuditRecord, outcome: AuditOutcome, begun: int = 0, **more: Any) -> int:
        """Write one record of this call, in place of the event that it was begun (0: none); returns its id.

        more: details beside the record's. An organization that the caller does not see stands in the details, for the
        owner: whoever names another's organization must not write into its audit. Raises StoreFailure, Refusal.
        """
        organization = record.organization
        detail = {name: value for name, value in (record.detail | more).items() if value not in ("", None, [], {})}
        if organization and not self.principal.sees(organization):
            organization, detail = "", detail | {"organization": organization}
        return self.accounts.record(
            Actor(self.audit.who or self.principal.name, self.address),
            record.action,
            outcome=outcome,
            organization=organization,
            subject=record.subject,
            detail=detail,
            begun=begun,
        )

    def _record(self, record: AuditRecord, outcome: AuditOutcome, begun: int = 0) -> int:
        """Its id, 0 if it cannot be written; the log says what."""
        try:
            return self.write_record(record, outcome, begun)
        except (StoreFailure, Refusal):
            _log.exception("the audit does not have %s of %s", record.action, record.subject)
            return 0

    @contextmanager
    def config(self) -> Iterator[ConfigStore]:
        """The configuration store, closed afterwards. Raises Refusal (UNREADABLE), as the principal may read it."""
        try:
            with self.gateway.config() as store:
                yield store
        except StoreUnreadable as refusal:
            raise refusal.for_principal(self.principal) from refusal.__cause__

    def directory(self) -> Directory:
        """The resources in force. Raises Refusal (UNREADABLE), as the principal may read it."""
        try:
            return self.gateway.directory()
        except StoreUnreadable as refusal:
            raise refusal.for_principal(self.principal) from refusal.__cause__

    def seen(self) -> Resources:
        """The resources in force of the organizations that the principal sees. Raises Refusal (UNREADABLE)."""
        from gatepost.manage.use_cases.name_lookup import visible  # noqa: PLC0415 - many calls need no resources

        return visible(self.directory().resources, self.principal)

    def kept[T](self, kind: Callable[[Settings], T]) -> T:
        """The one instance in this process of what `kind` makes of the settings, on first use: a cache, a limit, jobs.

        kind: a class, or a function of a module; it stands for the instance.
        """
        return self.gateway.kept(kind)
