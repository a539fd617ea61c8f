"""`gatepost store check`: whether what is stored is whole."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gatepost.manage.cli.options import NO, UNKNOWN, fail, gateway_options, local_settings, working
from gatepost.manage.cli.output import _, ours, printable, printed_json, quantity, say
from gatepost.manage.use_cases.stored_schemas import SCHEMAS
from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.check import Problem, StoreCheck, Unreadable
from gatepost.store.storage import Storage
from gatepost.times import day_text

if TYPE_CHECKING:
    from gatepost.settings.model import Settings

_EVIDENCE_DAYS: Final = 2


@click.command()
@gateway_options
def check() -> None:
    """Check the stored data of a running or stopped gateway; nothing is changed.

    Every database is whole (SQLite's quick_check) and of a version that this gatepost knows; every queued message has
    its body and its deliveries; the evidence log of the last two days is the one that was signed (`evidence verify`
    checks all of it). With PostgreSQL: the server can be used by this role, and its tables are those of this version.

    Exit codes: 0 all is well, 1 something is wrong, 2 usage error, 3 something cannot be read.
    """
    settings = local_settings()
    storage = Storage.of(settings)
    if storage.is_shared:
        _check_server(storage)
        return
    data_dir = Path(settings.server.data_dir)
    if not data_dir.is_dir():
        fail(
            UNKNOWN,
            "server.data_dir: %(data_dir)s does not exist; the gateway creates it when it starts",
            data_dir=data_dir,
        )
    findings = StoreCheck(data_dir, SCHEMAS)
    with working(_("checking")):
        findings.run()
        evidence = _check_evidence(settings, findings)
    if not printed_json(_data(findings, evidence)):
        _show(findings, evidence)
    if findings.problems or findings.unreadable:
        raise SystemExit(NO if findings.problems else UNKNOWN)


def _check_server(storage: Storage) -> None:
    """The server can be used, and its tables are those of this version; ends the command if not."""
    try:
        state = storage.server_state(SCHEMAS)
    except StoreFailure as failure:
        fail(NO if failure.final else UNKNOWN, str(failure))
    if printed_json(state):
        return
    tls = state["tls"] or _("no TLS")
    say(
        "PostgreSQL %(version)s, database %(database)s, role %(role)s, %(tls)s",
        version=state["version"],
        database=state["database"],
        role=state["role"],
        tls=tls,
    )
    if state["is_superuser"]:
        say("the role is a superuser; give the gateway one without privileges: deploy/postgresql/roles.sql")
    if state["read_only"]:
        say("it is a standby or read-only: the gateway accepts no mail until that ends")
    for name, version in state["tables"].items():
        say(
            "tables of %(name)s: %(version)s",
            name=name,
            version=_("version %(version)s", version=version) if version else _("not made yet"),
        )


def _check_evidence(settings: Settings, found: StoreCheck) -> str:
    """Compare the last days of the evidence log; returns the result in a word."""
    from gatepost.analysis.checks.evidence import drill_documents  # noqa: PLC0415 - as below
    from gatepost.manage.use_cases.evidence_audit import verify_stored_log  # noqa: PLC0415 - it imports what signs
    from gatepost.manage.use_cases.refusal import Refusal  # noqa: PLC0415 - as above

    log = Storage.of(settings).evidence()
    try:
        since = day_text(time.time() - (_EVIDENCE_DAYS - 1) * 86400)
        if not log.days(since=since):
            return _("nothing was logged")
        result = verify_stored_log(log, drill_documents(Storage.of(settings)), days=(since, "9999"))
    except (StoreFailure, Refusal, OSError) as failure:
        found.unreadable.append(Unreadable("evidence", str(failure)))
        return _("not readable")
    if not result.faults.first:
        return _("verified") if result.verified else _("not signed yet")
    first = next(iter(result.faults.first.values()))
    text = _(
        "%(kind)s: %(file)s: %(text)s; run: evidence verify", kind=first.kind, file=first.file, text=ours(first.text)
    )
    if result.verified is None:  # whoever may write the log may have signed another one with a key of his own
        found.unreadable.append(Unreadable("evidence", text))
        return _("signed with a key that is not known here")
    found.problems.append(Problem("evidence", text))
    return _("altered")


def _data(found: StoreCheck, evidence: str) -> dict[str, Any]:
    return {
        "whole": None if found.unreadable and not found.problems else not found.problems,
        "databases": found.databases,
        "messages": found.messages,
        "deliveries": found.deliveries,
        "arriving": found.arriving,
        "shards": [{"name": name, "in_use": in_use} for name, in_use in sorted(found.shards.items())],
        "evidence": evidence,
        "problems": [problem._asdict() for problem in found.problems],
        "unreadable": [entry._asdict() for entry in found.unreadable],
    }


def _show(found: StoreCheck, evidence: str) -> None:
    in_use = sum(found.shards.values())
    say("databases: %(databases)s", databases=found.databases)
    say(
        "queue: %(messages)s, %(deliveries)s in %(shards)s, %(in_use)s in use by a running gateway",
        messages=quantity(found.messages, "message"),
        deliveries=quantity(found.deliveries, "delivery", "deliveries"),
        shards=quantity(len(found.shards), "shard"),
        in_use=in_use,
    )
    if found.arriving:
        say("bodies that arrive now, or that a crash left: %(arriving)s", arriving=found.arriving)
    say("evidence log, last %(evidence_days)s days: %(evidence)s", evidence_days=_EVIDENCE_DAYS, evidence=evidence)
    for problem in found.problems:
        click.echo(printable(f"✗ {problem.path}: {ours(problem.text)}"))
    for entry in found.unreadable:
        click.echo(printable(f"? {entry.path}: {ours(entry.text)}"))
    click.echo(_("all is well") if not found.problems and not found.unreadable else _("not all is well"))
