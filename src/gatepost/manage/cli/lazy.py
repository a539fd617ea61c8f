"""A group of commands each of which is imported when it is used, so that `--help` and `queue list` start fast."""

from __future__ import annotations

import errno
import gc
import os
import shlex
import sys
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from gatepost.manage.cli.output import ENGLISH, _, language, speak

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gatepost.manage.use_cases.refusal import Refusal


COLLECTIONS: Final = gc.get_threshold()
"""How often Python looks for garbage, which a command that runs for long asks for again."""

_OF_OUTPUT: Final = {errno.ENOSPC, errno.EBADF, errno.EDQUOT, errno.EFBIG}  # of an error without a file
_SHOWN: Final = 20  # characters beside the one that cannot be written
_FEW_COLLECTIONS: Final = (250_000, *COLLECTIONS[1:])  # imports make much and leave no garbage: 8 % of their time


class LazyGroup(click.Group):
    """commands: name -> (module of gatepost.manage.cli, the command's name in it, the line that help shows)."""

    def __init__(self, *args: Any, commands: Mapping[str, tuple[str, str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = commands

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the command line says in the terminal's language, and seldom look for garbage meanwhile."""
        gc.set_threshold(*_FEW_COLLECTIONS)
        speak()
        if "_GATEPOST_COMPLETE" in os.environ:
            import_module("gatepost.manage.cli.completion")  # it tells click what is particular to a shell
        try:
            return click.Group.main(_spoken(self), *args, **kwargs)
        finally:
            gc.set_threshold(*COLLECTIONS)

    def invoke(self, ctx: click.Context) -> Any:
        """Do the command; what an administrator is refused ends it with its text and exit code."""
        from gatepost.manage.use_cases.refusal import Refusal  # noqa: PLC0415 - `--help` does without

        try:
            with _output():
                return super().invoke(ctx)
        except click.NoSuchCommand as unknown:
            if not unknown.possibilities:
                unknown.possibilities = _shown_by(unknown)  # type: ignore[misc]  # click writes it once, and asks nobody
            raise
        except click.ClickException as error:
            from gatepost.manage.cli.output import bounded  # noqa: PLC0415 - `--help` does without

            error.message = bounded(error.message)  # type: ignore[misc]  # as above
            raise
        except Refusal as refusal:
            self.end(refusal)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the command line; `--help` and `--version` print here."""
        with _output():
            return super().make_context(*args, **kwargs)

    def end(self, refusal: Refusal) -> NoReturn:
        """End the command with the refusal's text and exit code."""
        from gatepost.manage.cli.options import refused  # noqa: PLC0415 - `--help` does without

        refused(refusal)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """In the order in which they were declared."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import it."""
        if cmd_name not in self._lazy:
            return None
        module, attribute, _line = self._lazy[cmd_name]
        command: click.Command = getattr(import_module(f"gatepost.manage.cli.{module}"), attribute)
        return _spoken(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; of a name that is none, say which ones are like it."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as unknown:
            raise click.NoSuchCommand(unknown.command_name, possibilities=self._lazy, ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Print names and lines without importing anything."""
        with formatter.section(_("Commands")):
            formatter.write_dl([(name, _(line)) for name, (_module, _attribute, line) in self._lazy.items()])


@contextmanager
def _output() -> Iterator[None]:
    """End the command with 3 where its answer cannot be written, or no command has said what an error means.

    Silently if whoever read the answer reads no more.
    """
    try:
        yield
    except OSError as error:
        from gatepost.manage.cli.options import UNKNOWN, fail  # noqa: PLC0415 - `--help` does without

        if error.errno == errno.EPIPE:
            sys.exit(UNKNOWN)
        place, why = error.filename or (_("standard output") if error.errno in _OF_OUTPUT else ""), error.strerror
        text = f"{place}: {why or error}" if place else str(why or error)
        fail(UNKNOWN, "%(text)s; what the command did stays done", text=text)
    except UnicodeEncodeError as error:
        from gatepost.manage.cli.options import BAD_INPUT, UNKNOWN, fail  # noqa: PLC0415 - as above

        part = ascii(error.object[max(0, error.start - _SHOWN) : error.end + _SHOWN])
        if error.reason.startswith("surrogates"):
            fail(BAD_INPUT, "a text on the command line is not UTF-8: %(part)s", part=part)
        place = _("standard output")
        fail(
            UNKNOWN,
            "%(place)s: its encoding %(encoding)s has no %(part)s",
            place=place,
            encoding=error.encoding,
            part=part,
        )


def _shown_by(unknown: click.NoSuchCommand) -> list[str]:
    """The command that shows what was given in place of a command, such as an id; none where the group has none.

    Where a group lists by itself, that is what was meant by "list".
    """
    context, name = unknown.ctx, unknown.command_name
    group = context.command if context is not None else None
    if context is None or not isinstance(group, click.Group) or not name.isprintable():
        return []
    if name == "list":
        return [context.command_path] if group.invoke_without_command else []
    show = group.get_command(context, "show")
    takes = show is not None and any(isinstance(parameter, click.Argument) for parameter in show.params)
    return [f"{context.command_path} show {shlex.quote(name)}"] if takes else []


def _spoken[C: click.Command](command: C) -> C:
    """The command with its help in the language of the terminal: in English as it is."""
    if language() == ENGLISH:
        return command
    from gatepost.manage.cli.localized_help import localized  # noqa: PLC0415 - English does without

    return localized(command)
