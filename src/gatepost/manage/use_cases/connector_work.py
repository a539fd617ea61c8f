"""Connectors that need an administrator: whose last validation failed, and whose rehearsal counted no failure.

Called by `manage.use_cases.work_list`, behind a page: of thousands of connectors it reads thousands of records once,
then those that are new.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.analysis.checks.records import VALIDATIONS, CheckRecords
from gatepost.analysis.rehearsal.verdicts import ConnectorKey
from gatepost.manage.use_cases.connector_verdicts import recent_verdicts
from gatepost.manage.use_cases.name_lookup import visible
from gatepost.manage.use_cases.parts import INBOUND, OUTBOUND
from gatepost.manage.use_cases.refusal import RefusalKind, refusing
from gatepost.policy.connectors.values import Mode
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.policy.connectors.records import Organization
    from gatepost.settings.model import Settings


_KINDS: Final = {"inbound": INBOUND, "outbound": OUTBOUND}
_VERDICT: Final = 300


class FailedValidation(msgspec.Struct, frozen=True):
    """A connector whose last validation failed. verdict: what it said."""

    organization: str
    direction: str
    name: str
    verdict: str


class QuietRehearsal(msgspec.Struct, frozen=True):
    """A connector in rehearsal. passed: rows of the last seven days, none of which failed."""

    organization: str
    direction: str
    name: str
    passed: int


class ConnectorFindings(msgspec.Struct, frozen=True):
    """failed, ready: in the order of the organizations."""

    failed: tuple[FailedValidation, ...] = ()
    ready: tuple[QuietRehearsal, ...] = ()


def connector_findings(gateway: Gateway, principal: Principal, organization: str) -> ConnectorFindings:
    """Look at all enabled connectors that are seen; of the one organization, if it is named. Raises Refusal."""
    owners = [
        owner
        for owner in visible(gateway.directory().resources, principal).organizations
        if organization in {"", owner.name}
    ]
    with refusing(RefusalKind.UNREADABLE, StoreFailure):
        failed = tuple(gateway.kept(ValidationOutcomes).failed(owners))
        return ConnectorFindings(failed, tuple(_quiet(gateway, owners)))


def _enabled(owner: Organization) -> Iterator[tuple[str, Any]]:
    for direction, kind in _KINDS.items():
        for connector in kind.of(owner):
            if connector.enabled:
                yield direction, connector


def _quiet(gateway: Gateway, owners: list[Organization]) -> Iterator[QuietRehearsal]:
    keys = [
        ConnectorKey(owner.name, direction, connector.name)
        for owner in owners
        for direction, connector in _enabled(owner)
        if connector.mode is Mode.REHEARSE
    ]
    if not keys:  # the trace need not be counted
        return
    for key, verdicts in recent_verdicts(gateway, keys).items():
        if verdicts.passed and not verdicts.failed:
            yield QuietRehearsal(key.organization, key.direction, key.name, verdicts.passed)


class ValidationOutcomes:
    """Outcomes of validations, each read once. For any thread. Got by `Context.kept`."""

    def __init__(self, settings: Settings) -> None:
        self._storage = Storage.of(settings)
        self._known: dict[tuple[str, str, str], tuple[float, str]] = {}
        self._reading = Lock()

    def failed(self, owners: list[Organization]) -> Iterator[FailedValidation]:
        """Connectors of these organizations whose last validation failed."""
        with self._reading:
            for owner in owners:
                records = CheckRecords(self._storage, VALIDATIONS, owner.name)
                when = records.times()
                for direction, connector in _enabled(owner):
                    if at := when(direction, connector.name):
                        verdict = self._verdict(records, (owner.name, direction, connector.name), at)
                        if verdict:
                            yield FailedValidation(owner.name, direction, connector.name, verdict)

    def _verdict(self, records: CheckRecords, key: tuple[str, str, str], at: float) -> str:
        """What a failed validation said, "" of another outcome. at: when its record was written."""
        known = self._known.get(key)
        if known is None or known[0] != at:
            record = records.last(*key[1:]) or {}
            failed = record.get("outcome") == "not-validated"
            known = at, str(record.get("verdict") or "It failed.")[:_VERDICT] if failed else ""
            self._known[key] = known
        return known[1]
