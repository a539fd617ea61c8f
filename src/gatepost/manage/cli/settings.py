"""`gatepost settings show`: the server settings in force, as a settings file writes them, and where each comes from."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from gatepost.manage.cli.options import BAD_INPUT, config_option, current_remote_options, fail, json_option
from gatepost.manage.cli.remote_options import only_here
from gatepost.manage.cli.tables import print_json
from gatepost.settings.loader import SettingsError, load_with_origins
from gatepost.settings.shown import shown


@click.group()
def settings() -> None:
    """Show the server settings in force, and where each comes from."""


@settings.command()
@config_option
@json_option
@click.option("--all", "everything", is_flag=True, help="Show defaults, too, as comments.")
@click.option("--origin", is_flag=True, help="Say where each comes from: file and line, variable, or default.")
def show(config: str | None, *, as_json: bool, everything: bool, origin: bool) -> None:
    """Show the settings that are not the defaults, as a settings file writes them.

    What is shown can be used as a settings file. A secret in it is a reference, never the secret.

    Exit codes: 0 shown, 2 invalid settings.
    """
    options = current_remote_options()
    if options.server is not None:
        raise only_here(click.get_current_context())
    try:
        found, origins = load_with_origins(config or options.config, os.environ)
    except SettingsError as error:
        fail(BAD_INPUT, str(error))
    chosen = [one for one in shown(found, origins) if everything or not one.is_default]
    if as_json:
        print_json([{"key": one.key, "value": one.value, "origin": one.origin} for one in chosen])
        return
    table = ""
    for one in chosen:
        if one.table != table:
            click.echo(f"{'\n' if table else ''}{one.heading}")
            table = one.table
        line = f"{'# ' if one.is_default else ''}{one.name} = {_toml(one.value)}"
        click.echo(line + (f"  # {one.origin}" if origin else ""))


def _toml(value: Any) -> str:
    """A value as TOML writes it: text, numbers, booleans and lists of them are as in JSON."""
    return json.dumps(value, ensure_ascii=False)
