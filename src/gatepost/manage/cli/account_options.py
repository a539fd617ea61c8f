"""Exit codes of `gatepost user` and `token`, and how both show organizations."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


CODES = (
    "Exit codes: 0 done, 1 its state does not allow it, 2 usage error or invalid input (with every error by field), "
    "3 the data cannot be read or written."
)


def organizations_text(names: Sequence[str] | None) -> str:
    """For a table: "(all)" is the whole gateway."""
    return "(all)" if names is None else ", ".join(names)
