"""The last result of each check of a connector, as a JSON document, for lists.

Written by `manage.use_cases.validation`, read by lists and pages; drills have `analysis.checks.evidence`. Kept apart
from the configuration, as it is nothing that anybody decided: in the folder KIND/ORGANIZATION as DIRECTION-NAME.json
(`store.documents`).
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gatepost.store.documents import Documents
    from gatepost.store.storage import Storage


VALIDATIONS = "validations"

_MAX_BYTES = 1 << 20
_MAX_TOTAL = 128 << 20  # of an organization: ten thousand results of the usual size
_KEPT_BETWEEN = 16  # results, until the size of all is looked at again
_MAX_NAME = 120
_kept = count()
_SHORT = ("at", "configuration", "outcome", "verdict", "organization", "connector", "direction")


class CheckRecords:
    """The records of one kind of an organization."""

    def __init__(self, storage: Storage, kind: str, organization: str) -> None:
        self.documents: Documents = storage.documents(kind, quote(organization, safe=""))

    def times(self) -> Callable[[str, str], float]:
        """Return a function of direction and name that gives the time of that connector's record, 0.0 if there is none.

        Reads the names once and no record, so that thousands can be put in order.
        """
        times: dict[str, float] = {}
        with suppress(OSError, StoreFailure):
            times = self.documents.names()
        is_cut = any(len(name) > _MAX_NAME for name in times)
        plain = {unquote(name): at for name, at in times.items()}

        def when(direction: str, name: str) -> float:
            at = plain.get(f"{direction}-{name.lower()}.json", 0.0)
            return at or (times.get(_file_name(direction, name), 0.0) if is_cut else 0.0)

        return when

    def keep(self, direction: str, name: str, record: dict[str, Any]) -> None:
        """Replace the record of a connector in one step. Raises OSError, StoreFailure.

        One of more than a megabyte loses its details: time, configuration and outcome stay. Of more than 128 MiB in
        all those are removed that were kept longest ago.
        """
        content = json.dumps(record, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace")
        if len(content) > _MAX_BYTES:
            short = {key: record[key] for key in _SHORT if key in record}
            content = json.dumps(short | {"verdict": str(short.get("verdict", ""))[:1000]}, ensure_ascii=False).encode()
        self.documents.replace(_file_name(direction, name), content)
        if next(_kept) % _KEPT_BETWEEN == 0:
            self.documents.make_room(_MAX_TOTAL)

    def keep_only(self, connectors: Iterable[tuple[str, str]]) -> None:
        """Remove the records of all other connectors. Raises OSError, StoreFailure.

        connectors: direction and name of each.
        """
        needed = {_file_name(direction, name) for direction, name in connectors}
        self.documents.remove(sorted(self.documents.names().keys() - needed))

    def last(self, direction: str, name: str) -> dict[str, Any] | None:
        """The record, None if there is none or it cannot be used: a check that is not known is not passed."""
        try:
            content = self.documents.read(_file_name(direction, name), 2 * _MAX_BYTES)
            if content is None or len(content) > 2 * _MAX_BYTES:
                return None
            document = json.loads(content)
        except (OSError, StoreFailure, ValueError):
            return None
        return document if isinstance(document, dict) else None


def _file_name(direction: str, name: str) -> str:
    """One plain file name, whatever the connector is called; its case does not matter."""
    escaped = quote(name.lower(), safe="")
    if len(escaped) > _MAX_NAME:
        escaped = f"{escaped[:_MAX_NAME]}-{hashlib.sha256(name.lower().encode()).hexdigest()[:16]}"
    return f"{direction}-{escaped}.json"
