"""Mark texts that pages translate where they show them, as gettext's tools find them; write names into commands. Pure.

The text stays as it is: commands, REST, logs and stored records are in English. `gatepost.language` translates.
"""

from __future__ import annotations

import shlex


def N_(text: str, /) -> str:  # noqa: N802 - gettext's own name for it
    """Mark a text; `_(text)` translates it."""
    return text


def NP_(context: str, text: str, /) -> tuple[str, str]:  # noqa: N802 - as N_
    """Mark a text that has a context of its own; `pgettext(*pair)` translates it."""
    return context, text


def NN_(one: str, many: str, /) -> tuple[str, str]:  # noqa: N802 - as N_
    """Mark both forms of a text for a number; `ngettext(*forms, number)` translates them."""
    return one, many


def own(text: str, /) -> str:
    """Mark a value of a sentence that is a sentence of ours by itself: pages translate it, too."""
    return text


def last_argument(name: str) -> str:
    """A name at the end of a command to be copied: one word for a POSIX shell, and no option, whatever is in it."""
    return shlex.join(("--", name) if name.startswith("-") else (name,))
