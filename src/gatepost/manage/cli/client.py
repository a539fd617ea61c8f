"""The client that the options of a command name: of this machine's gateway, or of another one (`--server`).

What takes long shows a sign of it on a terminal.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from gatepost.manage.cli.language import ours
from gatepost.manage.cli.options import CLIENT, NO, administrator, current_server, fail, local_gateway
from gatepost.manage.cli.tables import printable
from gatepost.manage.cli.working_sign import working
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    import msgspec

    from gatepost.manage.use_cases.client import Client
    from gatepost.manage.use_cases.declaration import UseCase
    from gatepost.policy.connectors.directory import Directory


def client() -> Client:
    """The same for a whole command, which closes it; ends the command if the settings or these options are wrong."""
    context = click.get_current_context()
    if CLIENT not in context.meta:
        context.meta[CLIENT] = _WithSign(_opened())
    opened: Client = context.meta[CLIENT]
    return opened


def _opened() -> Client:
    server = current_server()
    made: Client
    if server is None:
        from gatepost.manage.use_cases.client import LocalClient  # noqa: PLC0415 - another gateway needs none of it

        made = LocalClient(local_gateway(), administrator())
    else:
        from gatepost.manage.remote.client import RemoteClient  # noqa: PLC0415 - this machine needs none of it

        made = RemoteClient(server.address())
    click.get_current_context().call_on_close(made.close)
    return made


class _WithSign:
    """A client whose calls show that they go on."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.close = client.close

    def call[R: msgspec.Struct, A](
        self, case: UseCase[R, A], request: R, *, dry_run: bool = False, expected: int | None = None
    ) -> A:
        """See `Client`."""
        with working():
            return self._client.call(case, request, dry_run=dry_run, expected=expected)

    def directory(self) -> Directory:
        """See `Client`."""
        with working():
            return self._client.directory()


@contextmanager
def missing_is_no(text: str = "%(text)s") -> Iterator[None]:
    """End the command with exit code 1 if what it names is not there. text: around what the refusal says."""
    try:
        yield
    except Refusal as refusal:
        if refusal.kind is not RefusalKind.MISSING:
            raise
        fail(NO, text, text=printable(ours(refusal.text)))
