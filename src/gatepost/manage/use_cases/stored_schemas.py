"""All tables that a gateway keeps in PostgreSQL, for those that check or make them as a whole.

Used by `serve`, `store check` and `store prepare`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatepost.manage.access.schema import ACCESS
from gatepost.store.schemas import STORED

if TYPE_CHECKING:
    from gatepost.store.interface import Schema

SCHEMAS: Final[tuple[Schema, ...]] = (*STORED, ACCESS)
"""Every `Schema` is in it: a role without the right to make tables finds them made by `gatepost store prepare`."""
