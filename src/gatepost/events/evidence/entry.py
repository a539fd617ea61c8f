"""The entries of the evidence log: the body of each kind (docs/evidence.md has the list of members).

Made by `store.evidence` from rows of the message trace, on its thread. Never content: no subject, no dialogue, no
text of a peer that could hold more than it must. How much of an address is kept is a setting. Pure.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.events.evidence.chain import Place
    from gatepost.mail.model.trace_event import TraceEvent


FORMAT: Final = 1
"""Version of the format; a member that is added does not change it."""

_TEXT: Final = 512  # characters of a text
_RECENT: Final = 500  # certificates whose members are known
_SESSIONS: Final = 50  # and handshakes, and hosts
_NAMES: Final = 20  # of a certificate, and sources of a requirement


class Kind(StrEnum):
    """Kinds of entries."""

    BEGIN = "begin"
    EVENT = "event"
    GAP = "gap"
    CHECKPOINT = "checkpoint"
    HEAD = "head"
    PRUNED = "pruned"


class AddressPrivacy(StrEnum):
    """The part of a mail address that is kept: all, its domain and a hash, or its domain."""

    FULL = "full"
    HASH = "hash"
    DOMAIN = "domain"


class MessageIds(StrEnum):
    """Whether Message-IDs are kept as they are, or as hashes."""

    FULL = "full"
    HASH = "hash"


class Privacy(msgspec.Struct, frozen=True):
    """Settings for personal data in the log."""

    addresses: AddressPrivacy = AddressPrivacy.DOMAIN
    message_ids: MessageIds = MessageIds.FULL


def instant(at: float) -> str:
    """A time as entries have it: "2026-11-26T19:04:05.123456Z"."""
    return rfc3339(at, "microseconds")


def seconds(text: str) -> float:
    """The inverse of `instant`. Raises ValueError."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp()


def address_hash(salt: str, address: str) -> str:
    """An address as "hash" keeps it: SHA-256 of the entry's salt, a colon and the address in lower case."""
    return _sha256(f"{salt}:{address.lower()}".encode("utf-8", "backslashreplace"))


def message_id_hash(message_id: str) -> str:
    """A Message-ID as "hash" keeps it: SHA-256 of it, angle brackets included. Who has the message finds its entry."""
    return _sha256(message_id.encode("utf-8", "backslashreplace"))


def _sha256(octets: bytes) -> str:
    from hashlib import sha256  # noqa: PLC0415 - it loads OpenSSL, and each command reads the settings of entries

    return sha256(octets).hexdigest()


def begin_body(place: Place, at: float, *, node: str, writer: str, day: str, software: str) -> dict[str, Any]:
    """The first entry of a file. place: where the chain stands. node: the host. software: "gatepost 0.1"."""
    return {
        "kind": str(Kind.BEGIN),
        "format": FORMAT,
        "number": place.number + 1,
        "time": instant(at),
        "node": node[:_TEXT],
        "writer": writer,
        "day": day,
        "previous": {"number": place.number, "head": place.head},
        "software": software,
    }


def checkpoint_body(place: Place, at: float, *, writer: str, node: str) -> dict[str, Any]:
    """The body of a checkpoint: the position of a chain. The signature is added by `chain.sign_body`."""
    return {
        "kind": str(Kind.CHECKPOINT),
        "number": place.number + 1,
        "time": instant(at),
        "node": node[:_TEXT],
        "writer": writer,
        "head": place.head,
    }


def gap_body(place: Place, at: float, *, what: str, count: int, sha256: str = "") -> dict[str, Any]:
    """The body of a gap and its reason: "torn" octets cut off after a crash, "dropped" events, or "off".

    off: the node started with `[evidence] enabled = false`, and wrote nothing from then on.

    count: octets or events. sha256: of the octets.
    """
    body = {
        "kind": str(Kind.GAP),
        "number": place.number + 1,
        "time": instant(at),
        "what": what,
        "count": count,
    }
    return body | {"sha256": sha256} if sha256 else body


