"""`gatepost tls profiles`: the published list of cipher suites, from the very records the handshakes are made of."""

from __future__ import annotations

import click

from gatepost.manage.cli.options import BAD_INPUT, fail, json_option
from gatepost.manage.cli.output import _, print_table, printed_json
from gatepost.protocols.tls.profile import PROFILES, profile_record, published

_COLUMNS = (
    "profile",
    "name",
    "key exchange/strength",
    "forward secrecy",
    "cipher/strength",
    "authentication/strength",
    "oldest version",
)


@click.group()
def tls() -> None:
    """List TLS versions and cipher suites."""


@tls.command()
@click.argument("names", nargs=-1, metavar="[PROFILE]...")
@json_option
def profiles(names: tuple[str, ...]) -> None:
    """List the cipher suites of each profile in order of preference, in the columns of Microsoft's list.

    Exit codes: 0 done, 2 unknown profile.
    """
    unknown = [name for name in names if name not in PROFILES]
    if unknown:
        fail(
            BAD_INPUT,
            "unknown profile %(unknown)s; use one of %(profiles)s",
            unknown=", ".join(unknown),
            profiles=", ".join(PROFILES),
        )
    chosen = [PROFILES[name] for name in names or PROFILES]
    if printed_json([profile_record(profile) for profile in chosen]):
        return
    rows = (
        (
            profile.name,
            suite.name,
            suite.key_exchange,
            _("yes") if suite.forward_secrecy else _("no"),
            suite.cipher,
            suite.authentication,
            suite.version,
        )
        for profile in chosen
        for suite in published(profile)
    )
    print_table(_COLUMNS, rows)
