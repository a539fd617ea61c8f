"""The resolver of whoever asks the DNS for an administrator, as a worker would ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.administration.refusal import Kind, Refusal
from gatepost.lookup.configured import configured_resolver

if TYPE_CHECKING:
    from gatepost.lookup.dns import Resolver
    from gatepost.settings.model import Settings

__all__ = ["resolver_of"]


def resolver_of(settings: Settings) -> Resolver:
    """Made of the settings where the event loop runs, to be closed. Raises Refusal (INPUT) if none can be made."""
    try:
        return configured_resolver(settings.dns)
    except ValueError as error:  # ValidatorError is one
        raise Refusal(Kind.INPUT, f"[dns]: {error}") from error
