"""Fields of a resource and its table: words of a command line or values change a table, and a table becomes words.

Used by `resources` and `part_record`. The keys are those of docs/resources.md. Texts are turned into what a file would
hold (true, 5, a list), nothing more: whether that is right, `policy.connectors.model.parse` says, as for every
interface.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from gatepost.policy.connectors.errors import FieldError, unknown_key
from gatepost.policy.connectors.record_base import form_of, keys, record_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic.fields import FieldInfo


_WORD = re.compile(r"([^=+\s][^=+\s]*?)(\+=|-=|=)(.*)", re.DOTALL)
_BOOLEANS = {"true": True, "false": False}
_INTEGER = re.compile(r"-?\d{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Word:
    """One word that was understood. sign: "=", "+=" or "-="."""

    key: str
    sign: str
    text: str


def assign(model: type[BaseModel], table: dict[str, Any], given: Sequence[str]) -> list[FieldError]:
    """Change the table of a resource as the words say, and return what is wrong with the words themselves.

    `key=value` sets, `key=` goes back to the default. Lists are written with commas, by repeating the key, or as JSON
    where an entry holds a comma; `key+=value` adds to one and `key-=value` takes away. `table.key=value` reaches into a
    table. An unknown key, and a value of the wrong kind, are errors; their paths are keys.
    """
    errors: list[FieldError] = []
    seen: set[str] = set()
    for text in given:
        if (match := _WORD.fullmatch(text)) is None:
            errors.append(FieldError(text, f"must be KEY=VALUE; the keys are: {', '.join(_assignable(model))}"))
            continue
        word = _Word(*match.groups())
        if error := _assign(model, table, word, again=word.key in seen):
            errors.append(FieldError(word.key, error))
        seen.add(word.key)
    return errors


def merge(model: type[BaseModel], table: dict[str, Any], values: Mapping[str, Any]) -> list[FieldError]:
    """Change the table of a resource as a JSON Merge Patch does (RFC 7396), and return what it must not name.

    None goes back to the default; tables within are merged, lists are taken whole.
    """
    known = keys(model)
    errors: list[FieldError] = []
    for key, value in values.items():
        info = known.get(key) or model.model_fields.get(key)  # paths name lists of resources by their fields
        if info is None:
            errors.append(FieldError(key, unknown_key(key, _assignable(model))))
        elif info.alias is not None:
            errors.append(FieldError(key, "is a list of resources: add each at its path, or all by PATCH /resources"))
        else:
            _merge(table, key, value)
    return errors


def _merge(table: dict[str, Any], key: str, value: Any) -> None:
    if not isinstance(value, dict):
        table[key] = value
        if value is None:
            del table[key]
        return
    inner = dict(held) if isinstance(held := table.get(key), dict) else {}
    for name, each in value.items():
        _merge(inner, name, each)
    table[key] = inner
    if not inner:
        del table[key]


def words(model: type[BaseModel], table: Mapping[str, Any]) -> list[str]:
    """The words that make this table of an empty one, in the order of the model's keys."""
    result: list[str] = []
    for key, info in keys(model).items():
        value = table.get(key)
        if isinstance(value, dict):
            inner = record_in(info.annotation)
            result += [f"{key}.{word}" for word in words(inner, value)] if inner else []
        elif isinstance(value, list) and info.alias is None:
            result += [f"{key}={_list_text(value)}"] if value else []
        elif value is not None and not isinstance(value, list):
            result.append(f"{key}={json.dumps(value) if isinstance(value, bool | int) else value}")
    return result


