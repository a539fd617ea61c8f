"""`gatepost settings show`: the server settings in force, as a settings file writes them, and where each comes from."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from gatepost.manage.cli.options import current_remote_options, gateway_options, wrong_settings
from gatepost.manage.cli.output import printed_json
from gatepost.manage.cli.remote_options import only_here
from gatepost.settings.loader import load_with_origins
from gatepost.settings.problem import SettingsError
from gatepost.settings.shown import shown


@click.group()
def settings() -> None:
    """Show the server settings in force, and where each comes from."""


@settings.command()
@gateway_options
@click.option("--all", "everything", is_flag=True, help="Show defaults, too, as comments.")
@click.option("--origin", is_flag=True, help="Say where each value comes from: file and line, variable, or default.")
def show(*, everything: bool, origin: bool) -> None:
    """Show the settings that differ from the defaults, in the format of a settings file.

    You can use the output as a settings file. It says where a secret is, never the secret itself.

    Exit codes: 0 shown, 2 invalid settings.
    """
    options = current_remote_options()
    if options.server is not None:
        raise only_here(click.get_current_context())
    try:
        loaded, origins = load_with_origins(options.config, os.environ)
    except SettingsError as error:
        wrong_settings(error)
    chosen = [setting for setting in shown(loaded, origins) if everything or not setting.is_default]
    if printed_json([{"key": setting.key, "value": setting.value, "origin": setting.origin} for setting in chosen]):
        return
    table = ""
    for setting in chosen:
        if setting.table != table:
            click.echo(f"{'\n' if table else ''}{setting.heading}")
            table = setting.table
        line = f"{'# ' if setting.is_default else ''}{setting.name} = {_toml(setting.value)}"
        click.echo(line + (f"  # {setting.origin}" if origin else ""))


def _toml(value: Any) -> str:
    """A value as TOML writes it: text, numbers, booleans and lists of them are as in JSON."""
    return json.dumps(value, ensure_ascii=False)
