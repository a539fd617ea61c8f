"""The domains of a message's authors, from its From field (RFC 5322 sections 3.4 and 3.6.2).

Used by `policy.decisions.signing`. Reads address lists as people and programs write them, with names, comments, groups,
routes and folds; what is not certainly an address list is not guessed at.
"""

from __future__ import annotations

import re
from typing import Final

from gatepost.protocols.smtp.grammar import GrammarError, parse_domain

_MOST: Final = 8192  # characters of the field

_DEPTH: Final = {"(": 1, ")": -1}
_QUOTED: Final = r'"(?:[^"\\]|\\.)*+"'
_STRING: Final = re.compile(_QUOTED, re.DOTALL)
_PIECE: Final = re.compile(rf'{_QUOTED}|<(?:{_QUOTED}|[^<>"])*+>|[,;:]|[^",;:<>]++|.', re.DOTALL)
_LOCAL_PART: Final = re.compile(rf"{_QUOTED}|[^\s@\"]+", re.DOTALL)
_ROUTE: Final = re.compile(r"\s*@[^:<>\"]*:")


def author_domains(value: str) -> tuple[str, ...] | None:
    """The domains of the addresses in the value of a From field, each once, in lower-case A-labels, literals as well.

    () if there is no address in it, as in an empty group; None if it cannot be told.
    """
    text = _without_comments(value) if len(value) <= _MOST else None
    mailboxes = _mailboxes(text) if text is not None else None
    if mailboxes is None:
        return None
    found: dict[str, None] = {}
    for mailbox in mailboxes:
        domain = _domain(mailbox)
        if domain is None:
            return None
        found[domain] = None
    return tuple(found)


def _without_comments(text: str) -> str | None:
    """Text with a blank for each comment; None if a comment or a quoted string is not closed."""
    kept: list[str] = []
    at, depth = 0, 0
    while at < len(text):
        piece = text[at]
        if piece == "\\":
            piece = text[at : at + 2]
        elif piece == '"' and not depth:
            quoted = _STRING.match(text, at)
            if quoted is None:
                return None
            piece = quoted[0]
        at += len(piece)
        before, depth = depth, depth + _DEPTH.get(piece, 0)
        if depth < 0:
            return None
        if not depth:
            kept.append(" " if before else piece)
    return None if depth else "".join(kept)


def _mailboxes(text: str) -> list[str] | None:
    """Each mailbox of a list as it stands there: "Ann <ann@b.example>". The names of groups are left out."""
    mailboxes = [""]
    in_group = False
    for match in _PIECE.finditer(text):
        piece = match[0]
        if piece == ":" and not in_group:
            mailboxes[-1], in_group = "", True
        elif piece == "," or (piece == ";" and in_group):
            mailboxes.append("")
            in_group = in_group and piece == ","
        elif piece in {":", ";", "<", ">", '"'}:
            return None
        else:
            mailboxes[-1] += piece
    return None if in_group else [candidate for candidate in mailboxes if candidate.strip()]


def _domain(mailbox: str) -> str | None:
    """The domain of one mailbox, None if that is none."""
    address, angles = mailbox, [match[0] for match in _PIECE.finditer(mailbox) if match[0].startswith("<")]
    if angles:
        if len(angles) > 1 or not mailbox.rstrip().endswith(angles[0]):
            return None
        address = _ROUTE.sub("", angles[0][1:-1], count=1)
    local_part, _, domain = address.rpartition("@")
    if not _LOCAL_PART.fullmatch(local_part.strip()):
        return None
    try:
        return parse_domain("".join(domain.split()))
    except GrammarError:
        return None
