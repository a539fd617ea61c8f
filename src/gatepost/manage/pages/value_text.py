"""Values of resources as pages write them, and as their forms send them back. Pure."""

from __future__ import annotations

import json
from typing import Any, Final

from gatepost.policy.connectors.trust_anchors import anchors_label

_VALUE: Final = 500  # characters of a value


def cut(text: str) -> str:
    """At most 500 characters of a value; the files beside a page have all of it."""
    return text if len(text) <= _VALUE else f"{text[:_VALUE]}…"


def in_words(value: Any) -> str:
    """As a person writes it: lists with commas, switches as true and false, a part as its fields.

    Certificates are their fingerprints.
    """
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(in_words, value))
    if isinstance(value, dict):
        named = sorted(value, key=lambda key: key not in {"name", "address"})
        return "; ".join(f"{key} = {in_words(value[key])}" for key in named)
    return "" if value is None else anchors_label(str(value))
