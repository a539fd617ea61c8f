"""What `gatepost user`, `token` and `audit` share: the accounts, how a refusal ends a command."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from gatepost.manage.access.records import Actor
from gatepost.manage.cli.options import author, settings_of
from gatepost.manage.use_cases.accounts import open_accounts
from gatepost.manage.use_cases.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatepost.manage.access.accounts import Accounts


CODES = (
    "Exit codes: 0 done, 1 its state does not allow it, 2 wrong input, with every error by field, 3 not readable or "
    "writable."
)


class Opened(NamedTuple):
    """What a command works on. by: who gives it."""

    gateway: Gateway
    accounts: Accounts
    by: Actor


@contextlib.contextmanager
def opened(config: str | None) -> Iterator[Opened]:
    """The accounts of the gateway; a refusal within ends the command (`gatepost.manage.cli.main`)."""
    gateway = Gateway(settings_of(config))
    with open_accounts(gateway) as accounts:
        yield Opened(gateway, accounts, Actor(author()))


def organization_option[F: Callable[..., Any]](otherwise: str) -> Callable[[F], F]:
    """`--organization NAME`, several times. otherwise: what holds without it."""
    text = f"Only this organization; may be given several times. Without it {otherwise}."
    return click.option("--organization", "organizations", multiple=True, metavar="NAME", help=text)


def of_organizations(names: frozenset[str] | None) -> str:
    """For a table: "" is the whole gateway."""
    return ", ".join(sorted(names)) if names is not None else "(all)"
