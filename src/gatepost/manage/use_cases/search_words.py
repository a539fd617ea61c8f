"""Words of a search, each of which is a part of a name or a subject: of the message trace and of the queue. Pure."""

from __future__ import annotations

import re
from typing import Annotated, Final

from msgspec import Meta

from gatepost.manage.use_cases.declaration import Cli
from gatepost.manage.use_cases.refusal import wrong_field

MAX_TEXT: Final = 200
"""Characters of a text whose parts are looked for, at most."""
_MOST: Final = 10
_WORD: Final = re.compile(r'"[^"]+"|\S+')

type Words = Annotated[
    str,
    Meta(
        max_length=MAX_TEXT,
        description="Words, each of which is a part of sender, recipient, subject or Message-ID; * is any text.",
    ),
    Cli(metavar="WORDS"),
]


def words_of(text: str) -> list[str]:
    """The words of a search; what is in quotation marks is one. Raises Refusal (INPUT) for more than ten."""
    words = [word.strip('"') for word in _WORD.findall(text)]
    if len(words) > _MOST:
        raise wrong_field("words", f"has more than {_MOST} words", "These are too many words for a search.")
    return words
