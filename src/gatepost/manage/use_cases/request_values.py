"""Values of requests as their declared types: every error at once, each with the path of its field.

msgspec ends at the first error; here each field is converted by itself. Used by `execution` and by REST. Pure.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from gatepost.decoding import converted
from gatepost.policy.connectors.errors import FieldError, unknown_key
from gatepost.quantity import quantity
from gatepost.texts import N_

_AT = re.compile(r" - at `\$(?P<where>.*)`$")
# Sentences of msgspec, which are about its types.
_NO_CHOICE = re.compile(r"Invalid enum value (?P<given>.*)", re.DOTALL)
_PATTERN = re.compile(r"Expected `str` matching regex '(?P<pattern>.*)'", re.DOTALL)
_BOUND = re.compile(r"Expected `(?P<type>\w+)` (?P<length>of length )?(?P<side><=|>=|<|>) (?P<bound>\S+)")
_TYPE = re.compile(r"Expected `(?P<type>[^`]+)`, got `[^`]+`")
_SIDES: Final = {"<=": N_("at most"), ">=": N_("at least"), "<": N_("less than"), ">": N_("more than")}
_TYPES: Final = {
    "int": N_("a whole number"),
    "float": N_("a number"),
    "str": N_("a text"),
    "bool": N_("true or false"),
    "array": N_("a list"),
    "object": N_("an object"),
}
_WORDS = re.compile(r"[\w-]+(\|[\w-]+)+")
_DAY: Final = r"\d{4}-\d{2}-\d{2}"
_NOT_JSON: Final = (dt.datetime, dt.date, dt.time)


class WrongFields(Exception):  # noqa: N818 - it is several errors, and says so
    """Everything that is wrong with the fields."""

    def __init__(self, errors: Iterable[FieldError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(map(str, self.errors)))


def query_value[T: msgspec.Struct](kind: type[T], items: Iterable[tuple[str, str]]) -> T:
    """Query parameters as a value. A parameter of a list may be repeated, another not. Raises WrongFields."""
    lists = {name for name, item in _fields(kind).items() if _is_list(item.type)}
    values: dict[str, Any] = {}
    errors = []
    for name, text in items:
        if name in lists:
            values.setdefault(name, []).append(text)
        elif name in values:
            errors.append(FieldError(f"query.{name}", "is given twice; give it once"))
        else:
            values[name] = text
    return _converted(kind, values, "query.", errors, strict=False)


def body_value[T: msgspec.Struct](kind: type[T], given: Mapping[str, Any]) -> T:
    """A JSON object as a value. Raises WrongFields."""
    return _converted(kind, given, "", [], strict=True)


def path_value[T: msgspec.Struct](kind: type[T], given: Mapping[str, str]) -> T:
    """The parameters of a path as a value. Raises WrongFields."""
    return _converted(kind, given, "", [], strict=False)


def checked[T: msgspec.Struct](request: T) -> T:
    """A request that was built in Python, within the limits of its type. Raises WrongFields."""
    return _converted(type(request), plain(request), "", [], strict=True)


def plain(request: msgspec.Struct) -> dict[str, Any]:
    """The fields as JSON has them, by name; the times of TOML in a `Document` as they are."""
    values: dict[str, Any] = msgspec.to_builtins(request, builtin_types=_NOT_JSON)
    return values


def limits(kind: type[msgspec.Struct]) -> dict[str, int]:
    """The longest text of each field that has a limit, in characters, by its name in JSON: `maxlength` of forms."""
    lengths = {name: _longest(msgspec.inspect.type_info(field.type)) for name, field in _fields(kind).items()}
    return {name: longest for name, longest in lengths.items() if longest is not None}


def _longest(kind: msgspec.inspect.Type) -> int | None:
    if isinstance(kind, msgspec.inspect.Metadata):
        return _longest(kind.type)
    if isinstance(kind, msgspec.inspect.UnionType):
        return next(filter(None, map(_longest, kind.types)), None)
    return kind.max_length if isinstance(kind, msgspec.inspect.StrType) else None


def _converted[T: msgspec.Struct](
    kind: type[T], given: Mapping[str, Any], prefix: str, errors: list[FieldError], *, strict: bool
) -> T:
    fields = _fields(kind)
    errors += [FieldError(prefix + name, unknown_key(name, fields)) for name in given if name not in fields]
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name not in given:
            if field.required:
                errors.append(FieldError(prefix + name, "is required: it has no default"))
            continue
        try:
            values[field.name] = converted(given[name], field.type, strict=strict)
        except msgspec.ValidationError as error:
            errors.append(_explained(prefix + name, str(error), msgspec.inspect.type_info(field.type)))
    if errors:
        raise WrongFields(errors)
    return kind(**values)


def _explained(path: str, text: str, kind: msgspec.inspect.Type) -> FieldError:
    """The library's sentence in our words. It says where inside the field at its end."""
    where = _AT.search(text)
    return FieldError(path + (where["where"] if where else ""), _in_words(_AT.sub("", text), kind))


