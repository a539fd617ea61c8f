"""`gatepost audit`: who did or tried what in the admin centre, over REST, and with accounts on the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from gatepost.manage.access.records import DeedFilter, Outcome
from gatepost.manage.cli.door import door
from gatepost.manage.cli.options import config_option, json_option
from gatepost.manage.cli.tables import print_json, print_table
from gatepost.manage.cli.times import MOMENT
from gatepost.manage.use_cases.accounts import deed_record
from gatepost.manage.use_cases.accounts_opened import deeds
from gatepost.manage.use_cases.times import stamp as moment

if TYPE_CHECKING:
    from gatepost.manage.access.records import Deed


_COLUMNS = ("id", "at", "who", "from", "action", "organization", "subject", "outcome", "detail")


@click.command()
@click.option("--who", default="", help='Only deeds of this user, token ("token NAME") or account.')
@click.option("--action", default="", help="Only this action, such as log-in or user-set.")
@click.option("--organization", help='Only deeds in this organization; "" is the gateway itself.')
@click.option("--subject", default="", help="Only deeds about this.")
@click.option("--outcome", type=click.Choice([one.value for one in Outcome]), help="Only deeds that ended so.")
@click.option("--since", type=MOMENT, default=0.0, help="From then on: 2h, 7d, or a date.")
@click.option("--until", type=MOMENT, default=0.0, help="Before then.")
@click.option("--limit", default=50, type=click.IntRange(1, 1000), show_default=True, help="At most so many.")
@click.option("--before", default=0, type=click.IntRange(0), help="Older than the deed of this id: the next page.")
@config_option
@json_option
def audit(limit: int, before: int, config: str | None, *, as_json: bool, **wanted: Any) -> None:
    """Who did or tried what, the newest first.

    Log-ins, changes of users and tokens, deeds in the admin centre and over REST, refused ones among them. Kept for 400
    days. What changed of resources is in `gatepost history`.

    Exit codes: 0 done (also if there is nothing), 2 wrong use, 3 not readable.
    """
    outcome = Outcome(wanted["outcome"]) if wanted["outcome"] else None
    found = door(config)(deeds, DeedFilter(**{**wanted, "outcome": outcome}), limit=limit, older=before)
    if as_json:
        print_json([deed_record(one) for one in found])
    else:
        print_table(_COLUMNS, [_row(one) for one in found])


def _row(deed: Deed) -> tuple[object, ...]:
    detail = json.dumps(dict(deed.detail), ensure_ascii=False) if deed.detail else ""
    place = deed.address or "command line"
    return (
        *(deed.id, moment(deed.at), deed.who, place, deed.action),
        *(deed.organization, deed.subject, deed.outcome.value, detail),
    )
