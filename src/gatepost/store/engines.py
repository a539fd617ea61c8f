"""The versions of the libraries of databases, for `gatepost --version`."""

from __future__ import annotations

import apsw


def sqlite_version() -> str:
    """The version of SQLite that is used."""
    return apsw.sqlite_lib_version()