def _in_words(text: str, kind: msgspec.inspect.Type) -> str:
    """Say what a field takes, from an error of the library; unknown errors stay as they are."""
    if match := _NO_CHOICE.fullmatch(text):
        return f"{match['given']} is not possible here; {_one_of(_choices(kind))}"
    if match := _PATTERN.fullmatch(text):
        return _named_form(kind) or _form(match["pattern"].replace("\\\\", "\\"))
    if match := _BOUND.fullmatch(text):
        side, bound = _SIDES[match["side"]], match["bound"].removesuffix(".0")
        if not match["length"]:
            return f"must be {side} {bound}"
        is_list, length = match["type"] == "array", int(bound)
        amount = quantity(length, "entry", "entries") if is_list else quantity(length, "character")
        return f"must have {side} {amount}"
    if match := _TYPE.fullmatch(text):
        wanted = [_TYPES[part] for part in match["type"].split(" | ") if part in _TYPES]
        return f"must be {' or '.join(wanted)}" if wanted else text
    return text


def _named_form(kind: msgspec.inspect.Type) -> str:
    """The text of `Meta(extra={"form": …})` for a value that does not match: "must be a queue id: …"."""
    return str((kind.extra or {}).get("form", "")) if isinstance(kind, msgspec.inspect.Metadata) else ""


def _form(pattern: str) -> str:
    """Describe a regular expression of ours."""
    inner = pattern.removeprefix("^").removesuffix("$").removesuffix("?").removeprefix("(").removesuffix(")")
    if _WORDS.fullmatch(inner):
        return f"is not possible here; {_one_of(inner.split('|'))}"
    if inner == _DAY:
        return "must be a day (UTC), written like 2026-11-24"
    return f"has the wrong form; it must match {pattern}"


def _one_of(choices: Sequence[str]) -> str:
    named = ", ".join(filter(None, choices))  # "" is what a parameter is that was left out
    return f"choose one of {named}" if named else "see /api/v1/openapi.json"


def _choices(kind: msgspec.inspect.Type) -> list[str]:
    """The values of the enumeration that a field takes, by itself, in a list or beside null; [] if it takes none."""
    if isinstance(kind, msgspec.inspect.Metadata):
        return _choices(kind.type)
    if isinstance(kind, msgspec.inspect.EnumType):
        return [str(member.value) for member in kind.cls]
    if isinstance(kind, msgspec.inspect.LiteralType):
        return [str(value) for value in kind.values]
    if isinstance(kind, msgspec.inspect.CollectionType):
        return _choices(kind.item_type)
    if isinstance(kind, msgspec.inspect.UnionType):
        return [choice for inner in kind.types for choice in _choices(inner)]
    return []


@functools.cache
def _fields(kind: type[msgspec.Struct]) -> Mapping[str, msgspec.structs.FieldInfo]:
    """By their names in JSON; the library evaluates the annotations each time, which takes a millisecond or more."""
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


def _is_list(annotation: Any) -> bool:
    return isinstance(msgspec.inspect.type_info(annotation), msgspec.inspect.ListType | msgspec.inspect.VarTupleType)