def event_body(row: TraceEvent, number: int, salt: str, privacy: Privacy) -> dict[str, Any]:
    """An entry on one event of one recipient. salt: random, of this entry alone. What has no value is left out."""
    detail = row.detail
    facts: dict[str, Any] = {
        **_hop(row.event, row.organization, row.connector, row.requirement, row.achieved, row.peer_host),
        "direction": row.direction,
        "number": number,
        "salt": salt,
        "time": instant(row.at),
        "message": row.message,
        "session": row.session,
        "size": row.size,
        "result_type": row.result_type,
        "reply": _reply(row.reply, privacy),
        **_address("sender", row.sender, salt, privacy),
        **_address("recipient", row.recipient, salt, privacy),
        **_persons(row, salt, privacy),
    }
    body = dict(filter(_HAS_VALUE, facts.items()))
    if sources := detail.get("requirement_sources"):
        body["required_by"] = [_text(str(source)) for source in sources[:_NAMES]]
    if row.tls:
        body.update(_handshake(row.tls))
    if copies := [_journaled(copy, salt, privacy) for copy in detail.get("journaled", ())[:_NAMES]]:
        body["journaled"] = copies
    for name in detail.keys() & _KEPT:
        value = _plain(detail[name])
        if value or value == {}:
            body[name] = value
    return body


# Members of `detail` that are kept as they are.
_KEPT: Final = frozenset(
    {
        "configuration",
        "basis",
        "introduction",
        "attempt",
        "rehearsal",
        "would_refuse_connector",
        "dane",
        "mta_sts",
        "handshake_error",
        "classical_only",
        "starttls_offered",
        "protection_drop",
        "requiretls",
        "tls_required",
        "expired",
        "journal",
        "journal_message",
        "author",
        "destination",
        "quarantine",
        "holds",
        # of a drill
        "passed",
        "attacks",
        "messages_left",
        "file",
        "sha256",
    }
)
_PROTECTIONS: Final = {"none": "clear", "encrypted": "encrypted", "authenticated": "authenticated"}
_DEPTH: Final = 4
_HAS_VALUE: Final = itemgetter(1)  # of a name and a value: whether the value is one


def _plain(value: Any, depth: int = _DEPTH) -> Any:
    """A value as an entry may have it: bounded, and without fractions, which no two programs write alike."""
    if isinstance(value, str):  # as most are
        return _text(value)
    match value:
        case bool() | int():
            return value
        case float():
            return instant(value)  # the only fractions in `detail` are times
        case dict() if depth:
            return {str(name)[:_TEXT]: _plain(item, depth - 1) for name, item in islice(value.items(), _NAMES)}
        case list() | tuple() if depth:
            return [_plain(item, depth - 1) for item in value[:_NAMES]]
        case _:
            return _text(str(value)) if value is not None else ""


def _text(text: str) -> str:
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 1]}…"


@lru_cache(maxsize=_SESSIONS)
def _hop(
    event: str, organization: str, connector: str, requirement: str, achieved: str, peer_host: str
) -> dict[str, Any]:
    """Who has to do with an event, and what was asked of the hop: the same for all mail of a host. Nobody changes it.

    required_by: the connector that applies to a client; a next hop has its own sources.
    """
    return {
        "kind": "event",
        "event": event,
        "organization": _text(organization),
        "connector": _text(connector),
        "requirement": _text(requirement),
        "required_by": [_text(f"connector {connector}")] if connector and requirement else [],
        "achieved": achieved,
        "protection": _protection(event, achieved),
        "peer_host": _text(peer_host),
    }


def _protection(event: str, achieved: str) -> str:
    """The protection of the hop in one word; "" where nothing went over a hop."""
    if event == "DELIVER":
        return "local"
    return _PROTECTIONS.get(achieved.rpartition("/")[2], "")


