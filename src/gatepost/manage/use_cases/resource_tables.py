"""Resources as tables: what calls show of them and are given of them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.policy.connectors.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.policy.connectors.record_base import Record


type Defaults = Annotated[bool, Meta(description="Also what was not written, with its default.")]


def shown(record: Record, *, defaults: bool, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """A resource as a file has it; defaults: with every field that has a value. without: fields, by attribute."""
    return record.model_dump(
        mode="json", by_alias=True, exclude_unset=not defaults, exclude_none=True, exclude=set(without)
    )


def text_in(document: Mapping[str, Any], key: str) -> str:
    """A text that must be in a document. Raises Refusal (INPUT)."""
    text = document.get(key)
    if isinstance(text, str) and text:
        return text
    wrong = FieldError(key, "must be a text in quotes, and not empty" if key in document else "is missing, so write it")
    raise Refusal(RefusalKind.INPUT, "1 error; nothing was done.", [wrong])
