"""Values of another gateway's resources that no owner granted, and granting one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatepost.manage.remote.connection import Connection
    from gatepost.manage.use_cases.change import Wish
    from gatepost.manage.use_cases.ungranted import Value


def ungranted_values(connection: Connection) -> list[dict[str, Any]]:
    """As `manage.use_cases.ungranted.ungranted_values`."""
    return list(connection.get("/grants/missing").value["values"])


def grant_value(connection: Connection, wanted: Value, wish: Wish) -> dict[str, Any]:
    """As `manage.use_cases.ungranted.grant_value`."""
    query = {"dry_run": wish.dry_run, "note": wish.note}
    done: dict[str, Any] = connection.call("POST", "/grants", query=query, body=wanted._asdict(), if_match="*").value
    return done
