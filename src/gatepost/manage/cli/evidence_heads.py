"""`gatepost evidence heads|key`: what an auditor keeps elsewhere, so that nobody can write the log anew."""

from __future__ import annotations

import click

from gatepost.manage.cli.options import MOMENT, NO, client, fail, gateway_options
from gatepost.manage.cli.output import print_table, printed_json, say
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.evidence import ListHeads, ListKeys, list_heads, list_keys
from gatepost.times import day_text


@click.command()
@click.option("--since", type=MOMENT, default=0.0, help="Since this day: 7d or a date.")
@gateway_options
def heads(since: float) -> None:
    """Print the head of each day: one hash of everything that was logged up to the end of that day.

    The gateway also logs these lines at level info. Send them to a place where the gateway's administrators cannot
    write: `evidence verify --head HASH` then detects a log that was rolled back or rewritten, which no signature can.
    The head of a day exists about a minute after the day ends (UTC).

    Exit codes: 0 there are heads, 1 there are none, 3 the data cannot be read.
    """
    items = list(all_items(client().call, list_heads, ListHeads(since=day_text(since) if since else "")))
    if not printed_json(items) and items:
        ends = (", ".join(f"{name}: {end['number']}" for name, end in head.writers.items()) for head in items)
        table = [(head.day, head.hash, end) for head, end in zip(items, ends, strict=True)]
        print_table(("day", "head", "last entry of each writer"), table)
    if not items:
        fail(NO, "no finished day has a head yet")


@click.command()
@gateway_options
def key() -> None:
    """Print the public keys that sign the log, and that signed it before, in PEM.

    Give them to whoever will verify the log, before it matters: `evidence verify --key FILE`.

    Exit codes: 0 there is a key, 1 there is none yet (the gateway creates it when it starts), 3 the data cannot be
    read.
    """
    keys = client().call(list_keys, ListKeys()).items
    if not printed_json(keys):
        for evidence_key in keys:
            say("key %(id)s", err=True, id=evidence_key.id)
            click.echo(evidence_key.pem, nl=False)
    if not keys:
        fail(NO, "there is no key yet: the gateway creates it when it starts with evidence.enabled")
