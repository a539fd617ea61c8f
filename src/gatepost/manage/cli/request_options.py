"""Options of a command, derived from the fields of the request that it makes: names, types, limits, defaults, help."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final, NamedTuple, get_type_hints

import click
import msgspec
from msgspec import inspect

from gatepost.manage.cli.stored_names import BY_FIELD
from gatepost.manage.use_cases.declaration import Cli, any_marker
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.policy.connectors.errors import FieldError

_PAGING: Final = frozenset({"limit", "after"})
_PREFIX: Final = "request_"

limit_option = click.option(
    "--limit", default=1000, type=click.IntRange(0), show_default=True, help="Maximum number of entries; 0 = all."
)
"""Of lists, which commands read page by page."""


def request_options[F: Callable[..., Any]](kind: type[msgspec.Struct], /, **fixed: Any) -> Callable[[F], F]:
    """Give a command the options and arguments of a request, which it gets as `request`.

    fixed: values of fields that the command does not ask for, such as which action it is. `limit` and `after` are left
    out: see `limit_option`.
    """
    hints = get_type_hints(kind, include_extras=True)
    fields = [field for field in msgspec.structs.fields(kind) if field.name not in {*fixed, *_PAGING}]

    names = {field.encode_name: _option(field, _marker(hints, field)) for field in fields}

    def decorated(command: F) -> F:
        @wraps(command)
        def called(**given: Any) -> Any:
            values = {field.name: given.pop(_PREFIX + field.name) for field in fields}
            try:
                return command(request=kind(**values, **fixed), **given)
            except Refusal as refusal:
                refusal.errors = tuple(
                    FieldError(_renamed(error.path, names), error.message) for error in refusal.errors
                )
                raise

        result: Any = called
        for field in reversed(fields):
            result = _parameter(field, _marker(hints, field))(result)
        found: F = result
        return found

    return decorated


def _marker(hints: Mapping[str, Any], field: msgspec.structs.FieldInfo) -> Cli:
    marker: Cli = any_marker(hints[field.name], Cli) or Cli()
    return marker


def _option(field: msgspec.structs.FieldInfo, marker: Cli) -> str:
    """The option of a field, or the argument as usage shows it."""
    if marker.argument:
        return (marker.metavar or field.name.upper()).strip("[].")
    return f"--{(marker.option or field.name).replace('_', '-')}"


def _renamed(path: str, names: Mapping[str, str]) -> str:
    """Where an error is, as a command calls it: "--reason", not "reason"."""
    name = re.split(r"[.\[]", path)[0]
    return names.get(name, name) + path.removeprefix(name)


class _Taken(NamedTuple):
    """Click settings of a type. convert: click's value to the request's."""

    settings: dict[str, Any]
    convert: Callable[[Any], Any]


def _parameter(field: msgspec.structs.FieldInfo, marker: Cli) -> Callable[[Any], Any]:
    kind, description = _described(inspect.type_info(field.type))
    taken = _taken(kind)
    settings: dict[str, Any] = taken.settings | {"callback": lambda _, __, value: _value(field, taken, value)}
    if marker.metavar is not None:
        settings["metavar"] = marker.metavar
    if field.name in BY_FIELD:
        settings["shell_complete"] = BY_FIELD[field.name]
    if field.required:
        settings["required"] = True
    elif not isinstance(kind, _LISTS):
        settings["default"] = _default(field.default, is_choice="type" in settings)
    if marker.argument:
        settings.setdefault("metavar", field.name.upper() if field.required else f"[{field.name.upper()}]")
        multiple = settings.pop("multiple", False)
        if field.required:
            settings.setdefault("metavar", field.name.upper() + "..." * multiple)
        return click.argument(_PREFIX + field.name, nargs=-1 if multiple else 1, **settings)
    text = marker.help or description
    return click.option(_option(field, marker), _PREFIX + field.name, help=text or None, **settings)


def _default(value: Any, *, is_choice: bool) -> Any:
    """As click takes it: nothing was chosen, a choice by its text, None for what stays unset."""
    if value is msgspec.UNSET:
        return None
    if isinstance(value, str) and is_choice:
        return str(value) or None
    return value


def _value(field: msgspec.structs.FieldInfo, taken: _Taken, value: Any) -> Any:
    """The value for the request; its default where nothing is given for a text that may be unset, or for a list."""
    is_left_out = value == () if isinstance(value, tuple) else value is None and field.default is msgspec.UNSET
    return field.default if is_left_out and field.default is not msgspec.NODEFAULT else taken.convert(value)


_LISTS: Final = (inspect.ListType, inspect.VarTupleType)


def _described(kind: inspect.Type) -> tuple[inspect.Type, str]:
    """The type without what is said of it, and without None; and what is said."""
    text = ""
    while isinstance(kind, inspect.Metadata | inspect.UnionType):
        if isinstance(kind, inspect.Metadata):
            text = (kind.extra_json_schema or {}).get("description", text)
            kind = kind.type
        else:
            (kind,) = (candidate for candidate in kind.types if not isinstance(candidate, inspect.NoneType))
    return kind, text


def _taken(kind: inspect.Type) -> _Taken:
    """Raises TypeError for what no option takes."""
    taken = _Taken({}, _same)
    match kind:
        case inspect.StrType():
            pass
        case inspect.BoolType():
            taken = _Taken({"is_flag": True, "flag_value": True}, _same)
        case inspect.EnumType():
            taken = _Taken({"type": click.Choice([str(member.value) for member in kind.cls])}, _or_none(kind.cls))
        case inspect.LiteralType():
            choices = [str(value) for value in kind.values if value != ""]
            taken = _Taken({"type": click.Choice(choices)}, lambda text: "" if text is None else text)
        case inspect.ListType() | inspect.VarTupleType():
            inner = _taken(_described(kind.item_type)[0])
            taken = _Taken(
                inner.settings | {"multiple": True}, lambda values: [inner.convert(value) for value in values]
            )
        case inspect.IntType():
            taken = _Taken({"type": click.IntRange(kind.ge, kind.le)}, _same)
        case inspect.FloatType():
            taken = _Taken({"type": click.FloatRange(kind.ge, kind.le)}, _same)
        case _:
            raise TypeError(f"no option takes {kind}: leave the field out, and set it in the command")
    return taken


def _same(value: Any) -> Any:
    return value


def _or_none(kind: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else kind(value)
