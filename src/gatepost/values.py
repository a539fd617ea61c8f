"""Values are never changed: `replace` makes another one with other fields, `copy_fields` one of another kind.

A value is a `msgspec.Struct` or a dataclass (docs/decisions/0077), and who makes one of another need not know which.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    # for mypy, which knows by this name alone that the fields named exist and that their values fit
    from dataclasses import replace as replace  # noqa: PLC0414, TID251 - the name is for others
    from types import UnionType
else:

    def replace[T](value: T, /, **changes: Any) -> T:
        """The value with other fields. Raises TypeError if there is no such field."""
        if isinstance(value, msgspec.Struct):
            return msgspec.structs.replace(value, **changes)
        from dataclasses import replace as replace_dataclass  # noqa: PLC0415, TID251 - few values are; banned for this

        return replace_dataclass(value, **changes)


def check_type(value: object, kind: type | UnionType, name: str) -> None:
    """Refuse what a program gives of another type by mistake. Raises TypeError, in words of the call."""
    if not isinstance(value, kind):
        raise TypeError(
            f"{name} is {value!r:.80} of type {type(value).__name__}, {getattr(kind, '__name__', kind)} is needed"
        )


class RedactedStruct(msgspec.Struct, frozen=True):
    """A value that has a secret, or much that nobody reads: its text leaves out the fields that REDACTED names."""

    REDACTED: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        """As that of any struct, without what is redacted, in no text of which it must be."""
        return f"{type(self).__qualname__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The same for rich, which shows a traceback with its values: msgspec's own has all fields."""
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name not in self.REDACTED]


_FORMS: Final[dict[str, Callable[[Any], Any]]] = {"str": str, "list": list, "tuple": tuple, "dict": dict}
_ABSENT: Final = object()


def copy_fields[T](kind: type[T], /, *sources: object, **fields: Any) -> T:
    """A value of that kind with these fields; each other one is that attribute of the first source that has it.

    Where the kind's annotation is a list, a tuple, a dict or a plain text, the value becomes one: JSON has lists for
    tuples and texts for enumerations. Raises TypeError where no source has a field that has no default.
    """
    for name, form in _forms(cast("Any", kind)).items():
        if name not in fields:
            values = (getattr(source, name, _ABSENT) for source in sources)
            value = next((value for value in values if value is not _ABSENT), _ABSENT)
            if value is not _ABSENT:
                fields[name] = form(value)
    return kind(**fields)


@cache
def _forms(kind: type) -> Mapping[str, Callable[[Any], Any]]:
    """The fields of a kind, with what makes a value fit each."""
    bases = reversed(kind.__mro__)
    texts = {name: text for base in bases for name, text in inspect.get_annotations(base).items()}
    names: Iterable[str] = getattr(kind, "__struct_fields__", ()) or getattr(kind, "__dataclass_fields__", ())
    return {name: _FORMS.get(str(texts[name]).partition("[")[0], _as_it_is) for name in names}


def _as_it_is(value: Any) -> Any:
    return value
