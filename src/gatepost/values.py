"""Values are never changed: `replace` makes another one that differs in some fields.

A value is a `msgspec.Struct` or a dataclass (docs/decisions/0077), and who replaces a field need not know which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    # for mypy, which knows by this name alone that the fields named exist and that their values fit
    from dataclasses import replace as replace  # noqa: PLC0414, TID251 - the name is for others
else:
    from dataclasses import replace as _replace_dataclass  # noqa: TID251 - what it is banned in favour of

    def replace[T](value: T, /, **changes: Any) -> T:
        """The value with other fields. Raises TypeError if there is no such field."""
        if isinstance(value, msgspec.Struct):
            return msgspec.structs.replace(value, **changes)
        return _replace_dataclass(value, **changes)
