"""Two organizations on one gateway: one with mail, a mailbox, connectors and rules, the other with a token that tries.

Whatever is the first one's has a name with "kanarie" in it, so that no answer to the other can have it unnoticed. What
it has is compared octet by octet, as it lies in the databases and mailboxes.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from support.admin import AdminCentre, running
from support.scenes import connector, send

from gatepost.testing.process import wait_until
from gatepost.testing.sink import Behaviour, Sink

MINE, THEIRS, NOBODY = "fabrikam", "contoso", "nosuchorg"
BOX, BOB = "kanarie-box@contoso.example", "bob@kanarie-partner.example"
# Words of the other's that no answer may have, unless they were sent.
CANARIES = ("kanarie-org", "kanarie-connector", "kanarie-comment", "kanarie-box", "kanarie-rule", "kanarie-partner")
CONNECTOR = "kanarie-connector"
PART_NAMES = {
    "accepted_domain": "contoso.example", "mailbox": BOX, "mail_flow_rule": "kanarie-rule", "inbound_connector": "own",
    "outbound_connector": CONNECTOR,
}  # fmt: skip
# What asking itself changes.
_NOT_THEIRS = {"audit_event", "session", "token", "setup", "sqlite_sequence", "sqlite_stat1"}
_OF_NODES = {"node", "node_worker", "lease"}  # of a database: these change all the time


class TwoTenants:
    """centre: with both organizations. message: of the other's that waits. token: with all that a tenant may have."""

    def __init__(self, centre: AdminCentre) -> None:
        self.centre = centre
        self.data = centre.gateway.data_dir
        for recipient in (BOB, BOX):
            send(centre.gateway.port, recipient, sender=BOX)
        centre.gateway.wait_trace(recipient=BOX, event="DELIVER")
        (row,) = centre.gateway.wait_trace(recipient=BOB, event="DEFER")
        self.message = str(row["message"])
        # A worker writes what it saw of a destination up to a second later: else what is compared would grow meanwhile.
        remembered = ("destination", "list", "--connector", CONNECTOR)
        wait_until(lambda: centre.gateway.cli(*remembered, json=True, expect=None).data, "the history of the partner")
        scopes = ("read", "connectors", "certificates", "queue")
        self.token = centre.token(*scopes, name="tenant", organizations=(MINE,))
        self.owner = centre.token(name="owner")

    def names(self, organization: str) -> dict[str, Any]:
        """What a parameter or field of this name is filled with: all is the other's, but perhaps the organization."""
        return {
            "organization": organization, "organizations": [organization], "message": self.message,
            "messages": [self.message], "id": self.message, "identity": self.message, "session": self.message,
            "connector": CONNECTOR, "domain": "contoso.example", "address": BOX, "sender": BOX,
            "recipient": BOB, "direction": "outbound", "selector": "kanarie", "host": "kanarie-partner.example",
            "partner": "kanarie-partner.example", "destination": "kanarie-partner.example", "since": "", "until": "",
            "after": "", "before": 0, "limit": 5, "wait": 0, "version": "1", "number": "1", "kind": "missing",
        }  # fmt: skip

    def theirs(self) -> list[str]:
        """All that is the other's, as it is stored."""
        found = [
            f"{file.relative_to(self.data)} {hashlib.sha256(file.read_bytes()).hexdigest()}"
            for file in sorted((self.data / "maildir").rglob("*"))
            if file.is_file()
        ]
        rows = self._rows_of_database() if self.centre.gateway.is_on_postgres else self._rows_of_files()
        return found + sorted(row for row in rows if (THEIRS in row or "kanarie" in row) and f"'{MINE}'" not in row)

    def _rows_of_files(self) -> list[str]:
        files = [file for file in sorted(self.data.rglob("*.db")) if not {"trace", "sessions"} & set(file.parts)]
        return [row for file in files for row in _rows(file)]

    def _rows_of_database(self) -> list[str]:
        gateway = self.centre.gateway
        tables = gateway.sql(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
            " AND table_name NOT LIKE 'trace%' AND table_name NOT LIKE 'session_%'"
        )
        return [
            f"{table} {row}".replace(f'"{MINE}"', f"'{MINE}'")
            for table in sorted(set(tables) - _NOT_THEIRS - _OF_NODES)
            for row in gateway.sql(f"SELECT to_json(t) FROM {table} t")  # noqa: S608 - names of our own tables
            if table != "content" or THEIRS in row
        ]


