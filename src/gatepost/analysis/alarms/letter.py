"""The alarm mail to the owner of a gateway (RFC 5322, RFC 3834). Pure.

Called by `node.alarms`, which queues it with the null reverse-path. The same values always make the same bytes; every
line ends in CRLF, and no text from outside opens another field or line.
"""

from __future__ import annotations

import binascii
import textwrap
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.analysis.alarms.alarm import Severity
from gatepost.protocols.message.header_text import ascii_text, fold, format_date, host_text, shown_text
from gatepost.times import minute_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.analysis.alarms.alarm import Alarm


_WIDTH: Final = 72
_SHOWN: Final = 40  # alarms in full; the command shows them all
_PLURALS: Final = {Severity.CRITICAL: "critical", Severity.ERROR: "errors", Severity.WARNING: "warnings"}


class Letter(msgspec.Struct, frozen=True):
    """The content of an alarm mail. standing: active alarms, most severe first. fresh: keys of those not mailed yet.

    cleared: alarms that are over. hostname: ours. to: addresses. now: seconds since 1970. message_id: without angle
    brackets.
    """

    hostname: str
    to: tuple[str, ...]
    message_id: str
    now: float
    standing: tuple[Alarm, ...]
    fresh: frozenset[str]
    cleared: tuple[Alarm, ...]


def subject_of(letter: Letter) -> str:
    """The subject of the mail: how many alarms, how severe, and the title of the most severe."""
    if not letter.standing:
        return f"[gatepost {letter.hostname}] all clear again"
    counts = [
        (word, sum(alarm.severity is severity for alarm in letter.standing)) for severity, word in _PLURALS.items()
    ]
    shown = ", ".join(f"{count} {word if count != 1 else word.removesuffix('s')}" for word, count in counts if count)
    first = next((alarm for alarm in letter.standing if alarm.key in letter.fresh), letter.standing[0])
    return f"[gatepost {letter.hostname}] {shown}: {first.title}"


def build_letter(letter: Letter) -> bytes:
    """The whole message. Its text is US-ASCII, or UTF-8 as quoted-printable where a certificate's name asks for it."""
    text = "".join(f"{line}\r\n" for line in _lines(letter))
    host = host_text(letter.hostname)
    fields = [
        ("From", f"gatepost <postmaster@{host}>"),
        ("To", ", ".join(f"<{ascii_text(address, 400)}>" for address in letter.to)),
        ("Subject", ascii_text(subject_of(letter), 200)),
        ("Date", format_date(letter.now)),
        ("Message-ID", f"<{letter.message_id}>"),
        ("Auto-Submitted", "auto-generated"),
        ("MIME-Version", "1.0"),
        ("Content-Type", f"text/plain; charset={'us-ascii' if text.isascii() else 'utf-8'}"),
        ("Content-Transfer-Encoding", "7bit" if text.isascii() else "quoted-printable"),
    ]
    head = "".join(f"{fold([f'{name}:', *value.split()])}\r\n" for name, value in fields)
    body = text.encode() if text.isascii() else binascii.b2a_qp(text.encode(), istext=True)
    return head.encode("ascii", "replace") + b"\r\n" + body


def _lines(letter: Letter) -> Iterator[str]:
    yield from _wrapped(
        f"This is the mail gateway {letter.hostname}. It looks after its mail and its TLS certificates, and tells you:"
    )
    new = [alarm for alarm in letter.standing if alarm.key in letter.fresh]
    old = [alarm for alarm in letter.standing if alarm.key not in letter.fresh]
    for title, some in (("NEW", new), ("STILL SO", old)):
        if some:
            yield from ("", title)
            yield from _account(some)
    if letter.cleared:
        yield from ("", "OVER")
        for alarm in letter.cleared[:_SHOWN]:
            yield from _wrapped(alarm.title, "  ")
    yield from ("", *_wrapped("`gatepost alarms` shows the active alarms."))
    yield from _wrapped("There is one such mail a day at most, beside those at once when something critical happens.")


def _account(alarms: Sequence[Alarm]) -> Iterator[str]:
    for alarm in alarms[:_SHOWN]:
        yield ""
        yield from _wrapped(f"{str(alarm.severity).upper()}: {alarm.title}", "  ")
        yield from _wrapped(alarm.detail, "  ")
        yield from _wrapped(f"What to do: {alarm.fix}", "  ")
        yield from (f"    {piece}" for line in alarm.lines for piece in _cut(shown_text(line, 2000)))
        yield f"  Since {minute_text(alarm.since)}"
    if len(alarms) > _SHOWN:
        yield from ("", f"  and {len(alarms) - _SHOWN} more")


def _wrapped(text: str, indent: str = "") -> list[str]:
    """Lines of a paragraph; a long word such as a record for the zone stays whole."""
    wrapped = textwrap.wrap(
        shown_text(text, 2000),
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [piece for line in wrapped for piece in _cut(line)]


def _cut(line: str) -> list[str]:
    """At most 900 octets a line (RFC 5322 section 2.1.1: 998)."""
    return [line[at : at + 225] for at in range(0, len(line), 225)] if len(line) > 225 else [line]
