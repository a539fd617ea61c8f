"""`gatepost store prepare`: make the tables in PostgreSQL, as a role that may."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import click

from gatepost.manage.cli.options import BAD_INPUT, UNKNOWN, fail, gateway_options, loaded_settings
from gatepost.manage.cli.output import _, printed_json, say
from gatepost.manage.use_cases.stored_schemas import SCHEMAS
from gatepost.settings.store_url import SQLITE, role_of, store_url
from gatepost.store.interface import Schema, StoreFailure
from gatepost.store.storage import Storage

_PAUSE: Final = 1.0


def _parsed_url(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return store_url(value) if value else ""
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.option(
    "--url",
    default="",
    callback=_parsed_url,
    help="Address of the database, written as store.url, with a role that may make tables, such as "
    '"postgresql://gatepost_admin@HOST/gatepost?passfile=/PATH". Default: store.url.',
)
@click.option(
    "--wait",
    type=click.FloatRange(0, 3600),
    default=0,
    metavar="SECONDS",
    help="How many seconds to wait for a server that cannot be reached yet (0 to 3600). Default: 0.",
)
@click.option(
    "--worker-role",
    default="",
    metavar="NAME",
    help="The role of workers, which gets its rights. Default: that of store.worker_url.",
)
@gateway_options
def prepare(url: str, wait: float, worker_role: str) -> None:
    """Create or update the tables in PostgreSQL, so that the gateway's own role does not need that right.

    Run it before the first start, and before nodes of a new version start; nodes of the previous version keep working.
    If they could not, it says so and changes nothing while they run. If workers have their own role, it gets its
    rights. deploy/postgresql/roles.sql creates the roles. With SQLite there is nothing to prepare.

    Exit codes: 0 all tables are as this version needs them, 2 usage error, or the server refuses (the reason is named,
    nothing is changed), 3 the server cannot be reached.
    """
    settings = loaded_settings()
    chosen = url or settings.store.url
    if chosen == SQLITE:
        fail(BAD_INPUT, "store.url is sqlite: the gateway makes its files itself; for PostgreSQL give --url")
    role = worker_role or role_of(settings.store.worker_url)
    if role and role == role_of(settings.store.url):
        fail(BAD_INPUT, "--worker-role is the role of store.url, which keeps its rights; name another one")
    storage = Storage(chosen, Path(settings.server.data_dir), worker_role=role)
    before = _prepared(storage, time.monotonic() + wait)
    if printed_json([_row(schema, before[schema.name]) for schema in SCHEMAS]):
        return
    for schema in SCHEMAS:
        click.echo(_text(schema, before[schema.name]))
    say("the tables are as this version of gatepost needs them", err=True)


def _prepared(storage: Storage, until: float) -> dict[str, int | None]:
    """The versions of before. until: when a server that cannot be reached is given up, by the monotonic clock."""
    while True:
        try:
            return storage.prepare(SCHEMAS)
        except StoreFailure as failure:
            if failure.final or time.monotonic() >= until:
                fail(BAD_INPUT if failure.final else UNKNOWN, str(failure))
        time.sleep(_PAUSE)


def _row(schema: Schema, before: int | None) -> dict[str, object]:
    return {"name": schema.name, "version": max(schema.version, before or 0), "version_before": before}


def _text(schema: Schema, before: int | None) -> str:
    if before is None:
        return _("%(name)s: made, version %(version)s", name=schema.name, version=schema.version)
    if before >= schema.version:
        return _("%(name)s: is version %(before)s already", name=schema.name, before=before)
    return _(
        "%(name)s: from version %(before)s to %(version)s", name=schema.name, before=before, version=schema.version
    )
