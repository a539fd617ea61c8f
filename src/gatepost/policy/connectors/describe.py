"""The reference of all resource fields as Markdown, generated from the models; and the warnings.

Called by the generator of the docs page (a test checks that the page is current); `settings.describe` uses its tables.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel

from gatepost.policy.connectors.authentication import Authentication
from gatepost.policy.connectors.client_certificate import ClientCertificate
from gatepost.policy.connectors.fields import Form, Range
from gatepost.policy.connectors.record_base import keys, record_in
from gatepost.policy.connectors.records import Organization

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from pydantic.fields import FieldInfo


_INTRODUCTION = """\
# Resources

Organizations, their domains, mailboxes and connectors, as `gatepost apply -f FILE` takes them and `gatepost export`
prints them, in TOML or JSON. An organization becomes exactly what an applied file says of it; others stay as they are.
The names of fields are Exchange's in snake case, values are in kebab case.
This page is generated from `gatepost.policy.connectors.records`.
"""


def markdown() -> str:
    """The whole page."""
    parts = [_INTRODUCTION, section("[organization.NAME]", Organization, skip={"name"})]
    for field in Organization.model_fields.values():
        model = record_in(field.annotation)
        if model is not None:
            parts.append(section(field.description or "", model))
    parts.append(section("authentication", Authentication))
    parts.append(section("client_certificate", ClientCertificate))
    return "\n".join(parts)


def section(heading: str, model: type[BaseModel], skip: Collection[str] = ()) -> str:
    """A heading, what the table is, and its keys. Lists of tables (with an alias) have sections of their own."""
    defaults = model.model_construct().model_dump(mode="json", by_alias=True)
    rows = [
        (key, form_of(info.annotation, info.metadata), _default(info, defaults.get(key)), info.description or "")
        for key, info in keys(model).items()
        if key not in skip and (info.alias is None or record_in(info.annotation) is None)
    ]
    return table(heading, model.__doc__, rows)


def table(heading: str, about: str | None, rows: Iterable[tuple[str, str, str, str]]) -> str:
    """A heading, what the table is, and its rows: key, what it takes, its default, what it means."""
    text = " ".join((about or "").split())
    lines = [f"| `{key}` | {takes} | {default} | {meaning} |" for key, takes, default, meaning in rows]
    head = ["| key | takes | default | meaning |", "|---|---|---|---|"]
    return "\n".join([f"## `{heading}`", "", text, "", *head, *lines, ""])


def form_of(annotation: Any, metadata: Sequence[object] = ()) -> str:
    """Describe in words the values that a field of this type accepts."""
    ranges = [str(marker) for marker in metadata if isinstance(marker, Range)]
    forms = [marker.text for marker in metadata if isinstance(marker, Form)]
    if forms:
        return ", ".join([forms[-1], *ranges])
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return ", ".join(f'"{choice}"' for choice in annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"table: {', '.join(keys(annotation))}"
    inner, *more = get_args(annotation)
    if get_origin(annotation) is tuple:
        return f"list of: {form_of(inner)}"
    # Annotated, whose metadata say what it takes; or a union with None, which only stands for "not written".
    return form_of(inner, more)


def _default(info: FieldInfo, value: object) -> str:
    """The default as a document would write it; nothing for what is left unset."""
    if info.is_required():
        return "required"
    if info.default_factory is not None:
        return "see meaning"
    return "" if value is None else f"`{json.dumps(value)}`"
