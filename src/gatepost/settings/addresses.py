"""A listening address that may be empty, for services that are off by default. A part of `settings.model`."""

from __future__ import annotations

from pydantic import TypeAdapter

from gatepost.policy.connectors.fields import ListenAddress

_LISTEN_ADDRESS: TypeAdapter[str] = TypeAdapter(ListenAddress)


def address_or_none(value: str) -> str:
    """The address as `ListenAddress` has it, or "". Raises ValueError."""
    return _LISTEN_ADDRESS.validate_python(value) if value else ""