def completions(models: Iterable[type[BaseModel]], incomplete: str) -> list[str]:
    """Continue the last word of a command line: its key, or its value where the field has only certain ones.

    models: that the words may be about.
    """
    fields = {key: info for model in models for key, info in _fields(model).items()}
    key, sign, begun = incomplete.partition("=")
    if not sign:
        return sorted(f"{name}=" for name in fields if name.startswith(incomplete))
    info = fields.get(key.rstrip("+-"))
    return [f"{key}={value}" for value in _choices(info.annotation) if value.startswith(begun)] if info else []


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields that words set, those of tables inside with their place."""
    fields: dict[str, FieldInfo] = {}
    for key, info in keys(model).items():
        inner = record_in(info.annotation) if info.alias is None else None
        if inner is not None:
            fields |= {f"{key}.{name}": field for name, field in _fields(inner).items()}
        elif info.alias is None:
            fields[key] = info
    return fields


def _choices(annotation: Any) -> list[str]:
    """All values that a field of this type has, none if there are any number."""
    if annotation is bool:
        return list(_BOOLEANS)
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return [str(choice) for choice in annotation]
    return [choice for inner in get_args(annotation) for choice in _choices(inner)]


def _list_text(values: list[str]) -> str:
    """With commas, unless that would be read otherwise."""
    text = ",".join(values)
    plain = _entries(text) == values
    return text if plain else json.dumps(values, ensure_ascii=False)


def _assign(model: type[BaseModel], table: dict[str, Any], word: _Word, *, again: bool) -> str:
    """Do what one word says; why not, "" if it was done."""
    outer, dot, key = word.key.partition(".")
    info = keys(model).get(outer)
    if info is None:
        return unknown_key(outer, _assignable(model))
    if info.alias is not None:
        return (
            f"is a list of resources, which have commands of their own, such as `gatepost {_PART_COMMANDS[outer]} add`"
        )
    inner = record_in(info.annotation)
    if inner is not None and (dot or word.text):
        return _assign_inner(inner, table, _Word(key, word.sign, word.text), (outer, again))
    if dot:
        return f"{outer} is not a table; write {outer}=VALUE"
    return _set(info, table, word, again=again)


_PART_COMMANDS = {
    "accepted_domain": "domain",
    "mailbox": "mailbox",
    "inbound_connector": "connector",
    "outbound_connector": "connector",
    "mail_flow_rule": "rule",
    "oauth_issuer": "issuer",
    "content_hook": "hook",
    "dkim_key": "dkim",
}


def _assign_inner(inner: type[BaseModel], table: dict[str, Any], word: _Word, place: tuple[str, bool]) -> str:
    """A word of a table inside the table; an inner table that is left empty is left out."""
    outer, again = place
    if not word.key:
        return f"is a table; write its fields: {', '.join(f'{outer}.{key}=VALUE' for key in keys(inner))}"
    nested = table.setdefault(outer, {})
    error = _assign(inner, nested, word, again=again)
    if not nested:
        del table[outer]
    return error


def _set(info: FieldInfo, table: dict[str, Any], word: _Word, *, again: bool) -> str:
    """Set a plain value or a list."""
    if get_origin(info.annotation) is tuple:
        return _set_list(info, table, word, again=again)
    if word.sign != "=":
        return f"holds one value, so {word.sign} cannot be; write {word.key}=VALUE"
    if again:
        return "is given twice; write it once"
    if not word.text:
        table.pop(word.key, None)
        return ""
    value = _value(info, word.text)
    if value is None:
        return f"{word.text!r} does not fit; expected: {form_of(info.annotation, info.metadata)}"
    table[word.key] = value
    return ""


def _value(info: FieldInfo, text: str) -> bool | int | str | None:
    """The value as a file would hold it; None if the text is of another kind than the field."""
    if info.annotation is bool:
        return _BOOLEANS.get(text)
    if info.annotation is int:
        return int(text) if _INTEGER.fullmatch(text) else None
    return text


def _set_list(info: FieldInfo, table: dict[str, Any], word: _Word, *, again: bool) -> str:
    listed = _one_form(TypeAdapter(info.rebuild_annotation()), _entries(word.text))
    held = list(table.get(word.key, ()))
    if word.sign == "-=":
        missing = [text for text in listed if text not in held]
        if missing:
            return f"{', '.join(map(repr, missing))} is not in it; it holds: {', '.join(held) or 'nothing'}"
        held = [candidate for candidate in held if candidate not in listed]
    elif word.sign == "+=" or (again and listed):
        held += [text for text in listed if text not in held]
    else:
        held = listed
    if held:
        table[word.key] = held
    else:
        table.pop(word.key, None)
    return ""


def _entries(text: str) -> list[str]:
    """Entries between commas, or those of a JSON list."""
    if text.startswith("["):
        try:
            result = json.loads(text)
        except ValueError:  # an IPv6 address in brackets, or a word that people put in them
            result = None
        if isinstance(result, list) and all(isinstance(entry, str) for entry in result):
            return result
    return [part.strip() for part in text.split(",") if part.strip()]


def _one_form(adapter: TypeAdapter[Any], entries: Iterable[str]) -> list[str]:
    """Entries as they are stored, so that B.example can be taken from a list that holds b.example."""
    result: list[str] = []
    for entry in entries:
        try:
            result += adapter.dump_python(adapter.validate_python((entry,)), mode="json")
        except ValidationError:  # `parse` says what is wrong with it
            result.append(entry)
    return result


def _assignable(model: type[BaseModel]) -> list[str]:
    return [key for key, info in keys(model).items() if info.alias is None]
