"""The entry of a reply: when it is given, why, and what to do about it. Values without any behaviour. Pure.

Declared in the other modules of this package, put together by `analysis.replies.catalogue`.
"""

from __future__ import annotations

import msgspec


class ReplyEntry(msgspec.Struct, frozen=True):
    """A reply, or one that stands for several with the same cause and cure.

    codes: the code and, where there is one, the enhanced status code ("550 5.7.64"); "4xx" and "x.y.z" where another
    server chose them. texts: as they are given, with "…" for what differs each time. cause, cure: sentences.
    """

    codes: str
    texts: tuple[str, ...]
    cause: str
    cure: str

    @property
    def delivers(self) -> bool:
        """Whether it says that a command was carried out or may go on."""
        return self.codes[0] in "23"


def entry(codes: str, *texts: str, cause: str, cure: str) -> ReplyEntry:
    """Make an entry of several texts."""
    return ReplyEntry(codes, texts, cause, cure)
