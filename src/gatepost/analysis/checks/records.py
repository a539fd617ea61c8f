"""The last result of each check of a connector, as a JSON file, for lists.

Written by `manage.use_cases.validation`, read by lists and pages; drills have `analysis.checks.evidence`. Under
data_dir, kept apart from the configuration, as it is nothing that anybody decided:
DATA_DIR/KIND/ORGANIZATION/DIRECTION-NAME.json.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from gatepost.store.sqlite.schema import make_directory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


VALIDATIONS = "validations"

_MAX_BYTES = 1 << 20
_MAX_NAME = 120
_SHORT = ("at", "configuration", "outcome", "verdict", "organization", "connector", "direction")


def record_path(data_dir: Path, kind: str, organization: str, direction: str, name: str) -> Path:
    """The file of a record. The connector's name, whatever its case, is escaped so that it is one plain file name."""
    return data_dir / kind / quote(organization, safe="") / _file_name(direction, name)


def kept_when(data_dir: Path, kind: str, organization: str) -> Callable[[str, str], float]:
    """Return a function of direction and name that gives the time of that connector's record, 0.0 if there is none.

    Reads the directory once and no record, so that thousands can be put in order.
    """
    times: dict[str, float] = {}
    with contextlib.suppress(OSError), os.scandir(data_dir / kind / quote(organization, safe="")) as found:
        times = {entry.name: entry.stat().st_mtime for entry in found if not entry.name.startswith(".")}
    is_cut = any(len(time) > _MAX_NAME for time in times)
    plain = {unquote(name): at for name, at in times.items()}

    def when(direction: str, name: str) -> float:
        at = plain.get(f"{direction}-{name.lower()}.json", 0.0)
        return at or (times.get(_file_name(direction, name), 0.0) if is_cut else 0.0)

    return when


def keep(path: Path, record: dict[str, Any]) -> None:
    """Replace the record in one step: readers see the one before or this one; only its owner may. Raises OSError.

    One of more than a megabyte loses its details: time, configuration and outcome stay.
    """
    content = json.dumps(record, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace")
    if len(content) > _MAX_BYTES:
        short = {key: record[key] for key in _SHORT if key in record}
        content = json.dumps(short | {"verdict": str(short.get("verdict", ""))[:1000]}, ensure_ascii=False).encode()
    make_directory(path.parent)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(fresh, path)  # noqa: PTH105 - the name of the system call that is meant
    finally:
        fresh.unlink(missing_ok=True)


def _file_name(direction: str, name: str) -> str:
    escaped = quote(name.lower(), safe="")
    if len(escaped) > _MAX_NAME:
        escaped = f"{escaped[:_MAX_NAME]}-{hashlib.sha256(name.lower().encode()).hexdigest()[:16]}"
    return f"{direction}-{escaped}.json"


def last(path: Path) -> dict[str, Any] | None:
    """The record, None if there is none or it cannot be used: a check that is not known is not passed."""
    try:
        if path.stat().st_size > 2 * _MAX_BYTES:
            return None
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None
