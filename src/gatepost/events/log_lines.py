"""Write a structured log line for each message accepted, each refusal and each recipient's result.

`EventLines` reads the groups of `events.stream` on their thread and writes whole lines, many at a time, past the
logging module: a line costs microseconds, and the event loop none of them. The keys are a contract
(docs/monitoring.md). Never in a line: content, Subject, credentials. What peers chose is cut, and no control character
of theirs is in it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from enum import StrEnum
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.events.counts import verdict_of
from gatepost.quantity import quantity
from gatepost.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gatepost.mail.model.trace_event import TraceEvent


LOGGER: Final = "gatepost.events"
"""The name that lines bear, and whose level says whether there are any."""

_REFUSALS: Final = 10  # lines of one second
_ADDRESS: Final = 320
_TEXT: Final = 500
_NAME: Final = 255
_WORDS: Final = {
    "RECEIVE": "received",
    "REFUSE": "refused",
    "TLSFAIL": "TLS handshake failed",
    "SEND": "sent",
    "DELIVER": "delivered",
    "DEFER": "deferred",
    "HOLD": "held",
    "QUARANTINE": "quarantined",
    "FAIL": "failed",
    "EXPIRE": "expired",
}

_FROM_CLIENTS: Final = frozenset({"RECEIVE", "REFUSE"})  # their lines name the client
_HAS_VALUE: Final = itemgetter(1)  # of a key and a value
_encode = msgspec.json.Encoder().encode


class Style(StrEnum):
    """Formats of a line: for people, or one object or one row of pairs for machines."""

    TEXT = "text"
    JSON = "json"
    LOGFMT = "logfmt"


class AddressDetail(StrEnum):
    """The part of mail addresses that the log has."""

    FULL = "full"
    DOMAIN = "domain"
    NONE = "none"


class EventLines:
    """write: takes lines without their ends. clock: seconds, never going back, for the bound on refusals.

    A reader of `EventFeed`. left_out: lines about refusals beyond the bound, in all.
    """

    def __init__(
        self,
        style: Style,
        addresses: AddressDetail,
        write: Callable[[list[str]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.left_out = 0
        self._style = style
        self._addresses = addresses
        self._write = write
        self._clock = clock
        self._process = os.getpid()
        self._second, self._refusals, self._untold = -1, 0, 0

    def __call__(self, groups: Sequence[Sequence[TraceEvent]]) -> None:
        """Write what happened."""
        lines: list[str] = []
        for group in groups:
            if not group:
                continue
            first = group[0]
            if first.event == "RECEIVE":
                received = [trace_event for trace_event in group if trace_event.event == "RECEIVE"]
                lines.append(self._line(first, len(received)))
                lines += (self._line(trace_event) for trace_event in group if trace_event.event != "RECEIVE")
            elif first.event == "REFUSE":
                lines += (self._line(trace_event) for trace_event in group if self._has_room(lines))
            else:
                lines += map(self._line, group)
        if lines:
            self._write(lines)

    def _has_room(self, lines: list[str]) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second, self._refusals = second, 0
            if self._untold:
                lines.append(
                    self._note(f"left out {quantity(self._untold, 'more line')}; gatepost trace search --event REFUSE")
                )
                self._untold = 0
        if self._refusals >= _REFUSALS:
            self._untold += 1
            self.left_out += 1
            return False
        self._refusals += 1
        return True

    def _line(self, event: TraceEvent, recipients: int = 1) -> str:
        word = _WORDS.get(event.event, event.event.lower())
        if self._style is Style.TEXT:
            return self._text(event, word, recipients)
        return self._machine(event.at, word, self._pairs(event, recipients))

    def _note(self, text: str) -> str:
        now = time.time()
        return self._head(now, text) if self._style is Style.TEXT else self._machine(now, text, {})

    def _machine(self, at: float, message: str, pairs: Mapping[str, Any]) -> str:
        head: dict[str, Any] = {
            "at": rfc3339(at, "milliseconds"),
            "level": "info",
            "logger": LOGGER,
            "process": self._process,
            "message": message,
        }
        fields = {**head, **pairs}
        if self._style is Style.LOGFMT:
            return logfmt(fields)
        line = _encode(fields).decode()
        return line if line.isascii() else json.dumps(fields)

    def _head(self, at: float, text: str) -> str:
        return f"{rfc3339(at, 'milliseconds')} info {self._process} {LOGGER}: {text}"

    def _pairs(self, event: TraceEvent, recipients: int) -> dict[str, Any]:
        """The keys of a line, without those that say nothing."""
        full, detail = self._addresses is AddressDetail.FULL, event.detail
        mail = event.event != "TLSFAIL"  # the reason of which is OpenSSL's, and names nobody
        pairs: dict[str, Any] = {
            "event": event.event.lower(),
            "session": event.session,
            "id": event.message,
            "organization": event.organization,
            "direction": event.direction,
            "from": address_shown(event.sender, self._addresses) if mail else "",
            "to": address_shown(event.recipient, self._addresses) if mail else "",
            "recipients": recipients if recipients > 1 else "",
            "size": event.size or "",
            "connector": event.connector,
            "host": clean(event.peer_host, _NAME),
            "address": event.peer_address,
            "tls": _verdict(event.requirement, event.achieved),
            "version": event.tls_version,
            "group": event.tls_group,
            "result": event.result_type,
            "reply": clean(event.reply, _TEXT) if full or not mail else codes_of(event.reply),
            "why": clean(detail.get("why", ""), _TEXT) if full else "",
        }
        said = dict(filter(_HAS_VALUE, pairs.items()))
        for key in ("attempt", "delay"):  # which may be 0
            if key in detail:
                said[key] = detail[key]
        if "seconds" in detail:
            said["ms"] = round(detail["seconds"] * 1000)
        return said

    def _text(self, event: TraceEvent, word: str, recipients: int) -> str:
        addresses = self._addresses
        if event.event == "TLSFAIL":
            who = f"session {event.session} {event.peer_address} ({clean(event.peer_host, _NAME)})"
            return self._head(event.at, f"{word}: {who}: {clean(event.reply, _TEXT)}")
        about = f"message {event.message} " if event.message else ""
        if event.session:
            about += f"session {event.session} "
        if event.event in _FROM_CLIENTS:
            about += f"{event.peer_address} "
        if addresses is not AddressDetail.NONE:
            about += f"<{address_shown(event.sender, addresses).strip('<>')}> "
            if event.recipient:
                about += f"-> <{address_shown(event.recipient, addresses)}> "
        full = addresses is AddressDetail.FULL
        reply = clean(event.reply, _TEXT) if full else codes_of(event.reply)
        more = self._more(event, recipients, full=full)
        return self._head(event.at, f"{word}: {about[:-1]}: {reply}{f' ({more})' if more else ''}")

    @staticmethod
    def _more(event: TraceEvent, recipients: int, *, full: bool) -> str:
        """What a line for people says behind its reply, by the keys of `_pairs`. full: the reason as well."""
        detail = event.detail
        why = clean(detail.get("why", ""), _TEXT) if full else ""
        if event.event == "REFUSE":
            return why
        more = [why] if why else []
        if recipients > 1:
            more.append(f"recipients={recipients}")
        if hop := _hop(
            event.peer_host,
            event.requirement,
            event.achieved,
            event.tls_version,
            event.tls_group,
            event.result_type,
            event.connector,
        ):
            more.append(hop)
        if "delay" in detail:
            more.append(f"delay={detail['delay']}")
        if "seconds" in detail:
            more.append(f"ms={round(detail['seconds'] * 1000)}")
        return ", ".join(more)


@lru_cache(maxsize=512)  # a message has the same in each of its lines, and a client or partner in each message
def address_shown(address: str, addresses: AddressDetail) -> str:
    """The part of a mail address that the log may have, "<>" for none and "" if it may have nothing."""
    if addresses is AddressDetail.FULL:
        return clean(address, _ADDRESS) or "<>"
    if addresses is AddressDetail.NONE:
        return ""
    return f"@{clean(address.rpartition('@')[2], _NAME)}" if "@" in address else "<>"


def wanted() -> bool:
    """Whether the log takes such lines at all."""
    return logging.getLogger(LOGGER).isEnabledFor(logging.INFO)


def logfmt(fields: Mapping[str, object]) -> str:
    """Pairs of key and value, quoted where they must be, in ASCII."""
    return " ".join(f"{key}={_quoted(str(value))}" for key, value in fields.items())


def _quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


_PLAIN: Final = re.compile(r"[!#-<>-\[\]-~]+")  # printable ASCII without space, ", = and \


def clean(text: str, most: int) -> str:
    """Clean a text of a peer: cut to `most` characters, with "?" for each that is not printable."""
    cut = text if len(text) <= most else f"{text[:most]}..."
    return cut if cut.isprintable() else "".join(character if character.isprintable() else "?" for character in cut)


@lru_cache(maxsize=256)
def _hop(  # noqa: PLR0913, PLR0917 - by each of them it is known again
    host: str, requirement: str, achieved: str, version: str, group: str, result: str, connector: str
) -> str:
    """What a line for people says of the peer, which is the same for many messages."""
    said = {
        "host": clean(host, _NAME),
        "tls": _verdict(requirement, achieved),
        "version": version,
        "group": group,
        "result": result,
        "connector": connector,
    }
    return ", ".join(f"{key}={value}" for key, value in said.items() if value)


@lru_cache(maxsize=256)
def _verdict(requirement: str, achieved: str) -> str:
    """Requirement and achieved level, as in "opportunistic:none"; "" where no hop was made."""
    if not (requirement or achieved):
        return ""
    wanted_, got = verdict_of(requirement, achieved)
    return f"{wanted_}:{got}"


def codes_of(reply: str) -> str:
    """A reply without its text, which may hold addresses."""
    words = reply.split(None, 2)[:2]
    return " ".join(words if len(words) > 1 and words[1].replace(".", "").isdigit() else words[:1])
