"""Shared parts of commands: options (settings file, `--json`), the client that they name, and errors that end them.

The client is of this machine's gateway, or of another one (`--server`). A call that takes more than two seconds shows
on a terminal that it goes on: "verifying … 7 s", which is gone before the command prints anything. Nothing in a pipe.
What asks for input or prints as it goes has none.
"""

from __future__ import annotations

import os
import pwd
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from gatepost.manage.cli.output import JSON, _, bounded, in_words, ours, speak_to_programs
from gatepost.manage.cli.remote_options import RemoteOptions, RemoteServer, only_here
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.times import moment
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import msgspec

    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.client import Client
    from gatepost.manage.use_cases.context import Gateway
    from gatepost.manage.use_cases.declaration import UseCase
    from gatepost.policy.connectors.directory import Directory
    from gatepost.settings.model import Settings
    from gatepost.settings.problem import SettingsError


NO = 1
BAD_INPUT = 2
UNKNOWN = 3
CLIENT = "gatepost.client"
"""Where the context of a command has what `client` opened."""
ACCOUNT_CODES = (
    "Exit codes: 0 done, 1 its state does not allow it, 2 usage error or invalid input (with every error by field), "
    "3 the data cannot be read or written."
)
"""For the help of commands that change users and tokens."""


def config_option[F: Callable[..., Any]](command: F) -> F:
    """`--config FILE`, which `client` and `local_settings` read.

    Without it GATEPOST_CONFIG, /etc/gatepost/gatepost.toml, ./gatepost.toml.
    """

    def chosen(_context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        if value:
            use_settings_file(value)

    path = click.Path(dir_okay=False)
    help_ = "Settings file (or GATEPOST_CONFIG)."
    return click.option("--config", type=path, expose_value=False, callback=chosen, help=help_)(command)


def json_option[F: Callable[..., Any]](command: F) -> F:
    """`--json`: the same data for machines, with stable keys. `printed_json` of `manage.cli.output` prints it."""

    def chosen(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value:
            speak_to_programs()
            context.meta[JSON] = True

    help_ = "Print JSON for machines."
    return click.option("--json", is_flag=True, expose_value=False, callback=chosen, help=help_)(command)


def gateway_options[F: Callable[..., Any]](command: F) -> F:
    """`--config` and `--json`, which nearly every command has. The command is not given their values."""
    return config_option(json_option(command))


def force_option[F: Callable[..., Any]](text: str) -> Callable[[F], F]:
    """`--force REASON`, which the history keeps. text: its help. Blanks are no reason."""

    def given(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
        if value and not value.strip():
            raise click.BadParameter(_("the reason is empty; write why, the history records it"))
        return value.strip()

    return click.option("--force", metavar="REASON", default="", callback=given, help=text)


def current_remote_options() -> RemoteOptions:
    """The options of `gatepost` itself."""
    options = click.get_current_context().find_root().obj
    return options if isinstance(options, RemoteOptions) else RemoteOptions()


def current_server() -> RemoteServer | None:
    """The other gateway that is meant, None for this machine's."""
    return current_remote_options().server


def use_settings_file(file: str) -> None:
    """Let the command work on the gateway of this settings file, whatever the options of `gatepost` name."""
    context = click.get_current_context()
    context.find_root().obj = current_remote_options()._replace(config=file)
    context.meta.pop(CLIENT, None)


def local_settings() -> Settings:
    """The settings of the gateway whose data_dir a command works on; given by root, it acts as its account from now on.

    Ends the command with exit code 2 and every error if they are wrong, or there is no such account. Raises Refusal
    (INPUT) if another gateway is meant.
    """
    from gatepost.node.privileges import (  # noqa: PLC0415 - what asks another gateway needs none
        PrivilegeError,
        act_as,
        gateway_account,
        prepare_data_dir,
    )

    settings = loaded_settings()
    if os.geteuid() == 0:
        data_dir = Path(settings.server.data_dir)
        with ending(BAD_INPUT, PrivilegeError):
            account = gateway_account(settings.server)
            prepare_data_dir(account, data_dir)
            become_root_again = act_as(account, data_dir)
        click.get_current_context().find_root().call_on_close(become_root_again)
    return settings


def loaded_settings(*, anywhere: bool = False) -> Settings:
    """The settings alone, for commands that touch no data; ends the command as `local_settings` does if they are wrong.

    Raises Refusal (INPUT) if another gateway is meant, unless the command needs none (anywhere).
    """
    from gatepost.settings.loader import load  # noqa: PLC0415 - as above
    from gatepost.settings.problem import SettingsError  # noqa: PLC0415 - as above

    options = current_remote_options()
    if options.server is not None and not anywhere:
        raise only_here(click.get_current_context())
    try:
        settings = load(options.config, os.environ)
    except SettingsError as error:
        wrong_settings(error)
    if settings.pkcs11.module:
        _load_provider(settings)
    return settings


def _load_provider(settings: Settings) -> None:
    from gatepost.manage.cli.token_provider import with_provider  # noqa: PLC0415 - few have keys in tokens
    from gatepost.net.token_access import TokenError  # noqa: PLC0415 - as above

    with ending(BAD_INPUT, TokenError):
        with_provider(settings)


def local_gateway() -> Gateway:
    """The gateway a command works on; ends the command with exit code 2 and every error if its settings are wrong."""
    from gatepost.manage.use_cases.context import Gateway  # noqa: PLC0415 - what needs no resources starts faster

    return Gateway(local_settings())


def administrator() -> Principal:
    """The principal of a command: with access to the files it sees and may do everything."""
    from gatepost.manage.access.principal import Principal, Scope  # noqa: PLC0415 - as above

    return Principal(author(), frozenset({Scope.OWNER}))


def author() -> str:
    """The author of a command, for the history: who gave it, although a command of root acts as the gateway's account.

    The account's name, or its number where it has none; "ann (sudo)" for root whom ann became by sudo(8).
    """
    number = os.getuid()
    sudoer = os.environ.get("SUDO_USER", "")
    if number == 0 and sudoer != "root" and _has_account(sudoer):
        return f"{sudoer} (sudo)"
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # a container with a user of its own
        return f"uid {number}"


def _has_account(name: str) -> bool:
    with suppress(KeyError):
        return bool(pwd.getpwnam(name))
    return False


def wrong_settings(error: SettingsError) -> NoReturn:
    """End the command with exit code 2 and all that is wrong with the settings."""
    fail(BAD_INPUT, "\n".join(map(in_words, error.problems)))


def fail(code: int, message: str, /, **values: Any) -> NoReturn:
    """End the command: the message goes to standard error, nothing more to standard output.

    message: a sentence, translated as `_` does it with its values, or what a use case said.
    """
    click.echo(bounded("\n".join(map(ours, _(message, **values).split("\n")))), err=True)
    sys.exit(code)


class ending:  # noqa: N801 - it reads like a function
    """End the command where one of these errors is raised: with its text, of an OSError the system's, behind place.

    text: a sentence with the error and these values, as `fail` takes it, in place of the error alone.
    """

    def __init__(self, code: int, *kinds: type[Exception], place: str = "", text: str = "", **values: object) -> None:
        self._code = code
        self._kinds = kinds
        self._place = place
        self._text = text
        self._values = values

    def __enter__(self) -> None:
        """Nothing is done before."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """End the command, if it is one of these errors."""
        if isinstance(error, self._kinds):
            why = str(error.strerror if isinstance(error, OSError) else error)
            if self._text:
                fail(self._code, self._text, error=ours(why), **self._values)
            fail(self._code, f"{self._place}{why}")


_VALUES = {"force": " REASON", "at": " TIME", "key": " FILE"}

# The one table of all commands.
_CODES = {
    RefusalKind.INPUT: BAD_INPUT,
    RefusalKind.FORBIDDEN: BAD_INPUT,
    RefusalKind.MISSING: BAD_INPUT,
    RefusalKind.BLOCKED: BAD_INPUT,
    RefusalKind.CONFLICT: NO,
    RefusalKind.UNREADABLE: UNKNOWN,
}


def refused(refusal: Refusal) -> NoReturn:
    """End the command as the refusal says: each error by its field, then the text.

    `gatepost.manage.cli.main` does it for every command; a command whose exit code is another one catches it first.
    """
    fail(_CODES[refusal.kind], refusal_text(refusal))


def refusal_text(refusal: Refusal) -> str:
    """Each error by its field, then the text with the options that would help, in the language of the terminal."""
    errors = [f"{error.path}: {ours(error.message)}" for error in refusal.errors]
    options = " or ".join(map(option, refusal.options))
    return "\n".join([*errors, f"{ours(refusal.text)} ({options})" if options else ours(refusal.text)])


def option(argument: str) -> str:
    """The option for an argument that would help against a refusal."""
    return f"--{argument.replace('_', '-')}{_VALUES.get(argument, '')}"


class _Moment(click.ParamType[float]):
    """Seconds since 1970, as `manage.use_cases.times.moment` reads them."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return moment(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _MomentText(click.ParamType[str]):
    """The same as it was written, for whoever reads it later."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            moment(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


MOMENT = _Moment()
MOMENT_TEXT = _MomentText()
since_option = click.option(
    "--since",
    type=MOMENT_TEXT,
    default="7d",
    show_default=True,
    help="With --dry-run: decide mail since then again, and show what would have been different.",
)


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
def missing_is_no() -> Iterator[None]:
    """End the command with exit code 1 if the mail that it names is not there, or nothing was recorded of it.

    Mail comes and goes, so that this is an answer. Whoever names something else that is not there, made a mistake (2).
    """
    try:
        yield
    except Refusal as refusal:
        if refusal.kind is not RefusalKind.MISSING:
            raise
        fail(NO, ours(refusal.text))


_QUIET: Final = 2.0  # seconds before the first line
_STEP: Final = 1.0  # and between two
_WORKING: Final = N_("working")
_CLEAR: Final = "\r\x1b[K"


@contextmanager
def working(what: str = _WORKING) -> Iterator[None]:
    """Show it until the end of the block. what: verb, as "verifying"."""
    if not sys.stderr.isatty():
        yield
        return
    ended = Event()
    shower = Thread(target=_show, args=(_(what), ended), daemon=True)
    shower.start()
    try:
        yield
    finally:
        ended.set()
        shower.join()


def _show(what: str, ended: Event) -> None:
    began, shown = time.monotonic(), False
    while not ended.wait(_STEP if shown else _QUIET):
        _write(f"{_CLEAR}{what} … {time.monotonic() - began:.0f} s")
        shown = True
    if shown:
        _write(_CLEAR)


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
