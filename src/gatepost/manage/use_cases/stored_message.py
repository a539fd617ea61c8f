"""Stored messages by their queue ids, as `queue` and `quarantine` name them and show what they hold."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from gatepost.manage.use_cases.declaration import Cli
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, StoreUnreadable
from gatepost.store.interface import StoreFailure
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


_HEADER = 64 * 1024

type QueueId = Annotated[
    str,
    Meta(
        description="Queue id.",
        pattern="^[0-7][0-9A-Fa-f]{15}$",
        extra={"form": N_("is not a queue id: 16 hexadecimal digits, the first below 8")},
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
