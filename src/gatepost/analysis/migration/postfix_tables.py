"""Read Postfix's lists and lookup tables from their source text.

Used by `analysis.migration.postfix_config` and `analysis.migration.postfix`. An indexed table (hash:, lmdb:, ...) is
made by postmap of a text file of the same name: that text is read, never the index. What only a server or a program can
answer (ldap:, mysql:, pcre:, ...) is not read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


_TEXT_TYPES = frozenset({"hash", "btree", "lmdb", "cdb", "dbm", "sdbm", "texthash", "cidr"})
_TYPED = re.compile(r"(proxy:)?([a-z0-9_]+):(.*)", re.DOTALL)
LDAP = re.compile(r"(proxy:)?ldap:(\S+)")
"""A directory as a table: its file, or the obsolete name of its parameters in main.cf."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a table or list. key: in lower case. where: file and line, or the parameter."""

    key: str
    value: str
    where: str


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """(number, line) of each logical line: a blank in front continues the line before, comments do not end it."""
    start, gathered = 0, ""
    for number, line in enumerate(re.split(r"\r?\n", text), 1):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        if line[0] in " \t" and gathered:
            gathered = f"{gathered} {bare}"
            continue
        if gathered:
            yield start, gathered
        start, gathered = number, bare
    if gathered:
        yield start, gathered


def references(text: str) -> list[str]:
    """The entries of a list in main.cf; commas and blanks part them, but not within braces."""
    result: list[str] = []
    level, start = 0, 0
    for place, char in enumerate(f"{text} "):
        level += (char == "{") - (char == "}")
        if level <= 0 and char in ", \t":
            if place > start:
                result.append(text[start:place])
            start = place + 1
    if text[start:].strip():  # a brace that nothing closes
        result.append(text[start:].strip())
    return result


def source_file(reference: str) -> str:
    """The text file behind an entry of a list: "/file" or "type:/file" of a type that is read; else ""."""
    bare = reference.removeprefix("!")
    if bare.startswith("/"):
        return bare
    typed = _TYPED.fullmatch(bare)
    return typed[3] if typed and typed[2] in _TEXT_TYPES else ""


def directory_file(reference: str) -> str:
    """The file with the parameters of a directory that is asked ("ldap:/file"), "" for any other entry of a list."""
    match = LDAP.fullmatch(reference)
    return match[2] if match and match[2].startswith(("/", ".")) else ""


def table(reference: str, files: Mapping[str, tuple[str | None, str]], where: str) -> list[Entry] | str:
    """The entries of a table or of a list in a file, in their order; or why they cannot be had.

    files: path -> (its text, or None and why it was not read). where: for entries that stand in main.cf itself.
    """
    bare = reference.removeprefix("!")
    typed = _TYPED.fullmatch(bare)
    if typed and typed[2] == "inline":
        return list(_inline(typed[3], where))
    if typed and typed[2] == "static":
        return f"{reference} gives every name the same answer, and names none"
    path = source_file(reference)
    if not path:
        return f"{reference} is answered by a server, a program or patterns, whose entries cannot be listed"
    text, why = files.get(path, (None, f"{path} was not read"))
    if text is None:
        return why
    return list(_lines(text, path, is_list=not typed))


def _lines(text: str, path: str, *, is_list: bool) -> Iterator[Entry]:
    """The entries of a file. is_list: a file that a list names by its path, with nothing but keys in it."""
    for number, line in logical_lines(text):
        where = f"{path}, line {number}"
        if is_list:
            yield from (Entry(key.lower(), "", where) for key in references(line))
        else:
            key, _, value = line.replace("\t", " ").partition(" ")
            yield Entry(key.strip('"').lower(), value.strip(), where)


def _inline(text: str, where: str) -> Iterator[Entry]:
    """The entries of "{ key=value, {key = a long value} }"."""
    for reference in references(text.strip().removeprefix("{").removesuffix("}")):
        key, _, value = reference.removeprefix("{").removesuffix("}").partition("=")
        yield Entry(key.strip().lower(), value.strip(), where)
