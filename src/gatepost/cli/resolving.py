"""The resolver of a command that asks the DNS as a worker would."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.cli.options import BAD_INPUT, fail
from gatepost.lookup.configured import configured_resolver

if TYPE_CHECKING:
    from gatepost.lookup.dns import Resolver
    from gatepost.settings.model import Settings

__all__ = ["resolver_of"]


def resolver_of(settings: Settings) -> Resolver:
    """Made of the settings, to be closed; ends the command with exit code 2 if none can be made. In an event loop."""
    try:
        return configured_resolver(settings.dns)
    except ValueError as error:
        fail(BAD_INPUT, f"[dns]: {error}")
