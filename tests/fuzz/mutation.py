"""Inputs made of seeds: the mutations that found most in other parsers, for where no fuzzer that sees coverage is."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

_MOST: Final = 1 << 16
_WORDS: Final = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n.\r\n",
        b"\0",
        b"\xff",
        b"\x80",
        b" ",
        b"\t",
        b"=",
        b";",
        b":",
        b",",
        b'"',
        b"\\",
        b"<",
        b">",
    ),
    *(
        b"@",
        b"%s",
        b"-1",
        b"99999999999999999999",
        b"0x",
        b"\xc3\xa9",
        b"\xed\xa0\x80",
        b"{}",
        b"[]",
        b"null",
        b"1e999",
    ),
    *(
        b"LAST",
        b"DATA\r\n",
        b"BDAT 1\r\n",
        b"250 ",
        b"354 x\r\n",
        b"\x30\x80",
        b"\x30\x84\xff\xff\xff\xff",
        b"i=50;",
        b"=?utf-8?q?",
    ),
)


def mutated(chance: Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds, changed a few times; now and then of two."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 2, 3, 5, 8))):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(8)
        if kind == 0 and data:
            data[at % len(data)] = chance.randrange(256)
        elif kind == 1 and data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        elif kind == 2:
            del data[at : at + chance.choice((1, 2, 4, 16, 64))]
        elif kind == 3:
            data[at:at] = chance.choice(_WORDS)
        elif kind == 4:
            data[at:at] = data[at : at + chance.choice((1, 8, 64))] * chance.choice((1, 2, 40))
        elif kind == 5:
            data[at:at] = chance.randbytes(chance.choice((1, 2, 9)))
        elif kind == 6:
            other = chance.choice(seeds)
            data[at:] = other[chance.randrange(len(other) + 1) :]
        else:
            data[at:] = b""
        del data[_MOST:]
    return bytes(data)
