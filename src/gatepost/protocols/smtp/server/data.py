"""Read message content as it arrives: DATA (RFC 5321 section 4.5.2) and BDAT (RFC 3030), in chunks of any size.

Driven by `protocols.smtp.server.server`, one reader per message. Content is checked and passed on, never kept and never
mended: what a later hop could read as another end of data (a bare CR or LF, the root of SMTP smuggling) refuses the
whole message. All work is done by methods of bytes on whole chunks, none by line or by octet.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from gatepost.protocols.smtp.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.protocols.smtp.limits import SmtpLimits


_CRLF: Final = b"\r\n"
_CR, _LF = _CRLF  # as numbers, which `in` finds several times as fast
_END: Final = b"\r\n.\r\n"
_STUFFED: Final = b"\r\n."
_LONG: Final = 8192  # octets in which lines of one length are worth looking for
# How an end of data, or a stuffed dot, may begin at the end of what has arrived; the longest first.
_BEGINNINGS: Final = tuple(_END[:length] for length in range(len(_END) - 1, 0, -1))


class ContentFault(StrEnum):
    """Why content is refused."""

    TOO_BIG = "too-big"
    BARE_LINE_END = "bare-line-end"
    NUL = "nul"
    LINE_TOO_LONG = "line-too-long"
    TOO_MANY_CHUNKS = "too-many-chunks"


FAULT_REPLIES: Final[Mapping[ContentFault, Reply]] = {
    ContentFault.TOO_BIG: Reply(552, "5.3.4", ("Message is larger than the announced SIZE",)),
    ContentFault.BARE_LINE_END: Reply(554, "5.6.0", ("Message contains a bare CR or LF; lines must end in CRLF",)),
    ContentFault.NUL: Reply(554, "5.6.0", ("Message contains a NUL octet",)),
    ContentFault.LINE_TOO_LONG: Reply(554, "5.6.0", ("Message contains a line longer than is allowed here",)),
    ContentFault.TOO_MANY_CHUNKS: Reply(554, "5.5.0", ("Message is sent in too many chunks",)),
}


def has_bare_line_end(content: bytes, *, after_cr: bool = False) -> bool:
    """Whether content has a CR without LF after it, or an LF without CR before it (RFC 5321 section 2.3.8).

    after_cr: the octet before content is a CR. A CR as the last octet is not judged: its LF may follow.
    """
    if after_cr:
        content = b"\r" + content
    if content.endswith(b"\r"):
        content = content[:-1]
    if len(content) >= _LONG:
        content = _before_even_lines(content)
    # As long as what it replaces: that is found in one pass.
    unpaired = content.replace(_CRLF, b"  ")
    return _LF in unpaired or _CR in unpaired


def _before_even_lines(content: bytes) -> bytes:
    """What is left to be searched for bare line ends: all before lines of one length, as those of base64.

    Their ends are looked at where they must be, and nothing else in them may be a CR or LF.
    """
    last = content.rfind(_CRLF)
    length = last - content.rfind(_CRLF, 0, max(last, 0))
    if length <= len(_CRLF) or not content.startswith(_CRLF, max(last - 2 * length, 0)):
        return content
    ends = content[last % length : last + 1 : length]
    lines = len(ends) - len(ends.rstrip(b"\r"))  # with such an end, one after the other up to the last
    start = last - (lines - 1) * length
    text, behind = bytearray(memoryview(content)[start:]), last - start + len(_CRLF)
    if text[1:behind:length] != b"\n" * lines:
        return content
    text[:behind:length] = text[1:behind:length] = bytes(lines)
    return content if _LF in text or _CR in text else content[:start]


def _first_dot(data: bytes) -> int:
    """Where the first line that begins with a dot does, from the CRLF before it; -1 without any."""
    dot = data.find(b".")  # many times as fast as to look for three octets, and base64 has none
    return dot if dot < 0 else data.find(_STUFFED, max(dot - len(_CRLF), 0))


class ContentReader(ABC):
    """Takes octets up to where the content ends.

    finished: the end was found; rest: the octets after it. last: nothing of the message follows that end. fault: why
    the message is refused, None while nothing speaks against it; after it nothing is passed on, but input is still read
    up to its end. size: octets passed on so far.
    """

    __slots__ = ("fault", "finished", "last", "rest", "size")

    def __init__(self) -> None:
        self.fault: ContentFault | None = None
        self.finished = False
        self.last = True
        self.rest = b""
        self.size = 0

    @abstractmethod
    def feed(self, data: bytes) -> bytes:
        """Take the octets that arrived; returns the content that is certain so far. Not to be called once finished."""


class _CheckedReader(ContentReader):
    """The count and the checks that DATA and BDAT have in common."""

    __slots__ = ("_after_cr", "_binary", "_line", "_line_limit", "_size_limit")

    def __init__(self, limits: SmtpLimits, *, binary: bool = False) -> None:
        """binary: BODY=BINARYMIME, where lines mean nothing and every octet is allowed."""
        super().__init__()
        self._size_limit = limits.message_bytes
        self._line_limit = limits.text_line
        self._binary = binary
        self._after_cr = False
        self._line = 0  # octets of the line that is not complete yet

    def _pass(self, content: bytes) -> bytes:
        """The content if nothing speaks against it, else nothing, now and later."""
        if self.fault is None:
            self.fault = self._judge(content)
            if self.fault is None:
                self.size += len(content)
                if content and not self._binary:
                    self._remember(content)
                return content
            self.fault = self._first_fault(content)
        return b""

    def _judge(self, content: bytes) -> ContentFault | None:
        """What speaks against content, after what was passed on before."""
        if self.size + len(content) > self._size_limit:
            return ContentFault.TOO_BIG
        if self._binary:
            return None
        if has_bare_line_end(content, after_cr=self._after_cr):
            return ContentFault.BARE_LINE_END
        if 0 in content:
            return ContentFault.NUL
        if self._line_limit and self._line_too_long(content):
            return ContentFault.LINE_TOO_LONG
        return None

    def _first_fault(self, content: bytes) -> ContentFault | None:
        """What goes wrong first in content that is wrong: the answer must not depend on how the octets arrived.

        The shortest beginning that is wrong is looked for by halves, as whatever goes on from it is wrong too.
        """
        right, wrong = 0, len(content)
        while wrong - right > 1:
            middle = (right + wrong) // 2
            if self._judge(content[:middle]) is None:
                right = middle
            else:
                wrong = middle
        return self._judge(content[:wrong])

    def _remember(self, content: bytes) -> None:
        """How the text ends, for the judgement of what follows."""
        self._after_cr = content.endswith(b"\r")
        if self._line_limit:
            last = content.rfind(b"\n")
            self._line = len(content) - last - 1 if last >= 0 else self._line + len(content)

    def _line_too_long(self, content: bytes) -> bool:
        """Whether a line, with its CRLF, passes the limit. Steps from limit to limit, not from line to line."""
        start = -self._line  # where the line began, perhaps before this chunk
        while start + self._line_limit <= len(content):
            end = content.rfind(b"\n", max(start, 0), start + self._line_limit)
            if end < 0:
                return True
            start = end + 1
        return False


class DataReader(_CheckedReader):
    """The content of DATA: ends at CRLF "." CRLF and nowhere else, dots unstuffed. What it gives ends in CRLF."""

    __slots__ = ("_held", "_virtual")

    def __init__(self, limits: SmtpLimits) -> None:
        super().__init__(limits)
        # The CRLF of the DATA command counts: a dot right after it is at the start of a line. It is not content.
        self._held = _CRLF
        self._virtual = len(_CRLF)

    def feed(self, data: bytes) -> bytes:
        """See `ContentReader`; up to four octets are held back from one call to the next."""
        if self._virtual and self._held == _CRLF and data and not data.startswith(b"."):
            self._held, self._virtual = b"", 0  # as most begin: all of it need not be copied behind that CRLF
        data = self._held + data
        dot = _first_dot(data)
        end = dot if dot < 0 or data.startswith(_END, dot) else data.find(_END, dot)
        if end >= 0:
            content = data[: end + len(_CRLF)]
            self.rest = data[end + len(_END) :]
            self.finished = True
        else:
            # Hold back what may be the start of the end: at most four octets.
            held = next((beginning for beginning in _BEGINNINGS if data.endswith(beginning)), b"")
            content = data[: len(data) - len(held)]
            self._held = held
        if dot != end:  # there is another one before the end
            content = content.replace(_STUFFED, _CRLF)
        if self._virtual and content:
            content, self._virtual = content[self._virtual :], 0
        return self._pass(content)


class ChunkReader(_CheckedReader):
    """The content of BDAT: as many octets as each command says, whatever they are.

    In a text body (not BINARYMIME) a bare CR or LF is refused as in DATA, because the next hop may be sent DATA; a CRLF
    may be cut by chunks. It need not end in CRLF.
    """

    __slots__ = ("_chunks", "_chunks_limit", "_left")

    def __init__(self, limits: SmtpLimits, *, binary: bool = False) -> None:
        super().__init__(limits, binary=binary)
        self._chunks = 0
        self._chunks_limit = limits.bdat_chunks
        self._left = 0

    def begin(self, octets: int, *, last: bool) -> None:
        """A BDAT command announced the next chunk. Too big a message is a fault before any octet of it is read."""
        self._chunks += 1
        self._left = octets
        self.last = last
        self.finished = False
        if self.fault is None and self._chunks > self._chunks_limit:
            self.fault = ContentFault.TOO_MANY_CHUNKS
        elif self.fault is None and self.size + octets > self._size_limit:
            self.fault = ContentFault.TOO_BIG

    def feed(self, data: bytes) -> bytes:
        """See `ContentReader`; b"" finishes a chunk of no octets."""
        content = data[: self._left]
        self._left -= len(content)
        passed = self._pass(content)
        if not self._left:
            self.finished = True
            self.rest = data[len(content) :]
            if self.last and self.fault is None and self._after_cr:
                self.fault = ContentFault.BARE_LINE_END
                return b""
        return passed


class RefusedChunk(ContentReader):
    """The octets behind a BDAT command that was refused: read over (RFC 3030 section 2), never taken for commands."""

    __slots__ = ("_left",)

    def __init__(self, octets: int) -> None:
        super().__init__()
        self._left = octets

    def feed(self, data: bytes) -> bytes:
        """See `ContentReader`; passes nothing on."""
        over = data[self._left :]
        self._left -= len(data) - len(over)
        if not self._left:
            self.finished = True
            self.rest = over
        return b""
