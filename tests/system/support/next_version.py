"""The next version of gatepost: a copy of the source with additions to its tables, as a release would make them.

The first part of a change in two parts (`store.interface.Schema`): columns and a table that this version knows nothing
of. The copy reports itself as version 99 and is otherwise the same.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from support.process import ROOT

from gatepost.testing.process import Folder

VERSION: Final = "99.0.0"
# What the next version adds to tables, by module and name of the schema.
_ADDITIONS: Final = {
    ("store/changes.py", "CONFIGURATION"): ["resource ADD COLUMN colour TEXT"],
    ("store/postgres/queue_schema.py", "QUEUE_SCHEMA"): [
        "queue_message ADD COLUMN colour TEXT",
        "queue_delivery ADD COLUMN colour TEXT NOT NULL DEFAULT ''",
        "queue_owner ADD COLUMN colour TEXT NOT NULL DEFAULT ''",
    ],
    ("store/postgres/trace_tables.py", "SCHEMA"): ["trace ADD COLUMN colour TEXT"],
    ("store/postgres/evidence_tables.py", "SCHEMA"): ["evidence_entry ADD COLUMN colour TEXT"],
    ("store/site_tables.py", "SITE"): [
        "node ADD COLUMN colour TEXT NOT NULL DEFAULT ''",
        "lease ADD COLUMN colour TEXT",
    ],
    ("store/shared_destinations.py", "HISTORY"): ["destination_history ADD COLUMN colour TEXT"],
    ("manage/access/schema.py", "ACCESS"): ["audit_event ADD COLUMN colour TEXT NOT NULL DEFAULT ''"],
}
_PATCH: Final = """

from gatepost.values import replace as _replace
{name} = _replace(
    {name},
    version={name}.version + 1,
    upgrades={{**{name}.upgrades, {name}.version: {sql!r}}},
    tables={name}.tables + ";" + {sql!r},
)
"""


class NextVersion:
    """path: for PYTHONPATH."""

    def __init__(self) -> None:
        self._folder = Folder("next-version")
        self.path: Path = self._folder.path
        package = self.path / "gatepost"
        shutil.copytree(ROOT / "src" / "gatepost", package)  # as it is compiled: else its first start takes 10 s
        for (module, name), additions in _ADDITIONS.items():
            sql = "".join(f"ALTER TABLE {addition};" for addition in additions)
            with (package / module).open("a") as file:
                file.write(_PATCH.format(name=name, sql=sql))
        about = package / "__init__.py"
        text, _, _ = about.read_text().partition("__version__")
        about.write_text(f'{text}__version__ = "{VERSION}"\n')

    def remove(self) -> None:
        """Leave nothing behind."""
        self._folder.remove()
