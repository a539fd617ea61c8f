"""Files that somebody names on the command line: read and made with the rights of whoever gave the command.

Each function ends the command, and names the file, where that cannot be done.
"""

from __future__ import annotations

import os
from pathlib import Path

from gatepost.manage.cli.options import BAD_INPUT, ending, fail
from gatepost.node.privileges import as_caller
from gatepost.texts import N_


def read_file(path: Path, most: int, option: str = "") -> bytes:
    """Read a file of at most so many bytes. option: that names it, "--message: "."""
    with ending(BAD_INPUT, OSError, place=f"{option}{path}: "), as_caller(), path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        fail(BAD_INPUT, "%(file)s is larger than %(most)s bytes", file=f"{option}{path}", most=most)
    return content


def made_file(path: Path, mode: int) -> int:
    """A new file, open for writing; never one that is there, as it may be a key that is needed."""
    is_there = N_("%(path)s: exists already; name another file, or move it away")
    with (
        ending(BAD_INPUT, OSError, place=f"{path}: "),
        ending(BAD_INPUT, FileExistsError, text=is_there, path=path),
        as_caller(),
    ):
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)


def fill_file(number: int, path: Path, content: bytes) -> None:
    """Write all of a file that `made_file` made, and close it."""
    with ending(BAD_INPUT, OSError, place=f"{path}: "), os.fdopen(number, "wb") as file:
        file.write(content)
