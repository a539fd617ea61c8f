"""The reference of all resource fields as Markdown, made from the models so that it cannot lie; and the warnings.

Called by the generator of the docs page (a test checks that the page is current); `settings.describe` uses its tables.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from pydantic_core import PydanticUndefined

from gatepost.connectors.fields import Form, Range, Record, keys, record_in
from gatepost.connectors.model import Organization
from gatepost.connectors.records import ClientCertificate
from gatepost.connectors.traps import warnings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

__all__ = ["default_of", "form_of", "markdown", "table", "warnings"]

_INTRODUCTION = """\
# Resources

Organizations, their domains, mailboxes and connectors, as `gatepost apply -f FILE` takes them and `gatepost export` prints
them, in TOML or JSON. The names of fields are Exchange's in snake case, values are in kebab case.
This page is generated from `gatepost.connectors.records`.
"""


def markdown() -> str:
    """The whole page."""
    parts = [_INTRODUCTION, _section("[organization.NAME]", Organization, skip={"name"})]
    for field in Organization.model_fields.values():
        model = record_in(field.annotation)
        if model is not None and field.description:
            parts.append(_section(field.description, model))
    parts.append(_section("client_certificate", ClientCertificate))
    return "\n".join(parts)


def _section(heading: str, model: type[BaseModel], skip: set[str] | None = None) -> str:
    """A heading, what the table is, and its fields. Fields that are tables of their own have their own section."""
    own = {key: info for key, info in keys(model).items() if key not in (skip or set()) and not _is_list(info)}
    text = " ".join((model.__doc__ or "").split())
    return f"## `{heading}`\n\n{text}\n\n{table(own)}"


def _is_list(info: FieldInfo) -> bool:
    return info.alias is not None


def table(fields: dict[str, FieldInfo]) -> str:
    """A table of fields: key, what it takes, default, meaning."""
    rows = ["| key | takes | default | meaning |", "|---|---|---|---|"]
    for key, info in fields.items():
        cells = (f"`{key}`", form_of(info.annotation, info.metadata), default_of(info), info.description or "")
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def form_of(annotation: Any, metadata: Sequence[object] = ()) -> str:
    """What a field of this type takes, in words."""
    ranges = [str(one) for one in metadata if isinstance(one, Range)]
    forms = [one.text for one in metadata if isinstance(one, Form)]
    if forms:
        return ", ".join([forms[-1], *ranges])
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return form_of(inner, more)
    if get_origin(annotation) is tuple:
        return f"list of: {form_of(get_args(annotation)[0])}"
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return ", ".join(f'"{one}"' for one in annotation)
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return f"table: {', '.join(keys(annotation))}"
    return form_of(next(one for one in get_args(annotation) if one is not type(None)))


def default_of(info: FieldInfo) -> str:
    """The default as a document would write it; "required" if there is none, "" if it is nothing."""
    if info.is_required():
        return "required"
    if info.default_factory is not None:
        return "see meaning"
    return _written(info.get_default())


def _written(value: Any) -> str:
    raise NotImplementedError


_ = PydanticUndefined
