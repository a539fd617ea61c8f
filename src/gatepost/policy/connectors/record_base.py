"""The base of every resource: a table of fields, which pydantic reads; and what is known of its fields.

Their types are in `policy.connectors.fields`. Settings have the same types and are read without pydantic
(`settings.section`), which takes longer to import than most commands run.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, PrivateAttr

from gatepost.policy.connectors.fields import Form, Owned, Range

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic.fields import FieldInfo


class Record(BaseModel):
    """A table of a document: immutable, and refusing keys that it does not know."""

    # defer_build: the validator of a class is made on its first use, since most commands use few of them.
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True, defer_build=True
    )
    _ungranted: frozenset[tuple[str, str]] = PrivateAttr(default=frozenset())

    @property
    def ungranted(self) -> frozenset[tuple[str, str]]:
        """Fields and values that need the owner's grant and have none; see `policy.connectors.grants`."""
        return self._ungranted

    def with_ungranted(self, ungranted: frozenset[tuple[str, str]], update: Mapping[str, Any]) -> Self:
        """The same table with its ungranted values noted, and some fields replaced."""
        made = self.model_copy(update=update)
        made._ungranted = ungranted  # noqa: SLF001 - of this very class
        return made


def keys(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a table by the key that a document writes."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def owned_marker(info: FieldInfo) -> Owned | None:
    """Return the marker of a field whose values need a grant (of a list: each of its values), None if none does."""
    return _marker_in((info.annotation, *info.metadata))


def _marker_in(parts: Sequence[object]) -> Owned | None:
    """The last one: who uses a type may say more of it than the type itself."""
    for part in reversed(parts):
        marker = part if isinstance(part, Owned) else _marker_in(get_args(part))
        if marker is not None:
            return marker
    return None


def record_in(annotation: object) -> type[BaseModel] | None:
    """The table that a field holds, or holds a list of; None if it holds plain values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(record_in, get_args(annotation))), None)


def known_keys(model: type[BaseModel], location: Sequence[int | str]) -> tuple[str, ...]:
    """The keys that may stand in the table at a location inside a document of `model`."""
    for step in location:
        if isinstance(step, str):
            field = keys(model).get(step)
            inner = record_in(field.annotation) if field else None
            if inner is None:
                return ()
            model = inner
    return tuple(keys(model))


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
