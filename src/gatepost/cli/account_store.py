"""What `gatepost user`, `token` and `audit` share: the accounts, how a refusal ends a command."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from gatepost.access.records import Actor
from gatepost.administration.accounts import open_accounts
from gatepost.administration.gateway import Gateway
from gatepost.administration.refusal import Kind, Refusal
from gatepost.cli.options import BAD_INPUT, NO, UNKNOWN, author, fail, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatepost.access.accounts import Accounts

__all__ = ["CODES", "Opened", "of_organizations", "opened", "organization_option"]

CODES = (
    "Exit codes: 0 done, 1 its state does not allow it, 2 wrong input, with every error by field, 3 not readable or "
    "writable."
)

_CODES = {Kind.INPUT: BAD_INPUT, Kind.MISSING: BAD_INPUT, Kind.CONFLICT: NO, Kind.UNREADABLE: UNKNOWN}


class Opened(NamedTuple):
    """What a command works on. by: who gives it."""

    gateway: Gateway
    accounts: Accounts
    by: Actor


@contextlib.contextmanager
def opened(config: str | None) -> Iterator[Opened]:
    """The accounts of the gateway; a refusal within ends the command."""
    gateway = Gateway(settings_of(config))
    try:
        with open_accounts(gateway) as accounts:
            yield Opened(gateway, accounts, Actor(author()))
    except Refusal as refusal:
        fail(_CODES[refusal.kind], "\n".join(map(str, refusal.errors)) or refusal.text)


def organization_option[F: Callable[..., Any]](otherwise: str) -> Callable[[F], F]:
    """`--organization NAME`, several times. otherwise: what holds without it."""
    text = f"Only this organization; may be given several times. Without it {otherwise}."
    return click.option("--organization", "organizations", multiple=True, metavar="NAME", help=text)


def of_organizations(names: frozenset[str] | None) -> str:
    """For a table: "" is the whole gateway."""
    return ", ".join(sorted(names)) if names is not None else "(all)"
