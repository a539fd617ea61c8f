"""All replies of the gateway in one list, and the page of the documents that shows them. Pure.

Called by `scripts/docs.py`. A test compares the list with every reply that the source makes.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from gatepost.analysis.replies import decisions, deliveries, session
from gatepost.analysis.replies.entry import entry
from gatepost.analysis.replies.reasons import CHAINS, DISPOSITIONS, POLICIES, RESULT_TYPES
from gatepost.analysis.replies.requirements import TITLES, WORDS
from gatepost.protocols.message.next_step import failed_step

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gatepost.analysis.replies.entry import ReplyEntry

ENTRIES: Final[tuple[ReplyEntry, ...]] = tuple(chain(*session.TABLES, *decisions.TABLES, *deliveries.TABLES))

_HEAD: Final = """\
# Reply codes and reasons

Every reply that the gateway gives to clients, and every reply and reason that it records of a delivery, with its cause
and cure. Generated from the code; a test fails when one is missing.

A reply of the gateway ends with the id of the session, by which `gatepost trace search --session ID` finds it. "…"
stands for what differs each time. Codes of class 4 mean *later*, those of class 5 *never like this*. A delivery that
expires turns a deferral into the same code of class 5: look up 5.7.320 as 4.7.320.
"""
_REQUIREMENTS: Final = """\
## TLS requirements that were not met

Such a deferral reads `450 4.7.320 Certificate validation failed [Message=SubjectMismatch Expected …: …]
[LastAttemptedServerName=mx.partner.example] [LastAttemptedIP=…]`: the status says what kind of requirement, the word
after `Message=` what was missing, and the detail what was expected and presented. The message waits and is never sent
below the requirement. A message with REQUIRETLS is returned at once instead, as 550 5.7.10 with the same words.
"""
_TABLES: Final = (
    ("Results of TLS (RFC 8460)", "`result_type` in the trace, `result` in the log, and in TLS reports.", RESULT_TYPES),
    ("Results of a certificate chain", "`chain` in the trace, and in the texts of refusals.", CHAINS),
    ("MTA-STS policies that cannot be used", "In the trace and in `gatepost check partner`.", POLICIES),
    ("Results of a delivery", "Of each recipient, after each attempt.", DISPOSITIONS),
)


def markdown() -> str:
    """The page docs/reply-codes.md."""
    return "\n".join(chain([_HEAD], _replies(), _requirements(), *(_reasons(*table) for table in _TABLES)))


def _replies() -> Iterator[str]:
    unmet = [_of_status(status, title) for status, title in TITLES.items()]
    groups = (
        ("Refused (5xx)", [reply for reply in (*ENTRIES, *unmet) if reply.codes[0] == "5"]),
        ("Try again later (4xx)", [reply for reply in (*ENTRIES, *unmet) if reply.codes[0] == "4"]),
        ("Accepted (2xx and 3xx)", [reply for reply in ENTRIES if reply.delivers]),
        ("With the codes of something else", [reply for reply in ENTRIES if reply.codes[0] == "…"]),
    )
    for heading, entries in groups:
        yield f"## {heading}\n"
        for codes in sorted({reply.codes for reply in entries}, key=_order):
            yield f"### {codes}\n"
            yield from _table("text", [_row(reply) for reply in entries if reply.codes == codes])


def _of_status(status: str, title: str) -> ReplyEntry:
    """The entry of a TLS requirement's status, which leads to its words."""
    words = ", ".join(f"`{word}`" for word, (statuses, _) in WORDS.items() if status in statuses)
    cure = "[The word says what to do](#tls-requirements-that-were-not-met)."
    return entry(_codes(status), f"{title} [Message=…]", cause=f"A TLS requirement was not met: {words}.", cure=cure)


def _order(codes: str) -> tuple[str, list[int]]:
    """By code, then by the numbers of the status."""
    code, _, status = codes.partition(" ")
    return code, [int(part) if part.isdigit() else -1 for part in status.split(".")]


def _row(reply: ReplyEntry) -> tuple[str, str, str]:
    return " or ".join(f"`{text}`" for text in reply.texts), reply.cause, reply.cure


def _requirements() -> Iterator[str]:
    yield _REQUIREMENTS
    yield "| word | statuses | cause | cure |\n|---|---|---|---|"
    for word, (statuses, cause) in WORDS.items():
        yield f"| `{word}` | {', '.join(statuses)} | {cause} | {_cure(word, statuses[0])} |"
    yield ""


def _codes(status: str) -> str:
    return f"{'550' if status.startswith('5') else '450'} {status}"


def _cure(word: str, status: str) -> str:
    """The next step that pages and notices say, of a server that is not named."""
    reply = f"{_codes(status)} [Message={word} …]"
    return failed_step("the recipient's domain", reply).text.partition("; this message failed")[0] + "."


def _reasons(heading: str, where: str, table: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    yield f"## {heading}\n\n{where}\n"
    yield from _table("reason", [(f"`{code}`", cause, cure) for code, (cause, cure) in table.items()])


def _table(first: str, rows: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    yield f"| {first} | cause | cure |\n|---|---|---|"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""
