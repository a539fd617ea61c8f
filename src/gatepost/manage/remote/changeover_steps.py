"""The steps of a changeover on another gateway, which looks at the gates and stores what is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatepost.manage.remote.certificates import entry_of, step_path
from gatepost.manage.remote.changeover import report_of
from gatepost.manage.remote.times import time_text
from gatepost.manage.use_cases.changeover_steps import GatesClosed, PartnersTold, RolledBack, Switched
from gatepost.manage.use_cases.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gatepost.manage.remote.connection import Connection
    from gatepost.pki.certificates.entry import Entry


def stage(connection: Connection, number: str, named: Sequence[str] = (), *, dry_run: bool = False) -> Entry:
    """As `manage.use_cases.changeover_steps.stage`."""
    return entry_of(
        _done(connection, step_path(connection, number, "stage"), {"replaces": list(named)}, dry_run=dry_run)
    )


def switch(
    connection: Connection, number: str, *, at: float | None = None, force: str = "", dry_run: bool = False
) -> Switched:
    """As `manage.use_cases.changeover_steps.switch`."""
    try:
        body = {"at": time_text(at), "force": force}
        found = _done(connection, step_path(connection, number, "switch"), body, dry_run=dry_run)
    except Refusal as refusal:
        if isinstance(gates := refusal.more.get("gates"), dict):
            raise GatesClosed(report_of(gates)) from refusal
        raise
    new, *olds = map(entry_of, found["certificates"])
    return Switched(new, tuple(olds), report_of({**found["gates"], "certificate": found["certificates"][0]}))


def cancel(connection: Connection, number: str = "", *, dry_run: bool = False) -> Entry:
    """As `manage.use_cases.changeover_steps.cancel`."""
    return entry_of(_done(connection, _path(connection, number, "cancel"), None, dry_run=dry_run))


def roll_back(connection: Connection, number: str = "", *, note: str = "", dry_run: bool = False) -> RolledBack:
    """As `manage.use_cases.changeover_steps.roll_back`."""
    found = _done(connection, _path(connection, number, "roll-back"), {"note": note}, dry_run=dry_run)
    new, *current = map(entry_of, found["certificates"])
    return RolledBack(new, tuple(current), tuple(found["warnings"]))


def withdraw(connection: Connection, number: str, *, force: str = "", dry_run: bool = False) -> Entry:
    """As `manage.use_cases.changeover_steps.withdraw`."""
    return entry_of(_done(connection, step_path(connection, number, "withdraw"), {"force": force}, dry_run=dry_run))


def tell(  # noqa: PLR0913 - as there
    connection: Connection,
    number: str,
    partners: Collection[str],
    *,
    everybody: bool = False,
    waive: bool = False,
    note: str = "",
    dry_run: bool = False,
) -> PartnersTold:
    """As `manage.use_cases.changeover_steps.tell`."""
    body = {"partners": list(partners), "everybody": everybody, "waive": waive, "note": note}
    found = _done(connection, step_path(connection, number, "told"), body, dry_run=dry_run)
    return PartnersTold(entry_of(found["certificate"]), tuple(found["told"]), tuple(found["left"]))


def _path(connection: Connection, number: str, step: str) -> str:
    """Of the one that is named, or of the only one that it can be done to."""
    return step_path(connection, number, step) if number else f"/certificate_changeovers/{step}"


def _done(connection: Connection, path: str, body: Mapping[str, Any] | None, *, dry_run: bool) -> Any:
    return connection.call("POST", path, query={"dry_run": dry_run}, body=body).value
