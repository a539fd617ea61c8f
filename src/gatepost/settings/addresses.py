"""A listening address that may be empty, for services that are off by default. A part of `settings.model`."""

from __future__ import annotations

from gatepost.policy.connectors.fields import listen_address


def address_or_none(value: str) -> str:
    """The address as `ListenAddress` has it, or "". Raises ValueError."""
    return listen_address(value) if value else ""
