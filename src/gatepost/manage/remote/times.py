"""Times as calls of REST take them."""

from __future__ import annotations

from datetime import UTC, datetime

from gatepost.manage.use_cases.refusal import Kind, Refusal


def time_text(seconds: float | None) -> str:
    """Seconds since 1970 as calls take times; "" for 0 and for none. Raises Refusal (INPUT) for an impossible one."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat() if seconds else ""
    except (ValueError, OverflowError, OSError) as error:
        raise Refusal(Kind.INPUT, str(error)) from error
