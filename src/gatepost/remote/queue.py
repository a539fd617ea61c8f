"""The queue of another gateway. Records of REST become the values that `administration.queue` gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from gatepost.administration.queue import Acted
from gatepost.administration.refusal import Kind, Refusal
from gatepost.store.administration import QueueEntry
from gatepost.store.interface import Delivery
from gatepost.store.queue_id import parse_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gatepost.administration.queue import QueueAction
    from gatepost.remote.connection import Connection
    from gatepost.store.interface import QueueFilter

__all__ = ["acted", "entries", "message_body", "message_entries"]


def entries(connection: Connection, wanted: QueueFilter) -> list[QueueEntry]:
    """As `administration.queue.entries`."""
    found = connection.items("/queue", wanted.limit, held=wanted.held, **_filter(wanted))
    return [_entry(one) for one in found]


def message_entries(connection: Connection, wanted: QueueFilter) -> list[QueueEntry]:
    """As `administration.queue.message_entries`."""
    try:
        parse_id(wanted.message)
    except ValueError as error:
        raise Refusal(Kind.INPUT, str(error)) from error
    found = connection.get(f"/queue/{quote(wanted.message, safe='')}").value
    return [_entry(one) for one in found["items"]]


def message_body(connection: Connection, message: str) -> Iterator[bytes]:
    """As `administration.queue.message_body`."""
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
    """As `administration.queue.acted`."""
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
    """As `administration.queue.entry_record` made it; in which shard it lies is not said."""
    message = {**record["message"], "id": parse_id(record["message"]["id"])}
    fields = {key: value for key, value in record.items() if key not in {"message", "state"}}
    delivery = msgspec.convert({**fields, "id": 0, "message": message}, Delivery)
    return QueueEntry(delivery, "", record["state"])
