"""Find recipients in the file of an accepted domain: one address a line. It is read again when it changes.

Called by `mail.inbound.recipient_lookups`. A thread looks at the file and reads it, at most once a second. A line that
is not an address of the domain is named in the log and counts for nobody.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.net.tasks import Shared
from gatepost.policy.connectors.names import covers, mail_address
from gatepost.policy.connectors.recipients import recipient_key
from gatepost.policy.decisions.recipient_validation import RecipientAnswer, RecipientQuestion
from gatepost.quantity import quantity

if TYPE_CHECKING:
    from collections.abc import Callable

    type _Place = tuple[str, str]


_LOOK: Final = 1.0  # seconds between two looks at a file
_MOST_OCTETS: Final = 64 << 20
_TOLD: Final = 10  # bad lines that are named in the log
_LINE: Final = 200

_log = logging.getLogger(__name__)


class RecipientFileError(Exception):
    """A file that cannot be read as a whole; the text names it and says why."""


class _Loaded(msgspec.Struct, frozen=True):
    """A file as it was read. signature: another one whenever it changed. failure: why it is of no use, or ""."""

    signature: tuple[int, ...]
    keys: frozenset[str] = frozenset()
    failure: str = ""


class InvalidRecipientLine(msgspec.Struct, frozen=True):
    """A line that is not an address of its domain. number: from 1."""

    number: int
    why: str


def read_recipients(path: str, domain: str) -> tuple[frozenset[str], list[InvalidRecipientLine]]:
    """The addresses of a file, each in the form by which addresses are the same, and the lines that are none.

    domain: that they must be in, of which "*." is all below. Empty lines, and what follows "#", are comments. Raises
    RecipientFileError.
    """
    keys, bad = set(), []
    for number, line in enumerate(_text(path).splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            key = recipient_key(mail_address(text[: 2 * _LINE]))
        except ValueError as error:
            bad.append(InvalidRecipientLine(number, str(error)[:_LINE]))
            continue
        if covers(domain, key.rpartition("@")[2]):
            keys.add(key)
        else:
            bad.append(InvalidRecipientLine(number, f"{key} is not in {domain}"))
    return frozenset(keys), bad


def _text(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MOST_OCTETS + 1)
        text = content.decode()
    except OSError as error:
        raise RecipientFileError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise RecipientFileError(f"{path} is not UTF-8") from None
    if len(content) > _MOST_OCTETS:
        raise RecipientFileError(f"{path} is larger than {_MOST_OCTETS >> 20} MiB")
    return text


class FileSource:
    """What the sessions of one worker share. clock: seconds, never going back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[_Place, tuple[float, _Loaded]] = {}
        self._looks: Shared[_Place, _Loaded] = Shared()

    async def __call__(self, question: RecipientQuestion) -> RecipientAnswer:
        """Whether the file of the question's domain has the recipient, as it is now. Faults of files are answers."""
        path, name = question.domain.recipients_file, question.domain.name
        loaded = await self._loaded((path, name))
        if loaded.failure:
            return RecipientAnswer(
                exists=None, source=f"the recipient list cannot be read: {loaded.failure}", is_down=True
            )
        is_listed = any(key in loaded.keys for key in question.addresses)
        what = "is in" if is_listed else "is not in"
        return RecipientAnswer(exists=is_listed, source=f"it {what} the recipient list {path}")

    async def close(self) -> None:
        """Stop looking."""
        await self._looks.close()

    async def _loaded(self, place: _Place) -> _Loaded:
        at, loaded = self._known.get(place, (0.0, None))
        if loaded is not None and self._clock() < at + _LOOK:
            return loaded
        return await self._looks.result(place, lambda: self._look(place, loaded), "recipient list")

    async def _look(self, place: _Place, before: _Loaded | None) -> _Loaded:
        loaded = await asyncio.to_thread(_renewed, place, before)
        self._known = {known: entry for known, entry in self._known.items() if known[1] != place[1]}
        self._known[place] = self._clock(), loaded
        return loaded


def _renewed(place: _Place, before: _Loaded | None) -> _Loaded:
    """The file as it is now, read only if it changed. On a thread."""
    path, domain = place
    signature = _signature(path)
    if before is not None and before.signature == signature:
        return before
    try:
        keys, bad = read_recipients(path, domain)
    except RecipientFileError as error:
        _log.error("recipients of %s are not known: %s", domain, error)
        return _Loaded(signature, failure=str(error))
    _tell(path, domain, len(keys), bad)
    return _Loaded(signature, keys)


def _signature(path: str) -> tuple[int, ...]:
    try:
        status = Path(path).stat()
    except OSError as error:
        return (error.errno or 0,)
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _tell(path: str, domain: str, addresses: int, bad: list[InvalidRecipientLine]) -> None:
    _log.info("recipients of %s: %s read from %s", domain, quantity(addresses, "address"), path)
    for line in bad[:_TOLD]:
        _log.warning("%s, line %d is left out: %s", path, line.number, line.why)
    if len(bad) > _TOLD:
        _log.warning("%s: %s more left out", path, quantity(len(bad) - _TOLD, "line"))
