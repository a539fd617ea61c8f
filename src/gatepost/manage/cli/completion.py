"""`gatepost completion`: the script that completes commands, options and stored names in a shell.

`manage.cli.stored_names` is how an argument says which names it takes. Names are written by others, tenants among them,
and end on a command line that somebody runs: each shell gets them quoted. zsh and fish do so by themselves; for bash,
which puts there whatever it is told, `BashCompletion` does, and finds out what is being typed.
"""

from __future__ import annotations

import os
import re
from typing import Any, Final, NamedTuple

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class, get_completion_class

SHELLS: Final = ("bash", "zsh", "fish")
# Nothing stands between "mode=" and its value; fish knows that by itself. fish cuts off what stands behind a comma.
_CHANGES: Final = {
    "zsh": [
        ("    local -a response\n", "    local -a response\n    local -a suffix\n"),
        ('completions+=("$key")', 'completions+=("$key")\n                [[ "$key" == *= ]] && suffix=(-S "")'),
        ("compadd -U -V unsorted -a", 'compadd -U -V unsorted "${suffix[@]}" -a'),
    ],
    "fish": [('string split ","', 'string split --max 1 ","')],
}
_BASH: Final = """\
%(complete_func)s() {
    local kind value
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case $kind in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("$value"); [[ $value == *= ]] && compopt -o nospace ;;
        esac
    done < <(COMP_WORDS=${COMP_LINE:0:COMP_POINT} COMP_BREAKS=$COMP_WORDBREAKS %(complete_var)s=bash_complete "$1")
    return 0
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""
_PLAIN: Final = re.compile(r"[^\w@%+=:,./-]")


class TypedLine(NamedTuple):
    """A command line up to the cursor, as bash reads it.

    words: without quotes. word: the last one, which is being typed. quote: the one that is open in it, or "". kept: how
    much of it bash does not replace, as it stands before a character that bash takes for the end of a word.
    """

    words: list[str]
    word: str
    quote: str
    kept: int


def read_line(text: str, breaks: str) -> TypedLine:
    """Read what was typed. breaks: characters behind which bash begins to replace, of `COMP_WORDBREAKS`."""
    words, word, quote, kept, begun = [], "", "", 0, False
    letters = iter(text)
    for letter in letters:
        if letter == "\\" and quote != "'":
            following = next(letters, "")
            word += following if not quote or following in '"$`\\' else letter + following
        elif letter == quote:
            quote = ""
        elif not quote and letter in "\"'":
            quote, kept = letter, len(word)
        elif not quote and letter.isspace():
            words += [word] if begun else []
            word, kept, begun = "", 0, False
            continue
        else:
            word += letter
            if letter in breaks and not quote:
                kept = len(word) - (letter == "@")  # which bash counts to the word that it begins
        begun = True
    return TypedLine(words, word, quote, kept)


def quoted(text: str, quote: str) -> str:
    """A text so that bash reads it as it is, behind this open quote, or "" for none."""
    if quote == "'":
        return text.replace("'", "'\\''")
    if quote:
        return re.sub(r'([\\"$`])', r"\\\1", text).replace("!", "\"'!'\"")
    return _PLAIN.sub(r"\\\g<0>", text)


class BashCompletion(BashComplete):
    """Completion in bash by the line and not by its words, which bash splits at "=", ":" and "@"."""

    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that is typed, without the command itself, and that one."""
        self._line = read_line(os.environ["COMP_WORDS"], os.environ["COMP_BREAKS"])
        return self._line.words[1:], self._line.word

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Quote a completion for the place where it stands, without what bash keeps of the word."""
        return f"{item.type},{quoted(str(item.value)[self._line.kept :], self._line.quote)}"


add_completion_class(BashCompletion)


def script(shell: str, program: click.Command) -> str:
    """The script for one of `SHELLS`. program: the command with all others below it."""
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click has these three
    made = kind(program, {}, "gatepost", "_GATEPOST_COMPLETE")
    template = made.source_template
    for there, instead in _CHANGES.get(shell, ()):
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

    The Debian package installs these scripts. Names come from this machine's gateway, for users who may read its data.

    Exit codes: 0 printed, 2 usage error.
    """  # noqa: D301 - click's own mark of lines that stay
    click.echo(script(shell, click.get_current_context().find_root().command))
