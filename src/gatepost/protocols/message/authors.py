"""The addresses in a From, To or Cc field, and the domains of a message's authors (RFC 5322 sections 3.4 and 3.6).

Used by `policy.decisions.signing` and `mail.outbound.smime`. Reads address lists as people and programs write them,
with names, comments, groups, routes and folds; what is not certainly an address list is not guessed at.
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
    listed = addresses(value)
    return None if listed is None else tuple(dict.fromkeys(address.rpartition("@")[2] for address in listed))


def addresses(value: str, most: int = _MOST) -> tuple[str, ...] | None:
    """The addresses in the value of a field, as it stands there: encoded words decoded could look like others.

    Their domains are as `author_domains` has them, which says when there are none; most: characters of a value that are
    read. In time that grows with them alone.
    """
    text = _without_comments(value) if len(value) <= most else None
    mailboxes = _mailboxes(text) if text is not None else None
    if mailboxes is None:
        return None
    listed = tuple(address for mailbox in mailboxes if (address := _address(mailbox)))
    return listed if len(listed) == len(mailboxes) else None


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
    mailboxes: list[list[str]] = [[]]
    in_group = False
    for match in _PIECE.finditer(text):
        piece = match[0]
        if piece == ":" and not in_group:
            mailboxes[-1], in_group = [], True
        elif piece == "," or (piece == ";" and in_group):
            mailboxes.append([])
            in_group = in_group and piece == ","
        elif piece in {":", ";", "<", ">", '"'}:
            return None
        else:
            mailboxes[-1].append(piece)
    return None if in_group else [candidate for candidate in map("".join, mailboxes) if candidate.strip()]


def _address(mailbox: str) -> str:
    """The address of one mailbox, "" if that is none."""
    address, angles = mailbox, [match[0] for match in _PIECE.finditer(mailbox) if match[0].startswith("<")]
    if angles:
        if len(angles) > 1 or not mailbox.rstrip().endswith(angles[0]):
            return ""
        address = angles[0][1:-1]
        if route := _ROUTE.match(address):
            address = address[route.end() :]
    local_part, _, domain = address.rpartition("@")
    local_part = local_part.strip()
    if not _LOCAL_PART.fullmatch(local_part):
        return ""
    try:
        return f"{local_part}@{parse_domain(''.join(domain.split()))}"
    except GrammarError:
        return ""
