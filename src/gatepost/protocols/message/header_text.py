"""Sanitize external text for a header field or a notification (RFC 5322 sections 2.2 and 3.3).

Used by the rest of `message` for whatever a peer, a message or an administrator wrote. Nothing here raises on any text.
"""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from functools import lru_cache

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_WIDTH = 78
_WORD = 900

_NOT_ASCII_TEXT = re.compile(r"[^ -~]")
_NOT_HOST = re.compile(r"[^A-Za-z0-9.:_\[\]-]")
_NOT_TOKEN = re.compile(r"[^A-Za-z0-9._+-]")


@lru_cache(maxsize=64)  # a busy second makes hundreds of trace fields
def _date(seconds: int) -> str:
    at = datetime.fromtimestamp(seconds, UTC)
    day, month = _DAYS[at.weekday()], _MONTHS[at.month - 1]
    return f"{day}, {at.day:02} {month} {at.year} {at.hour:02}:{at.minute:02}:{at.second:02} +0000"


def format_date(seconds: float) -> str:
    """A date-time of RFC 5322 section 3.3 in UTC. seconds: since 1970, within the years 1 to 9999."""
    return _date(int(seconds))


def host_text(text: str) -> str:
    """A host name or address literal of at most 255 characters; "?" for what cannot stand there, "unknown" for ""."""
    return _NOT_HOST.sub("?", text[:255]) or "unknown"


def token_text(text: str, limit: int = 64) -> str:
    """A name such as a queue id, a TLS version or a cipher suite; "?" for what cannot stand in one."""
    return _NOT_TOKEN.sub("?", text[:limit])


def ascii_text(text: str, limit: int) -> str:
    """One line of printable US-ASCII, white space as spaces, "?" for the rest, at most `limit` characters."""
    return _NOT_ASCII_TEXT.sub(_replaced, _cut(text, limit)).strip()


def shown_text(text: str, limit: int) -> str:
    """One line of printable Unicode for a person to read, at most `limit` characters.

    Controls, surrogates and marks that reverse the direction of text become U+FFFD: nothing shown can look like more
    lines, or like another text.
    """
    text = _cut(text, limit)
    if not text.isprintable():
        text = "".join(each if each.isprintable() else " " if each.isspace() else "\ufffd" for each in text)
    return text.strip()


def fold(words: list[str], *, space: str = " ") -> str:
    """Words as lines of a header field, at most 78 characters if the words allow, folded before `space`.

    Readers take out the CRLF alone (RFC 5322 section 2.2.3): a tab would be part of a subject. A word that would make a
    line longer than 998 octets (RFC 5322 section 2.1.1) is cut in pieces. Empty words are left out.
    """
    whole = " ".join(words)
    if len(whole) <= _WIDTH and "  " not in whole:
        return whole
    line, *others = words
    lines = []
    for word in others:
        most = _WORD if word.isascii() else _WORD // 4  # UTF-8 takes four octets for a character at most
        for at in range(0, len(word), most):
            piece = word[at : at + most]
            if len(line) + 1 + len(piece) <= _WIDTH:
                line += " " + piece
            else:
                lines.append(line)
                line = space + piece
    return "\r\n".join([*lines, line])


def encoded_words(text: str) -> str:
    """Unstructured text in US-ASCII: as it is if it is that, else in encoded words of at most 75 (RFC 2047)."""
    if text.isascii():
        return text
    pieces = [text[at : at + 11].encode() for at in range(0, len(text), 11)]  # 44 octets make 60 of base64 at most
    return " ".join(f"=?utf-8?B?{base64.b64encode(piece).decode()}?=" for piece in pieces)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _replaced(match: re.Match[str]) -> str:
    return " " if match[0].isspace() else "?"
