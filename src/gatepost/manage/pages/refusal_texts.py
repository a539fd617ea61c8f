"""Texts of refusals for a page, in its language: the whole, its errors by field, and warnings of a change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.sentences import ours

if TYPE_CHECKING:
    from gatepost.manage.use_cases.refusal import Refusal
    from gatepost.policy.connectors.errors import FieldError


def located(error: FieldError) -> str:
    """An error with the path of its field."""
    return f"{error.path}: {ours(error.message)}"


def by_field(refusal: Refusal) -> dict[str, str]:
    """The errors by field; "" has the text, where there are none."""
    return {error.path: ours(error.message) for error in refusal.errors} or {"": ours(refusal.text)}


def all_errors(refusal: Refusal) -> str:
    """The errors in one line, each with its field; the text, where there are none."""
    return "; ".join(map(located, refusal.errors)) or ours(refusal.text)
