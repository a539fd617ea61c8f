"""The options of `gatepost` that say which gateway is meant: this machine's, by its settings, or another by REST."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from gatepost.manage.cli.output import _
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.manage.remote.address import Address
    from gatepost.manage.use_cases.refusal import Refusal


_OPTIONS = ("token", "token_file", "ca", "fingerprint")


class RemoteServer(NamedTuple):  # not a struct: `--help` does without msgspec
    """Another gateway, as the options name it."""

    url: str
    token: str
    token_file: str
    ca: str
    fingerprint: str

    def address(self) -> Address:
        """The same, checked. Raises Refusal (INPUT)."""
        from gatepost.manage.remote.address import address  # noqa: PLC0415 - most commands stay on this machine

        return address(self.url, token=self.token, token_file=self.token_file, ca=self.ca, fingerprint=self.fingerprint)


class RemoteOptions(NamedTuple):
    """Target of every command. config: the settings file, None if none was named. server: None for this machine."""

    config: str | None = None
    server: RemoteServer | None = None


def remote_options[F: Callable[..., Any]](command: F) -> F:
    """`--server` and what goes with it, each also as a variable of the environment."""
    options: tuple[Callable[[F], F], ...] = (
        click.option("--config", type=click.Path(dir_okay=False), help="Settings file (or GATEPOST_CONFIG)."),
        click.option(
            "--server",
            metavar="URL",
            default="",
            envvar="GATEPOST_SERVER",
            help="Another gateway, https://HOST:PORT of its admin centre (or GATEPOST_SERVER). See docs/remote.md.",
        ),
        click.option(
            "--token",
            metavar="SECRET",
            default="",
            envvar="GATEPOST_TOKEN",
            help="API token for --server. Other users of this machine can see arguments; better use GATEPOST_TOKEN.",
        ),
        click.option(
            "--token-file",
            metavar="FILE",
            default="",
            envvar="GATEPOST_TOKEN_FILE",
            help="File with the token, which no other user may read (or GATEPOST_TOKEN_FILE).",
        ),
        click.option(
            "--ca",
            metavar="FILE",
            default="",
            envvar="GATEPOST_CA",
            help=(
                "PEM file with the authorities to trust for the certificate of --server (or GATEPOST_CA). "
                "Default: those of this machine."
            ),
        ),
        click.option(
            "--fingerprint",
            metavar="SHA256",
            default="",
            envvar="GATEPOST_FINGERPRINT",
            help="Require this SHA-256 fingerprint of the certificate of --server (or GATEPOST_FINGERPRINT).",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def parse_remote_options(
    context: click.Context, config: str | None, server: str, options: dict[str, str]
) -> RemoteOptions:
    """Parse the options. Raises click.UsageError for those that go with --server alone."""
    if server:
        return RemoteOptions(config, RemoteServer(server, **options))
    for name in _OPTIONS:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(_("--%(name)s needs --server URL (or GATEPOST_SERVER)", name=name.replace("_", "-")))
    return RemoteOptions(config)


# ------------------------------------------------------------------------------------------------ what stays here

_WHY = {
    "serve": N_("it runs the gateway itself"),
    "quickstart": N_("it sets up the machine that it runs on"),
    "up": N_("it sets up a gateway and runs it"),
    "certificate add": N_("--leave-key and --directory name files of that machine"),
    "user setup": N_("until there is an owner, the admin centre is available only on that machine"),
    "smime": N_("private keys do not leave the gateway"),
    "site": N_("the authority's key does not leave the gateway"),
    "report send": N_("the gateway itself sends its reports"),
    "evidence verify": N_(
        "it reads the whole log (give it an export or a copy; or POST /api/v1/evidence/verification)"
    ),
}


def only_here(context: click.Context) -> Refusal:
    """Why a command does not work with --server."""
    from gatepost.manage.use_cases.refusal import Refusal, RefusalKind  # noqa: PLC0415 - `--help` needs it not

    words = context.command_path.split()[1:]
    why = next(
        (_(text) for end in range(len(words), 0, -1) if (text := _WHY.get(" ".join(words[:end])))),
        _("this command is not available over REST (docs/rest.md lists what is)"),
    )
    text = _(
        "gatepost %(words)s works only on the gateway's own machine: %(why)s. Run it there, "
        "without --server (and GATEPOST_SERVER)",
        words=" ".join(words),
        why=why,
    )
    return Refusal(RefusalKind.INPUT, text)
