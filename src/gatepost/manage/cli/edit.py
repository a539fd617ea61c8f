"""Changes of one resource from the command line: the options they share, and what is said of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from gatepost.manage.cli.changes import report
from gatepost.manage.cli.door import door
from gatepost.manage.cli.options import author
from gatepost.manage.cli.times import MOMENT
from gatepost.manage.use_cases.change import Wish

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.manage.use_cases.change import Outcome


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of every command that changes something."""

    config: str | None
    dry_run: bool
    since: float
    note: str
    as_json: bool

    @property
    def wish(self) -> Wish:
        """How the change is to be made."""
        return Wish(author(), self.note, self.dry_run, self.since)


def change_options[F: Callable[..., Any]](command: F) -> F:
    """`--dry-run`, `--since`, `--note`."""
    command = click.option("--note", default="", help="Why, for the history.")(command)
    command = click.option(
        "--since",
        type=MOMENT,
        default="7d",
        show_default=True,
        help="With --dry-run: the mail since then is decided again, to see what would have been different.",
    )(command)
    return click.option("--dry-run", is_flag=True, help="Check it and print what would change; change nothing.")(
        command
    )


def edit(asked: Asked, change: Callable[..., Outcome], *what: Any) -> None:
    """Change something by a function of `manage.use_cases.resources` and say what it did. what: its own arguments."""
    outcome = door(asked.config)(change, *what, asked.wish)
    report(outcome, as_json=asked.as_json)
