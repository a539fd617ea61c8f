"""Differences between two sets of resources, field by field: for a file, a single resource and the history.

Used by `change` and `history`, and by whatever prints changes. No I/O.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from gatepost.policy.connectors.trust_anchors import anchors_label


class FieldChange(msgspec.Struct, frozen=True):
    """One field that is added (+), removed (-) or changed (~)."""

    sign: str
    path: str = msgspec.field(name="field")
    before: Any
    after: Any

    def __str__(self) -> str:
        shown = [json.dumps(_shown(value), ensure_ascii=False) for value in (self.before, self.after)]
        return f"{self.sign} {self.path}: " + {"+": shown[1], "-": shown[0], "~": " -> ".join(shown)}[self.sign]


def differences(stored: Mapping[str, Any], expected: Mapping[str, Mapping[str, Any]]) -> list[FieldChange]:
    """Changes that turn the stored organizations into the wanted ones; None in place of an organization removes it."""
    changes: list[FieldChange] = []
    for name, after in expected["organization"].items():
        before = stored.get("organization", {}).get(name)
        path = f"organization.{name}"
        if before is None and after is not None:
            changes.append(FieldChange("+", path, None, after.get("display_name", "")))
        elif before is not None and after is None:
            changes.append(FieldChange("-", path, before.get("display_name", ""), None))
        _compare(path, before or {}, after or {}, changes)
    return changes


def _compare(path: str, before: Any, after: Any, changes: list[FieldChange]) -> None:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({**before, **after}):
            _compare(f"{path}.{key}", before.get(key), after.get(key), changes)
    elif _named(before) or _named(after):
        _compare_named(path, _by_name(before or []), _by_name(after or []), changes)
    else:
        sign = "+" if before is None else "-" if after is None else "~"
        changes.append(FieldChange(sign, path, before, after))


def _compare_named(path: str, old: dict[str, Any], new: dict[str, Any], changes: list[FieldChange]) -> None:
    """Resources by name. One that differs in nothing but its name, and has more than that, was renamed."""
    gone = [name for name in old if name not in new]
    come = [name for name in new if name not in old]
    if len(gone) == len(come) == 1 and (rest := _nameless(old[gone[0]])) and rest == _nameless(new[come[0]]):
        key = "name" if "name" in old[gone[0]] else "address"
        changes.append(FieldChange("~", f"{path}[{gone[0]!r}].{key}", gone[0], come[0]))
        old = {name: record for name, record in old.items() if name != gone[0]}
        new = {name: record for name, record in new.items() if name != come[0]}
    for name in {**old, **new}:
        _compare(f"{path}[{name!r}]", old.get(name), new.get(name), changes)


def _nameless(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in {"name", "address"}}


def _shown(value: Any) -> Any:
    """A part as people write it, though it is stored in alphabetical order; certificates by their fingerprints."""
    if isinstance(value, str):
        return anchors_label(value)
    if not isinstance(value, dict):
        return value
    return {key: _shown(value[key]) for key in sorted(value, key=lambda key: key not in {"name", "address"})}


def _named(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _by_name(records: list[dict[str, Any]]) -> dict[str, Any]:
    return {str(record.get("name", record.get("address"))): record for record in records}