def _rows(file: Any) -> list[str]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [
            f"{file.name} {table} {row!r}"
            for table in sorted(set(tables) - _NOT_THEIRS)
            for row in database.execute(f"SELECT * FROM {table}")  # noqa: S608 - names of our own tables
            if table != "content" or THEIRS in str(row[0])
        ]


def filled(  # noqa: PLR0911 - a value for each kind of schema
    schema: dict[str, Any], known: dict[str, Any], names: dict[str, Any], name: str, *, whole: bool
) -> Any:
    """A value that fits a JSON Schema, of the values for names. known: what it refers to. name: of the field.

    whole: with fields that may be left out, too.
    """
    if "$ref" in schema:
        return filled(known[schema["$ref"].rpartition("/")[2]], known, names, name, whole=whole)
    if "anyOf" in schema:
        some = next(one for one in schema["anyOf"] if one.get("type") != "null")
        return filled(some, known, names, name, whole=whole)
    if "enum" in schema:
        return next((one for one in schema["enum"] if one), schema["enum"][0])
    match schema.get("type"):
        case "object":
            fields = schema.get("properties", {})
            wanted = fields if whole else schema.get("required", ())
            return {one: filled(fields[one], known, names, one, whole=whole) for one in wanted}
        case "array":
            if "prefixItems" in schema:  # a named tuple: whose, and what
                return [names["organization"], names["direction"], names["connector"]]
            given = names.get(name)
            return (
                given
                if isinstance(given, list)
                else [filled(schema.get("items", {}), known, names, name.rstrip("s"), whole=whole)]
            )
        case "boolean":
            return name != "dry_run"
        case "integer" | "number":
            return schema.get("minimum", 1)
        case _ if schema.get("contentEncoding") == "base64":
            return "a2FuYXJpZQ=="
        case _:
            given = str(names.get(name, CONNECTOR))
            return given if re.search(schema.get("pattern", ""), given) else ""


# What was sent is counted later, on a timer: no comparison of what lies in the tables may meet that.
SETTINGS = {"queue": {"retry": ["1h"]}, "alarms": {"unusual_sending": 0}}


@contextmanager
def two_tenants() -> Iterator[TwoTenants]:
    """Both on a gateway that runs, and mail of the one that waits."""
    servers = {"connector_type": "on-premises", "sender_ip_addresses": ["127.0.0.1/32"]}
    with ExitStack() as stack:
        partner = stack.enter_context(Sink(behaviour=Behaviour(replies={"RCPT": "450 4.2.1 later"})))
        theirs = {
            "display_name": "kanarie-org",
            "accepted_domain": [{"name": "contoso.example"}],
            "mailbox": [{"address": BOX}],
            "inbound_connector": [{"name": "own", **servers}],
            "outbound_connector": [
                connector("kanarie-partner.example", partner.address)
                | {"name": CONNECTOR, "comment": "kanarie-comment"}
            ],
            "mail_flow_rule": [{"name": "kanarie-rule", "recipients": [BOB], "route_via_connector": CONNECTOR}],
        }
        mine = {"accepted_domain": [{"name": "fabrikam.example"}], "mailbox": [{"address": "fay@fabrikam.example"}]}
        resources = {"organization": {THEIRS: theirs, MINE: mine}}
        yield TwoTenants(stack.enter_context(running(resources, settings=SETTINGS)))
