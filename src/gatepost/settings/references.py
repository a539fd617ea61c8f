"""Check a mail address, a reference to a secret, a time zone, an optional listening address: for `settings.model`."""

from __future__ import annotations

from gatepost.policy.connectors.fields import listen_address
from gatepost.protocols.smtp.grammar import GrammarError, parse_address
from gatepost.times import named_zone


def mail_address(value: str) -> str:
    """A mail address, or "". Raises ValueError."""
    try:
        return parse_address(value).text if value else ""
    except GrammarError as error:
        raise ValueError(f"{value!r} is not a mail address: {error.why}") from None


def secret_reference(value: str) -> str:
    """Check a reference to a secret: a file, a variable, a systemd credential; or "". Raises ValueError."""
    if value and not value.startswith(("file:/", "env:", "credential:")):
        if value.startswith("file:"):
            raise ValueError("the path of a secret is absolute; write file:/PATH")
        # Not repeated: it may be the secret itself, and this goes to the log.
        raise ValueError("this is not a reference to a secret; write file:/PATH, env:NAME or credential:NAME")
    return value


def time_zone(value: str) -> str:
    """The name of a time zone, which this machine must know. Raises ValueError."""
    if named_zone(value) is None:
        raise ValueError(
            f"{value!r} is not a time zone that this machine knows; write one such as Europe/Stockholm (without "
            "time zone data, tzdata, it knows only UTC)"
        )
    return value


def address_or_none(value: str) -> str:
    """The address as `ListenAddress` has it, or "". Raises ValueError."""
    return listen_address(value) if value else ""
