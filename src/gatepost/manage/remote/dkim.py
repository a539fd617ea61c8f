"""The DKIM keys of another gateway. A private key is sent to it, over TLS, and none ever comes from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gatepost.analysis.checks.dkim_record import RecordSight, Seen
from gatepost.manage.remote.resources import FetchedGateway
from gatepost.manage.use_cases.choice import choose_part
from gatepost.manage.use_cases.dkim import KeyRow
from gatepost.manage.use_cases.parts import DKIM
from gatepost.policy.connectors.dkim_key import DkimKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.manage.remote.connection import Connection
    from gatepost.manage.use_cases.dkim import KeySelection
    from gatepost.manage.use_cases.parts import Part


def dkim_keys(connection: Connection, selection: KeySelection | None = None, *, check: bool = False) -> list[KeyRow]:
    """As `manage.use_cases.dkim.dkim_keys`."""
    query: dict[str, Any] = {}
    if selection is not None:
        query = {"organization": selection.organization, "domain": selection.domain, "q": selection.q}
        query |= {"selector": selection.selector, "state": selection.state}
    return [_row(one) for one in connection.items("/dkim_keys", **query, check=check)]


def dkim_key(connection: Connection, name: str, organization: str = "", *, check: bool = False) -> KeyRow:
    """As `manage.use_cases.dkim.dkim_key`."""
    part = _part(connection, name, organization)
    key: DkimKey = part.record
    query = {"organization": part.organization.name, "domain": key.domain, "selector": key.selector}
    return next(_row(one) for one in connection.items("/dkim_keys", **query, check=check))


def import_key(
    connection: Connection, name: str, organization: str, pem: bytes, source: str, *, dry_run: bool = False
) -> str:
    """As `manage.use_cases.dkim.import_key`. source: not sent."""
    del source
    part = _part(connection, name, organization)
    path = f"{keys_path(part.organization.name, part.record.domain)}/{quote(part.record.selector, safe='')}/private_key"
    body = {"key": pem.decode("ascii", "replace")}
    return str(connection.call("POST", path, query={"dry_run": dry_run}, body=body).value["name"])


def keys_path(organization: str, domain: str) -> str:
    """Where the keys of a domain are made and let sign."""
    return f"/organizations/{quote(organization, safe='')}/domains/{quote(domain, safe='')}/dkim_keys"


def _part(connection: Connection, name: str, organization: str) -> Part:
    return choose_part(FetchedGateway(connection).directory().resources, DKIM, name, organization)


def _row(record: Mapping[str, Any]) -> KeyRow:
    """As `manage.use_cases.dkim.key_record` made it."""
    fields = {name: record[name] for name in ("name", "algorithm", "state", "service_type", "public_key")}
    sight = RecordSight(Seen(record["record"]), record["why"]) if record["record"] else None
    return KeyRow(record["organization"], DkimKey.model_validate(fields), record["private_key"], record["since"], sight)
