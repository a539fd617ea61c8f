"""`gatepost completion`: the script that completes commands, options and stored names in a shell.

`manage.cli.stored_names` is how an argument says which names it takes.
"""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

SHELLS: Final = ("bash", "zsh", "fish")
# Nothing stands between "mode=" and its value; fish knows that by itself.
_NO_SPACE: Final = {
    "bash": [("COMPREPLY+=($value)", "COMPREPLY+=($value)\n            [[ $value == *= ]] && compopt -o nospace")],
    "zsh": [
        ("    local -a response\n", "    local -a response\n    local -a suffix\n"),
        ('completions+=("$key")', 'completions+=("$key")\n                [[ "$key" == *= ]] && suffix=(-S "")'),
        ("compadd -U -V unsorted -a", 'compadd -U -V unsorted "${suffix[@]}" -a'),
    ],
}


def script(shell: str, program: click.Command) -> str:
    """The script for one of `SHELLS`. program: the command with all others below it."""
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click has these three
    made = kind(program, {}, "gatepost", "_GATEPOST_COMPLETE")
    template = made.source_template
    for there, instead in _NO_SPACE.get(shell, ()):
        assert there in template  # noqa: S101 - click's own, of the version that is locked
        template = template.replace(there, instead)
    return template % made.source_vars()


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print a script that completes commands, options, names of connectors, domains and organizations, and fields.

    \b
    bash: gatepost completion bash > /etc/bash_completion.d/gatepost
    zsh:  gatepost completion zsh > /usr/local/share/zsh/site-functions/_gatepost
    fish: gatepost completion fish > ~/.config/fish/completions/gatepost.fish

    The Debian package has installed them. Names are those of this machine's gateway, for whoever may read its data.

    Exit codes: 0 printed, 2 usage error.
    """  # noqa: D301 - click's own mark of lines that stay
    click.echo(script(shell, click.get_current_context().find_root().command))
