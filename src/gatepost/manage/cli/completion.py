"""`gatepost completion`: the script that completes commands, options and stored names in a shell.

`stored_names` is how an argument says which names it takes. A shell asks while somebody types: whatever is wrong then,
there is no completion, and no message.
"""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem, get_completion_class

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHELLS: Final = ("bash", "zsh", "fish")
_MOST: Final = 1000
_ORGANIZATION: Final = "organization"

type Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def script(shell: str) -> str:
    """The script for one of `SHELLS`."""
    from gatepost.manage.cli import main  # noqa: PLC0415 - it imports this module's command when it is asked for

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click has these three
    made = kind(main, {}, "gatepost", "_GATEPOST_COMPLETE")
    return made.source_template % made.source_vars()


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print a script that completes commands, options, and names of connectors, domains and organizations.

    \b
    bash: gatepost completion bash > /etc/bash_completion.d/gatepost
    zsh:  gatepost completion zsh > /usr/local/share/zsh/site-functions/_gatepost
    fish: gatepost completion fish > ~/.config/fish/completions/gatepost.fish

    The Debian package has installed them. Names are those of this machine's gateway, for whoever may read its data.

    Exit codes: 0 printed, 2 usage error.
    """  # noqa: D301 - click's own mark of lines that stay
    click.echo(script(shell))


def stored_names(*keys: str) -> Complete:
    """Complete the names of what is stored below these keys of an organization, or of "organization" themselves."""

    def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if context.find_root().params.get("server"):
            return []  # nobody waits for another machine at each key
        matching = {name for name in _names(context, keys) if name.lower().startswith(incomplete.lower())}
        return [CompletionItem(name) for name in sorted(matching)[:_MOST]]

    return complete


def _names(context: click.Context, keys: tuple[str, ...]) -> list[str]:
    config = context.params.get("config") or context.find_root().params.get("config")
    with contextlib.redirect_stderr(io.StringIO()), context.find_root():
        try:
            return list(_stored(config, keys))
        except (Exception, SystemExit):  # noqa: BLE001 - no data, or not for this person: nothing is completed
            return []


def _stored(config: Any, keys: tuple[str, ...]) -> Iterator[str]:
    from gatepost.manage.cli.options import gateway_of  # noqa: PLC0415 - a command that runs has its own
    from gatepost.manage.use_cases.parts import KINDS  # noqa: PLC0415 - as above

    gateway = gateway_of(config)
    for organization in gateway.directory().resources.organizations:
        if _ORGANIZATION in keys:
            yield organization.name
        for key in keys:
            if (kind := KINDS.get(key)) is not None:
                yield from (kind.name(part) for part in kind.of(organization))
