"""The command line: `gatepost …`. Commands load when they are called, so that `--help` and `queue list` start fast.

Exit codes of every command: 0 yes or done, 1 a clear no, 2 wrong use or bad input, 3 could not tell. Data goes to
standard output, talk to standard error.
"""

from __future__ import annotations

from importlib import import_module

import click

__all__ = ["main"]

# name: (module of gatepost.cli, the line `gatepost --help` shows)
_COMMANDS = {
    "serve": ("serve", "Run the gateway until SIGTERM."),
    "demo": ("demo", "A gateway and a partner on loopback: five messages, and why each went as it did."),
    "apply": ("resources", "Make organizations what a resource file says."),
    "export": ("resources", "Print the resources in force as a resource file."),
    "queue": ("queue", "Look at deferred and held mail, and act on it."),
    "trace": ("trace", "Find what happened to a message, and why."),
    "tls": ("tls", "The published list of TLS versions and cipher suites."),
}


class _LazyGroup(click.Group):
    """A group that imports the module of a command only when that command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"gatepost.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


def _print_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(import_module("gatepost.cli.version").version_text())
        ctx.exit()


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option("--config", type=click.Path(dir_okay=False), help="Settings file (or GATEPOST_CONFIG).")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version, the interpreter and the TLS library, then exit.",
)
@click.pass_context
def main(ctx: click.Context, config: str | None) -> None:
    """gatepost: a mail gateway that decides, proves and rehearses how every mail connection is protected.

    Exit codes: 0 yes or done, 1 a clear no, 2 wrong use or bad input, 3 could not tell.
    """
    ctx.obj = config
