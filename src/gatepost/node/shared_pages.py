"""Keep the memory of several processes small: what was loaded before a fork stays in pages that all of them share.

Called by `gatepost serve` before it forks. A process shares each page with the one it was forked from until either
writes to it, and the interpreter writes to an object whenever it counts a reference. So that it counts none, what is
loaded by then becomes immortal (PEP 683): it is never freed, as it would not be anyway
(docs/decisions/0134-what-was-loaded-before-a-fork-is-immortal.md).
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterable
from itertools import chain, filterfalse
from operator import attrgetter
from types import CodeType, FrameType, FunctionType
from typing import Any, Final

# By version of CPython, the first 64 bits of an object that it made immortal itself: a count that it leaves alone, and
# from 3.14 on a flag beside it. Without the flag it counts some references, and the count of others would wrap to 0.
_IMMORTAL: Final = {(3, 12): 0xFFFFFFFF, (3, 13): 0xFFFFFFFF, (3, 14): 1 << 48 | 3 << 30}
_WORDS: Final = 1 << 44  # of 64 bits, in all addresses that a process on 64-bit Linux has
_TRIES: Final = 3
_ARENA_MAX: Final = -8  # M_ARENA_MAX of mallopt(3)
_ARENAS: Final = 2

_done: list[bool] = []


def share_loaded_objects() -> int:
    """Make all objects that are there now immortal; returns how many, 0 where this interpreter's are not known.

    But those that end something when they are freed, such as open files. Either way the cyclic collector, which writes
    to objects too, leaves them alone from now on. Call it with one thread, right before the first fork; a process that
    was forked after a call marks what is new since then.
    """
    if not _done:
        gc.unfreeze()
        _done.append(True)
    immortal = _immortal()
    marked = _mark_all(_reference_counts(), immortal) if immortal else 0
    _give_back_freed_memory()
    gc.freeze()
    return marked


def use_few_arenas() -> None:
    """Have the C library's threads share memory that they free: each would keep some for itself.

    They wait for the interpreter's lock rather than for that of an arena. Without such an option nothing happens.
    """
    if (set_option := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        set_option(_ARENA_MAX, _ARENAS)


def _give_back_freed_memory() -> None:
    """Return pages of freed memory to the system: this process keeps them otherwise, and each fork gets copies.

    The C library keeps what was freed for whoever asks next, here what files and lists had while modules were loaded.
    """
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def _mark_all(counts: memoryview, immortal: int) -> int:
    """Of what the collector does not track, functions' code and values in dictionaries: others are hardly ever used."""
    tracked = gc.get_objects()
    kinds = list(map(type, tracked))
    mortal = {kind for kind in set(kinds) if kind is FrameType or hasattr(kind, "__del__")}
    codes, dictionaries = [], []
    for item, kind in zip(tracked, kinds, strict=True):
        if kind is FunctionType:
            codes.append(item.__code__)
        elif kind is dict:
            dictionaries.append(item)
        elif kind in mortal:
            continue
        counts[id(item) >> 3] = immortal
    codes = _with_constants(codes)
    _mark(codes, counts, immortal)
    values = filterfalse(gc.is_tracked, chain.from_iterable(map(dict.values, dictionaries)))
    _mark((value for value in values if type(value) not in mortal), counts, immortal)
    return len(tracked) + len(codes)


def _mark(items: Iterable[Any], counts: memoryview, immortal: int) -> None:
    if immortal >> 32:  # objects that were immortal before may have more flags, and keep them
        items = (item for item in items if counts[id(item) >> 3] < immortal)
    for item in items:
        counts[id(item) >> 3] = immortal


def _with_constants(codes: list[Any]) -> list[Any]:
    """Code, that of functions in it, and all constants. Names are not in it: of the interpreter they are immortal."""
    result = []
    while codes:
        constants = list(chain.from_iterable(map(attrgetter("co_consts"), codes)))
        result += codes
        result += constants
        codes = [item for item in constants if type(item) is CodeType]
    return result


def _reference_counts() -> memoryview:
    """The memory of this process in words of 64 bits; the place of an object's count is its id, divided by 8."""
    memory: Any = (ctypes.c_uint64 * _WORDS).from_address(0)
    return memoryview(memory).cast("B").cast("Q")


def _immortal() -> int:
    """What an immortal object of this interpreter begins with; 0 where that is not known, or is not so when tried."""
    if sys.implementation.name != "cpython" or "t" in sys.abiflags or sys.byteorder != "little":
        return 0
    immortal = _IMMORTAL.get(sys.version_info[:2], 0)
    name = _immortal.__code__.co_names[0]
    if ctypes.sizeof(ctypes.c_void_p) != ctypes.sizeof(ctypes.c_uint64) or _first_word(name) != immortal:
        return 0
    probe: list[object] = []
    count = ctypes.c_uint64.from_address(id(probe))
    before = count.value
    references = [probe] * _TRIES
    if count.value != before + _TRIES:
        return 0
    count.value = immortal
    references += [probe] * _TRIES
    references.clear()
    return immortal if count.value == immortal else 0


def _first_word(item: object) -> int:
    """Its count of references, and its flags where they are a part of these 64 bits."""
    return ctypes.c_uint64.from_address(id(item)).value
