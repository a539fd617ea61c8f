"""The commands that set or remove a password or secret: alike for domains, mailboxes and outbound connectors.

Made once by the module of each group. A secret is asked for, or read from standard input, so that it is in no list of
processes.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

import click

from gatepost.manage.cli.options import BAD_INPUT, NO, client, fail, gateway_options
from gatepost.manage.cli.output import _, printed_json
from gatepost.manage.cli.part_commands import organization_option, part_argument
from gatepost.manage.cli.password_prompt import prompt_password
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.pki.certificates.connector_secrets import SecretState
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Callable

    import msgspec

    from gatepost.manage.use_cases.declaration import UseCase
    from gatepost.manage.use_cases.name_lookup import Part, PartKind


_DONE: Final = {
    "password": (N_("%(name)s: password set"), N_("%(name)s: password removed")),
    "secret": (N_("%(name)s: secret set"), N_("%(name)s: secret removed")),
}
_ONE_OF: Final = (
    N_("--stdin sets a password, --remove removes it: use only one of them"),
    N_("use only one of --stdin, --remove and --check"),
)


class SecretCases(NamedTuple):
    """Use cases of secrets of one kind. named: the field of requests and results that names the part.

    show: whether there is one; None where nothing says so.
    """

    named: str
    set: UseCase[Any, Any]
    remove: UseCase[Any, Any]
    show: UseCase[Any, Any] | None = None


def secret_command(
    kind: PartKind, cases: SecretCases, removal: str, prompt: str = "Password"
) -> Callable[[Callable[[], None]], click.Command]:
    """Make it of its name, which is also the field of the secret, and its help. removal: help of `--remove`."""

    def described(function: Callable[[], None]) -> click.Command:
        return _command(kind, cases, function.__name__, inspect.getdoc(function) or "", (removal, prompt))

    return described


def _end_with_state(shown: msgspec.Struct, name: str, state: SecretState) -> NoReturn:
    """Say whether there is a secret, and end the command by it."""
    if not printed_json(shown):
        click.echo(f"{name}: {state}")
    raise SystemExit(0 if state in {SecretState.SEALED, SecretState.FILE} else NO)


def _command(kind: PartKind, cases: SecretCases, word: str, summary: str, texts: tuple[str, str]) -> click.Command:
    @click.command(word, help=summary)
    @part_argument(kind, kind.identity)
    @click.option(
        "--stdin", "from_stdin", is_flag=True, help=f"Read the {word} from standard input, up to the end of the line."
    )
    @click.option("--remove", is_flag=True, help=texts[0])
    def command(part: Part, *, from_stdin: bool, remove: bool, check: bool = False) -> None:
        if from_stdin + remove + check > 1:
            fail(BAD_INPUT, _ONE_OF[cases.show is not None])
        named = {"organization": part.organization.name, cases.named: part.name}
        try:
            if cases.show is not None and not remove:  # before somebody types it in vain
                shown = client().call(cases.show, cases.show.request(**named))
            if check:
                _end_with_state(shown, getattr(shown, cases.named), getattr(shown, word))
            if remove:
                changed = client().call(cases.remove, cases.remove.request(**named))
            else:
                secret = {word: prompt_password("--stdin", from_stdin=from_stdin, what=texts[1])}
                changed = client().call(cases.set, cases.set.request(**named, **secret))
        except Refusal as refusal:
            if refusal.kind is not RefusalKind.INPUT:
                raise
            fail(BAD_INPUT, refusal.text)
        if not printed_json(changed):
            click.echo(_(_DONE[word][remove], name=getattr(changed, cases.named)), err=True)

    if cases.show is not None:
        command = click.option("--check", is_flag=True, help=f"Only say whether there is a {word}.")(command)
    return gateway_options(organization_option(command))
