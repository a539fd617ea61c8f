"""All tables that a gateway keeps in PostgreSQL, for those that check or make them as a whole.

Used by `serve`, `store check` and `store prepare`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatepost.manage.access.schema import ACCESS
from gatepost.store.changes import CONFIGURATION, CONFIGURATION_LOG
from gatepost.store.failures import LOGIN_FAILURES

if TYPE_CHECKING:
    from gatepost.store.database import Schema

SCHEMAS: Final[tuple[Schema, ...]] = (CONFIGURATION, CONFIGURATION_LOG, ACCESS, LOGIN_FAILURES)
"""Every `Schema` is in it: a role without the right to make tables finds them made by `gatepost store prepare`."""
