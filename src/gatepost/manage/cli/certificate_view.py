"""How a certificate is printed for people: one row of a list, or everything about it.

Used by the `certificate` commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gatepost.manage.cli.tables import print_table, printable
from gatepost.manage.use_cases.certificates import common_name, in_order, list_record, request_record
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.pki.certificates.entry import Purpose, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.pki.certificates.entry import Entry
    from gatepost.pki.certificates.request import Request


_COLUMNS = ("id", "state", "names", "issuer", "key", "valid_until", "presented", "origin")
_CLIENT_COLUMNS = ("id", "state", "organization", "label", "subject", "issuer", "key", "valid_until", "origin")
_REQUEST_COLUMNS = ("id", "purpose", "organization", "label", "names", "key", "added", "key_is")
_SIDES = {Purpose.SERVER: _COLUMNS, Purpose.CLIENT: _CLIENT_COLUMNS}


def print_list(entries: Sequence[Entry], now: float) -> None:
    """Current beside next and deprecated; client identities in a table of their own."""
    for purpose, columns in _SIDES.items():
        chosen = in_order(entries, purpose)
        if purpose is Purpose.CLIENT and not chosen:
            continue
        if purpose is Purpose.CLIENT:
            click.echo("\nclient identities")
        print_table(columns, [_row(one, columns, now) for one in chosen])


def print_requests(requests: Sequence[Request]) -> None:
    """What waits for its certificate, if anything does."""
    if not requests:
        return
    click.echo("\nrequests that wait for their certificate")
    records = [request_record(one) for one in requests]
    shown = [
        one
        | {
            "names": ", ".join(one["names"]),
            "added": f"{moment(one['added'])[:16]}Z",
            "key_is": one["key_file"] or "sealed",
        }
        for one in records
    ]
    print_table(_REQUEST_COLUMNS, [[str(one[column]) for column in _REQUEST_COLUMNS] for one in shown])


def _row(entry: Entry, columns: Sequence[str], now: float) -> list[str]:
    record = list_record(entry, now)
    shown = record | {
        "state": _state(entry),
        "names": ", ".join(record["names"]) or f"(none) {entry.leaf.subject}",
        "issuer": common_name(entry.leaf.issuer),
        "subject": common_name(entry.leaf.subject),
        "valid_until": f"{moment(entry.leaf.not_after)[:10]} ({_left(record['days_left'])})",
        "presented": _presented(entry),
    }
    return [str(shown[column]) for column in columns]


def _state(entry: Entry) -> str:
    if entry.state is State.NEXT and entry.switch_at:
        return f"next (current {moment(entry.switch_at)})"
    return str(entry.state)


def _left(days: int) -> str:
    if days < 0:
        return f"expired {-days} days ago" if days < -1 else "expired"
    return f"{days} day{'' if days == 1 else 's'} left"


def _presented(entry: Entry) -> str:
    begun, ended = (moment(one) and f"{moment(one)[:16]}Z" for one in (entry.current_from, entry.current_until))
    if not begun and not ended:
        return "not recorded yet" if entry.state is State.CURRENT else "never"
    return f"{begun} - {ended}".strip()


def print_certificate(record: dict[str, Any]) -> None:
    """Everything about a certificate, a line for each field, its chain below."""
    for key, text in _lines(record):
        if text:
            click.echo(f"{key:<15} {printable(text)}")
    for number, link in enumerate(record["chain"], 1):
        click.echo(f"\nchain {number} of {len(record['chain'])}: {printable(link['subject'])}")
        for key in ("issuer", "serial", "key", "sha256"):
            click.echo(f"  {key:<13} {printable(link[key])}")
        click.echo(f"  {'valid':<13} {moment(link['not_before'])} - {moment(link['not_after'])}")
        for key in ("crl", "ocsp", "aia"):
            if link[key]:
                click.echo(f"  {key:<13} {printable(' '.join(link[key]))}")


def _lines(record: dict[str, Any]) -> list[tuple[str, str]]:
    times = [
        (key, moment(record[key] or 0)) for key in ("added", "since", "current_from", "current_until", "switch_at")
    ]
    validity = f"{moment(record['not_before'])} - {moment(record['not_after'])} ({_left(record['days_left'])})"
    plain = [(key, str(record[key])) for key in ("id", "label", "organization", "state", "purpose", "origin")]
    names = [("names", ", ".join(record["names"]))]
    facts = [(key, record[key]) for key in ("subject", "issuer", "serial", "key", "sha1", "sha256", "spki_sha256")]
    ends = [
        ("tlsa", record["tlsa"] if record["purpose"] == Purpose.SERVER else ""),
        ("valid", validity),
        ("must_staple", "yes" if record["must_staple"] else ""),
        ("replaces", ", ".join(record["replaces"])),
        ("private key", record["key_is"]),
        ("chain file", record["chain_file"]),
    ]
    return [*plain, *names, *facts, *ends, *times]