def _reply(reply: str, privacy: Privacy) -> str:
    """Replies of peers often repeat an address: where addresses are not kept whole, only the codes are."""
    if privacy.addresses is AddressPrivacy.FULL:
        return _text(reply)
    codes = reply.split(" ", 2)[:2]
    return " ".join([code[:9] for code in codes if code[:1].isdigit()])


def _address(name: str, address: str, salt: str, privacy: Privacy) -> dict[str, str]:
    """The members of one path; {} for the null path and for none."""
    if not address:
        return {}
    kept = {f"{name}_domain": _text(address.rpartition("@")[2].lower() if "@" in address else "")}
    if privacy.addresses is AddressPrivacy.FULL:
        kept[name] = _text(address)
    elif privacy.addresses is AddressPrivacy.HASH:
        kept[f"{name}_sha256"] = address_hash(salt, address)
    return kept


def _persons(row: TraceEvent, salt: str, privacy: Privacy) -> dict[str, str]:
    """Personal data beside the addresses: the message, the user who logged in, and the client's address."""
    kept: dict[str, str] = {}
    if row.message_id:
        hashed = privacy.message_ids is MessageIds.HASH
        kept |= (
            {"message_id_sha256": message_id_hash(row.message_id)} if hashed else {"message_id": _text(row.message_id)}
        )
    user = str(row.detail.get("user", ""))
    if user:
        kept |= _address("user", user, salt, privacy) | {"mechanism": str(row.detail.get("mechanism", ""))}
    if not user or privacy.addresses is AddressPrivacy.FULL:
        kept["peer_address"] = row.peer_address
    return kept


def _journaled(copy: Mapping[str, Any], salt: str, privacy: Privacy) -> dict[str, Any]:
    """A journal copy that was queued with the message: its form, and as much of its address as is kept of any."""
    kept = {name: _plain(copy[name]) for name in ("form", "rules") if name in copy}
    return kept | _address("to", str(copy.get("to", "")), salt, privacy)


def _tls(record: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that the handshake proved."""
    handshake = ("version", "suite", "group", "signature", "resumed", "server_name")
    kept: dict[str, Any] = {"tls": {name: _plain(record[name]) for name in handshake if record.get(name)}}
    for name in ("chain", "chain_detail", "revocation"):
        if record.get(name):
            kept[name] = _text(str(record[name]))
    if record.get("chains"):  # by the anchors that connectors name for themselves
        kept["chains"] = [
            {"anchors": _text(anchors), "status": judged.get("status", "")}
            for anchors, judged in list(record["chains"].items())[:_NAMES]
        ]
    if record.get("certificate"):
        kept["certificate"] = _known(record["certificate"])
    return kept


_handshakes: dict[int, tuple[Mapping[str, Any], dict[str, Any]]] = {}  # by identity, which the first item holds fast


def _handshake(record: Mapping[str, Any]) -> dict[str, Any]:
    """As `_tls`. The mail of a session has one record. Nobody changes it, nor what is made of it."""
    known = _handshakes.get(id(record))
    if known is None:
        if len(_handshakes) >= _SESSIONS:
            _handshakes.clear()
        known = _handshakes[id(record)] = record, _tls(record)
    return known[1]


_recent: dict[str, dict[str, Any]] = {}  # by SHA-256, which decides everything else that is kept of a certificate


def _known(record: Mapping[str, Any]) -> dict[str, Any]:
    """The certificates of a few hundred peers come again and again."""
    result = _recent.get(record["sha256"])
    if result is None:
        if len(_recent) >= _RECENT:
            _recent.clear()
        result = _recent[record["sha256"]] = _certificate(record)
    return result


def _certificate(record: Mapping[str, Any]) -> dict[str, Any]:
    texts = {name: _text(str(record[name])) for name in ("sha256", "subject", "issuer", "serial", "key")}
    names = [_text(str(name)) for name in (*record["names"], *record.get("ip_addresses", ()))[:_NAMES]]
    valid = {name: instant(record[name]) for name in ("not_before", "not_after") if 0 < record[name] < 1e11}
    return texts | {"names": names} | valid
