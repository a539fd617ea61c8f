"""Open a file that the settings name, although another has taken its place since this process confined itself.

Used by whatever reads certificates, keys, trust anchors and secrets again while the gateway runs. `node.file_line` has
the supervisor open what this process may not (docs/decisions/0123).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final


class FileHelp:
    """Help with files that this process may not open. ask: returns a descriptor, None for what is not to be had so."""

    def __init__(self) -> None:
        self.ask: Callable[[Path], int | None] = _nobody


def _nobody(_: Path) -> None:
    return None


FILE_HELP: Final = FileHelp()
"""Of this process: nobody helps, unless its supervisor does."""


def open_to_read(path: Path) -> int:
    """The descriptor of a file, opened to be read. A pipe that nobody writes to does not block. Raises OSError."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except PermissionError:
        descriptor = FILE_HELP.ask(path)
        if descriptor is None:
            raise
        return descriptor
