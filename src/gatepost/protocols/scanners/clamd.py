"""The INSTREAM command of clamd (clamd(8)): a message in pieces, and the one line that answers it.

Spoken by `net.lookups.clamd`; bytes in, values out. It never waits and never joins a message.
"""

from __future__ import annotations

from typing import Final

from gatepost.protocols.scanners.finding import ScanAction, ScanFinding, UnusableAnswer, printable

BEGIN: Final = b"zINSTREAM\0"
END: Final = b"\0\0\0\0"
ANSWER_OCTETS: Final = 4096
"""More than clamd ever answers; whatever says more is not clamd."""

_FOUND: Final = " FOUND"
_STREAM: Final = "stream: "
_LENGTH_OCTETS: Final = 4


def piece(chunk: bytes) -> bytes:
    """The length that goes before a chunk. chunk: 1 to 2**32-1 octets: none at all would be the end."""
    return len(chunk).to_bytes(_LENGTH_OCTETS, "big")


def read_answer(answer: bytes) -> ScanFinding:
    """Parse clamd's answer. answer: up to and without the NUL octet. Raises UnusableAnswer."""
    try:
        text = answer.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise UnusableAnswer("the answer is not UTF-8") from None
    if text == f"{_STREAM}OK":
        return ScanFinding(ScanAction.NO_ACTION)
    if text.startswith(_STREAM) and text.endswith(_FOUND):
        return ScanFinding(ScanAction.REJECT, signature=printable(text[len(_STREAM) : -len(_FOUND)]) or "unnamed")
    if text.startswith("INSTREAM size limit exceeded"):
        raise UnusableAnswer("the message is larger than clamd's StreamMaxLength")
    raise UnusableAnswer(f"clamd answered {printable(text)!r}")
