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
from itertools import chain, filterfalse
from operator import attrgetter
from types import CodeType, FrameType, FunctionType
from typing import Any, Final

_IMMORTAL: Final = 0xFFFFFFFF  # the lower half of a reference count of which CPython neither adds nor takes
_WORDS: Final = 1 << 45  # of 32 bits, in all addresses that a process on 64-bit Linux has
_KNOWN: Final = ((3, 12), (3, 13), (3, 14))  # versions of CPython whose objects begin with that count
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
    marked = _mark_all(_reference_counts()) if _counts_are_known() else 0
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


def _mark_all(counts: memoryview) -> int:
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
        counts[id(item) >> 2] = _IMMORTAL
    codes = _with_constants(codes)
    for item in codes:
        counts[id(item) >> 2] = _IMMORTAL
    for item in filterfalse(gc.is_tracked, chain.from_iterable(map(dict.values, dictionaries))):
        if type(item) not in mortal:
            counts[id(item) >> 2] = _IMMORTAL
    return len(tracked) + len(codes)


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
    """The memory of this process in words of 32 bits; the place of an object's count is its id, divided by 4."""
    memory: Any = (ctypes.c_uint32 * _WORDS).from_address(0)
    return memoryview(memory).cast("B").cast("I")


def _counts_are_known() -> bool:
    """Whether this is an interpreter whose objects begin with their count; it is tried with one."""
    if sys.implementation.name != "cpython" or sys.version_info[:2] not in _KNOWN or "t" in sys.abiflags:
        return False
    if sys.byteorder != "little" or ctypes.sizeof(ctypes.c_void_p) != ctypes.sizeof(ctypes.c_uint64):
        return False
    probe: list[object] = []
    count = ctypes.c_uint32.from_address(id(probe))
    before = count.value
    references = [probe] * _TRIES
    if count.value != before + _TRIES:
        return False
    count.value = _IMMORTAL
    references += [probe] * _TRIES
    references.clear()
    return count.value == _IMMORTAL
