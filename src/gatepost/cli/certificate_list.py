"""`gatepost certificate list|show|history`: the certificates of the gateway, one in full, and who changed what."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.certificate_store import choose_certificate, listed_certificates, opened
from gatepost.cli.certificate_view import (
    certificate_record,
    list_record,
    print_certificate,
    print_list,
    print_requests,
    request_record,
)
from gatepost.cli.options import config_option, json_option, settings_of
from gatepost.cli.tables import moment, print_json, print_table, printable

if TYPE_CHECKING:
    from gatepost.store.changes import Change

__all__ = ["history", "list_", "show"]

_COLUMNS = ("version", "at", "author", "kind", "id", "names", "change", "note")


@click.command("list")
@config_option
@json_option
def list_(config: str | None, as_json: bool) -> None:
    """Certificates: current beside next and deprecated, when each is valid and when it was presented.

    Client identities, which outbound connectors present, have a table of their own, as have requests that
    wait. A certificate of the settings is listed also if the gateway never ran.

    Exit codes: 0 done (also if there are none), 3 not readable.
    """
    settings, now = settings_of(config), time.time()
    with opened(settings, keys=False) as inventory:
        found = listed_certificates(inventory, settings)
        requests = list(inventory.requests.waiting().values())
        directories = [str(path) for path in inventory.directories.paths()]
    for line in found.trouble:
        click.echo(f"[[certificate]]: {line}", err=True)
    entries = list(found.entries.values())
    if as_json:
        rows = [list_record(one, now) for one in entries]
        print_json(
            {
                "version": found.version,
                "certificates": [row for row in rows if row["purpose"] == "server"],
                "client_identities": [row for row in rows if row["purpose"] == "client"],
                "requests": [request_record(one) for one in requests],
                "directories": directories,
                "trouble": list(found.trouble),
            }
        )
    else:
        print_list(entries, now)
        print_requests(requests)
        for path in directories:
            click.echo(f"watched: {printable(path)}", err=True)


@click.command()
@click.argument("number", metavar="ID")
@config_option
@json_option
def show(number: str, config: str | None, as_json: bool) -> None:
    """Everything about a certificate. ID: its id, the beginning of its SHA-256 thumbprint, or its label.

    Exit codes: 0 found, 2 no such certificate, 3 not readable.
    """
    settings = settings_of(config)
    with opened(settings, keys=False) as inventory:
        found = listed_certificates(inventory, settings)
    entry = choose_certificate(found, number)
    record = certificate_record(entry, found.chains.get(entry.id, b""), time.time())
    if as_json:
        print_json(record)
    else:
        print_certificate(record)


@click.command()
@click.option("--limit", default=50, type=click.IntRange(1, 10_000), show_default=True, help="At most so many.")
@config_option
@json_option
def history(limit: int, config: str | None, as_json: bool) -> None:
    """Who changed certificates, requests and directories, when and why: the newest first.

    Exit codes: 0 done (also if there is nothing), 3 not readable.
    """
    with opened(settings_of(config), keys=False) as inventory:
        rows = [_change(one) for one in inventory.history(limit)]
    if as_json:
        print_json(rows)
    else:
        print_table(_COLUMNS, [_cells(row) for row in rows])


def _cells(row: dict[str, Any]) -> list[object]:
    shown = row | {"at": moment(row["at"]), "names": ", ".join(row["names"])}
    return [shown[column] for column in _COLUMNS]


def _change(change: Change) -> dict[str, Any]:
    document = change.after or change.before or {}
    leaf = document.get("leaf", {})
    return {
        "version": change.version,
        "at": change.at,
        "author": change.author,
        "kind": change.kind.removeprefix("certificate_"),
        "id": change.name,
        "names": leaf.get("dns_names") or [leaf["subject"]] if leaf else document.get("names", []),
        "change": _what(change.before, change.after),
        "note": change.note,
    }


def _what(before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
    if before is None:
        return f"added as {after['state']}" if after and "state" in after else "added"
    if after is None:
        return "removed"
    if before.get("state") != after.get("state"):
        return f"{before.get('state')} -> {after.get('state')}"
    changed = sorted(key for key in after if after[key] != before.get(key))
    return f"changed {', '.join(changed)}"
