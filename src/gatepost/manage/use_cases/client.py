"""Runs use cases for a command: on this machine's gateway, or on another one by REST (`manage.remote.client`)."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from gatepost.manage.use_cases.context import Context, Gateway
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.paging import MAX_ITEMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.manage.access.accounts import Accounts
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.declaration import Items, UseCase
    from gatepost.policy.connectors.directory import Directory


class Client(Protocol):
    """Both raise the same Refusal and return the same values."""

    def call[R: msgspec.Struct, A](
        self, case: UseCase[R, A], request: R, *, dry_run: bool = False, expected: int | None = None
    ) -> A:
        """Run it. expected: the version that must still be in force for a change, None if any will do.

        Raises Refusal.
        """

    def directory(self) -> Directory:
        """The resources in force, as far as the caller sees them: to find what a name means. Raises Refusal."""

    def close(self) -> None:
        """End the connection, and close what was opened."""


class LocalClient:
    """The client of the gateway on this machine. principal: who gives the command."""

    def __init__(self, gateway: Gateway, principal: Principal) -> None:
        self._gateway = gateway
        self._principal = principal
        self._opened = ExitStack()
        self._accounts: Accounts | None = None

    def call[R: msgspec.Struct, A](
        self, case: UseCase[R, A], request: R, *, dry_run: bool = False, expected: int | None = None
    ) -> A:
        """See `Client`."""
        context = Context(self._gateway, self._principal, self._open, dry_run=dry_run, expected=expected)
        return execute(case, context, request)

    def directory(self) -> Directory:
        """See `Client`."""
        directory = self._gateway.directory()
        if self._principal.is_of_gateway:
            return directory
        from gatepost.manage.use_cases.name_lookup import visible  # noqa: PLC0415 - most commands need no resources
        from gatepost.policy.connectors.directory import Directory  # noqa: PLC0415 - as above

        return Directory(visible(directory.resources, self._principal), directory.version)

    def close(self) -> None:
        """See `Client`."""
        self._opened.close()

    def _open(self) -> Accounts:
        if self._accounts is None:
            from gatepost.manage.access.accounts import Accounts  # noqa: PLC0415 - a look needs none of it

            self._accounts = self._opened.enter_context(closing(Accounts(self._gateway.storage)))
        return self._accounts


class _Call(Protocol):
    """`Client.call`, or `execute` for a page."""

    def __call__[R: msgspec.Struct, A](self, case: UseCase[R, A], request: R, /) -> A:
        """Run it. Raises Refusal."""


def all_items[R: msgspec.Struct, T](call: _Call, case: UseCase[R, Items[T]], request: R, limit: int = 0) -> Iterator[T]:
    """Items of a list, page by page: at most `limit`, 0 for all. The request has `limit` and `after` (`Paging`).

    Raises Refusal.
    """
    left, after = limit, ""
    while True:
        changes: dict[str, Any] = {"limit": min(MAX_ITEMS, left or MAX_ITEMS), "after": after}
        page = call(case, msgspec.structs.replace(request, **changes))
        yield from page.items
        left -= len(page.items) if limit else 0
        if page.after is None or page.after == after or left < bool(limit):
            return
        after = page.after
