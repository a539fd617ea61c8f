"""`gatepost evidence heads|key`: what an auditor keeps elsewhere, so that nobody can write the log anew."""

from __future__ import annotations

import click

from gatepost.manage.cli.client import client
from gatepost.manage.cli.options import NO, config_option, fail, json_option
from gatepost.manage.cli.tables import print_json, print_table
from gatepost.manage.cli.times import MOMENT
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.evidence import ListHeads, ListKeys, list_heads, list_keys
from gatepost.times import day_text


@click.command()
@click.option("--since", type=MOMENT, default=0.0, help="Since this day: 7d or a date.")
@config_option
@json_option
def heads(since: float, config: str | None, as_json: bool) -> None:
    """Print the head of each day: one hash of everything that was logged up to the end of that day.

    The gateway also logs these lines at level info. Send them to a place where the gateway's administrators cannot
    write: `evidence verify --head HASH` then detects a log that was rolled back or rewritten, which no signature can.
    The head of a day exists about a minute after the day ends (UTC).

    Exit codes: 0 there are heads, 1 there are none, 3 the data cannot be read.
    """
    found = list(all_items(client(config).call, list_heads, ListHeads(since=day_text(since) if since else "")))
    if as_json:
        print_json(found)
    elif found:
        ends = (", ".join(f"{name}: {end['number']}" for name, end in one.writers.items()) for one in found)
        table = [(one.day, one.hash, end) for one, end in zip(found, ends, strict=True)]
        print_table(("day", "head", "last entry of each writer"), table)
    if not found:
        fail(NO, "no finished day has a head yet")


@click.command()
@config_option
@json_option
def key(config: str | None, as_json: bool) -> None:
    """Print the public keys that sign the log, and that signed it before, in PEM.

    Give them to whoever will verify the log, before it matters: `evidence verify --key FILE`.

    Exit codes: 0 there is a key, 1 there is none yet (the gateway creates it when it starts), 3 the data cannot be
    read.
    """
    found = client(config).call(list_keys, ListKeys()).items
    if as_json:
        print_json(found)
    else:
        for one in found:
            click.echo(f"key {one.id}", err=True)
            click.echo(one.pem, nl=False)
    if not found:
        fail(NO, "there is no key yet: the gateway creates it when it starts with evidence.enabled")
