"""Messages as a mailbox holds them, and how to compare them with what was sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

# Fields that hosts and final delivery put before a message (RFC 5321 section 4.4, and each server's habits).
_TRACE = frozenset(
    {
        b"return-path",
        b"received",
        b"delivered-to",
        b"x-original-to",
        b"envelope-to",
        b"delivery-date",
        b"authentication-results",
    },
)


@dataclass(frozen=True, slots=True)
class Mail:
    """One stored message, lines ending in CRLF whatever the mailbox uses."""

    raw: bytes

    @property
    def head(self) -> bytes:
        """The header section with its last CRLF."""
        end = self.raw.find(b"\r\n\r\n")
        return self.raw if end < 0 else self.raw[: end + 2]

    @property
    def body(self) -> bytes:
        """The octets behind the empty line."""
        end = self.raw.find(b"\r\n\r\n")
        return b"" if end < 0 else self.raw[end + 4 :]

    def fields(self, name: str) -> list[str]:
        """The values of all fields of that name, unfolded, topmost first."""
        wanted = name.lower().encode() + b":"
        values = [field[len(wanted) :] for field in _split(self.head) if field[: len(wanted)].lower() == wanted]
        return [value.replace(b"\r\n", b"").decode("utf-8", "replace").strip() for value in values]

    def field(self, name: str) -> str:
        """The topmost field of that name, "" if there is none."""
        return next(iter(self.fields(name)), "")

    @property
    def recipient(self) -> str:
        """The recipient of the final delivery, as the mailbox's server noted it."""
        return self.field("X-Original-To") or self.field("Delivered-To") or self.field("Envelope-To")

    @property
    def content(self) -> bytes:
        """The message without the trace fields at its top: what must arrive byte for byte."""
        return without_trace(self.raw)


def without_trace(raw: bytes) -> bytes:
    """A message (CRLF) less the trace fields at its very top."""
    start = 0
    for field in _split(Mail(raw).head):
        if field.partition(b":")[0].lower() not in _TRACE:
            break
        start += len(field)
    return raw[start:]


def read_maildir(folder: Path) -> list[Mail]:
    """All messages of a Maildir (new and cur), oldest first; [] if there is none yet."""
    files = sorted((path for part in ("new", "cur") for path in (folder / part).glob("*")), key=_delivered)
    return [Mail(with_crlf(path.read_bytes())) for path in files]


def _delivered(path: Path) -> tuple[int, int, str]:
    """When a message came, by its name: seconds, and behind "M" microseconds, which have no leading zeros."""
    match = re.match(r"(\d+)\.(?:.*?M(\d+))?", path.name)
    return (int(match[1]), int(match[2] or 0), path.name) if match else (0, 0, path.name)


def with_crlf(stored: bytes) -> bytes:
    """Lines that end in LF alone, as mailboxes keep them, brought back to CRLF."""
    return stored.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _split(head: bytes) -> list[bytes]:
    """The fields of a header section, each with its continuation lines and CRLF."""
    fields: list[bytes] = []
    for line in head.split(b"\r\n")[:-1]:
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1] += line + b"\r\n"
        else:
            fields.append(line + b"\r\n")
    return fields
