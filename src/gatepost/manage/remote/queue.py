"""The queue of another gateway. Records of REST become the values that `manage.use_cases.queue` gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from gatepost.mail.model.message import Delivery
from gatepost.mail.model.queue_id import parse_id
from gatepost.manage.use_cases.queue import Acted
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.store.admin_rows import QueueEntry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gatepost.manage.remote.connection import Connection
    from gatepost.manage.use_cases.queue import QueueAction
    from gatepost.store.interface import QueueFilter


def entries(connection: Connection, wanted: QueueFilter) -> list[QueueEntry]:
    """As `manage.use_cases.queue.entries`."""
    found = connection.items("/queue", wanted.limit, held=wanted.held, **_filter(wanted))
    return [_entry(one) for one in found]


def message_entries(connection: Connection, wanted: QueueFilter) -> list[QueueEntry]:
    """As `manage.use_cases.queue.message_entries`."""
    try:
        parse_id(wanted.message)
    except ValueError as error:
        raise Refusal(Kind.INPUT, str(error)) from error
    found = connection.get(f"/queue/{quote(wanted.message, safe='')}").value
    return [_entry(one) for one in found["items"]]


def message_body(connection: Connection, message: str) -> Iterator[bytes]:
    """As `manage.use_cases.queue.message_body`."""
    try:
        parse_id(message)
    except ValueError as error:
        raise Refusal(Kind.INPUT, str(error)) from error
    return iter([connection.file(f"/queue/{quote(message, safe='')}/content")])


def acted(  # noqa: PLR0913 - as there
    connection: Connection,
    action: QueueAction,
    wanted: QueueFilter,
    *,
    messages: Sequence[str] = (),
    dry_run: bool = False,
    reason: str = "",
    text: str = "",
) -> Acted:
    """As `manage.use_cases.queue.acted`."""
    chosen = _filter(wanted)
    body = {"action": str(action), "messages": list(messages), "all": not messages and not any(chosen.values())}
    body |= {"reason": reason, "text": text, **chosen}
    answer = connection.call("POST", "/queue/actions", query={"dry_run": dry_run}, body=body).value
    return Acted(answer["changed"], [_entry(one) for one in answer["items"]])


def _filter(wanted: QueueFilter) -> dict[str, str]:
    return {
        "organization": wanted.organization,
        "domain": wanted.domain,
        "sender": wanted.sender,
        "recipient": wanted.recipient,
    }


def _entry(record: Mapping[str, Any]) -> QueueEntry:
    """As `manage.use_cases.queue.entry_record` made it; in which shard it lies is not said."""
    message = {**record["message"], "id": parse_id(record["message"]["id"])}
    fields = {key: value for key, value in record.items() if key not in {"message", "state"}}
    delivery = msgspec.convert({**fields, "id": 0, "message": message}, Delivery)
    return QueueEntry(delivery, "", record["state"])
