"""Parameters and bodies as declared types: every error at once, each with the path of its field.

msgspec ends at the first error; here each field is converted by itself. Used by `api.serving`. Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.connectors.errors import FieldError, unknown_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["WrongFields", "body_value", "query_value"]

_AT = re.compile(r" - at `\$(?P<where>.*)`$")


class WrongFields(Exception):  # noqa: N818 - it is several errors, and says so
    """Everything that is wrong with the fields."""

    def __init__(self, errors: Iterable[FieldError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(map(str, self.errors)))


def query_value[T: msgspec.Struct](kind: type[T], items: Iterable[tuple[str, str]]) -> T:
    """Query parameters as a value. A parameter of a list may be repeated, another not. Raises WrongFields."""
    lists = {name for name, one in _fields(kind).items() if _is_list(one.type)}
    given: dict[str, Any] = {}
    errors = []
    for name, text in items:
        if name in lists:
            given.setdefault(name, []).append(text)
        elif name in given:
            errors.append(FieldError(f"query.{name}", "is given twice; give it once"))
        else:
            given[name] = text
    return _converted(kind, given, "query.", errors, strict=False)


def body_value[T: msgspec.Struct](kind: type[T], given: Mapping[str, Any]) -> T:
    """A JSON object as a value. Raises WrongFields."""
    return _converted(kind, given, "", [], strict=True)


def _converted[T: msgspec.Struct](
    kind: type[T], given: Mapping[str, Any], prefix: str, errors: list[FieldError], *, strict: bool
) -> T:
    fields = _fields(kind)
    errors += [FieldError(prefix + name, unknown_key(name, fields)) for name in given if name not in fields]
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name not in given:
            if field.required:
                errors.append(FieldError(prefix + name, "is missing: it has no default, so give it"))
            continue
        try:
            values[field.name] = msgspec.convert(given[name], field.type, strict=strict)
        except msgspec.ValidationError as error:
            errors.append(_explained(prefix + name, str(error)))
    if errors:
        raise WrongFields(errors)
    return kind(**values)


def _explained(path: str, text: str) -> FieldError:
    """The library says where inside the field at the end of its sentence."""
    where = _AT.search(text)
    return FieldError(path + (where["where"] if where else ""), _AT.sub("", text))


def _fields(kind: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {one.encode_name: one for one in msgspec.structs.fields(kind)}


def _is_list(annotation: Any) -> bool:
    return isinstance(msgspec.inspect.type_info(annotation), msgspec.inspect.ListType | msgspec.inspect.VarTupleType)
