"""Ids, content, words of a search and hidden organizations, for the use cases of queue, quarantine and trace.

`evidence_log` adds to that log what an administrator did to mail, and drills. The chain is that of the writer "admin";
the gateway signs it within a minute.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from gatepost.manage.use_cases.declaration import Cli
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, StoreUnreadable, wrong_field
from gatepost.policy.decisions.withheld import Hidden
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.context import Gateway
    from gatepost.settings.model import Settings
    from gatepost.store.evidence_log import ChainWriter


_HEADER = 64 * 1024

type QueueId = Annotated[
    str,
    Meta(
        description="Queue id.",
        pattern="^[0-7][0-9A-Fa-f]{15}$",
        extra={"form": N_("must be a queue id: 16 hexadecimal digits, the first below 8")},
    ),
    Cli(argument=True, metavar="ID"),
]


@contextmanager
def reading_content() -> Iterator[None]:
    """Around reading chunks. Raises Refusal: INPUT for what is no queue id, MISSING if it is gone, UNREADABLE."""
    try:
        yield
    except ValueError as error:
        raise Refusal(RefusalKind.INPUT, str(error)) from error
    except LookupError as gone:
        raise Refusal(RefusalKind.MISSING, str(gone)) from gone
    except StoreFailure as failure:
        raise StoreUnreadable(str(failure)) from failure


def header_text(chunks: Iterable[bytes]) -> str:
    """The header section of a message, as far as 64 KiB go; lines end with LF. Reads no more chunks than it needs."""
    content = b""
    for chunk in chunks:
        content += chunk
        if b"\r\n\r\n" in content or len(content) > _HEADER:
            break
    header = content.partition(b"\r\n\r\n")[0][:_HEADER]
    return header.decode("utf-8", "replace").replace("\r\n", "\n")


def first_ids(ids: Sequence[str]) -> str:
    """The first three of several queue ids, and how many more there are: the subject of an audit event."""
    return ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")


MAX_TEXT: Final = 200
"""Characters of a text whose parts are looked for, at most."""
_MOST: Final = 10
_WORD: Final = re.compile(r'"[^"]+"|\S+')

type Words = Annotated[
    str,
    Meta(
        max_length=MAX_TEXT,
        description="Only mail with all of these words in sender, recipient, subject or Message-ID; * is any text.",
    ),
    Cli(metavar="WORDS"),
]


def words_of(text: str) -> list[str]:
    """The words of a search; what is in quotation marks is one. Raises Refusal (INPUT) for more than ten."""
    words = [word.strip('"') for word in _WORD.findall(text)]
    if len(words) > _MOST:
        raise wrong_field("words", f"has more than {_MOST} words", "These are too many words for a search.")
    return words


def hidden_from(gateway: Gateway, principal: Principal) -> Hidden:
    """Raises Refusal (UNREADABLE) if the resources cannot be read: then nobody knows what must not be shown."""
    organizations = gateway.directory().resources.organizations
    return Hidden(
        frozenset(organization.name for organization in organizations if not principal.sees(organization.name)),
        frozenset(
            each.trust_anchors
            for organization in organizations
            if principal.sees(organization.name)
            for each in organization.inbound_connectors
        ),
    )


def evidence_log(settings: Settings) -> Callable[[Sequence[TraceEvent]], None]:
    """Adds events to the log, durably; does nothing where none is kept. What it returns raises StoreFailure."""

    @cache
    def chain() -> ChainWriter:
        log = Storage.of(settings).evidence()
        return log.admin_chain(privacy=settings.evidence.privacy())

    def add(events: Sequence[TraceEvent]) -> None:
        if settings.evidence.enabled and events:
            chain().append(events, time.time())

    return add
