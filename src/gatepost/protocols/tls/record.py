"""The header of a TLS record (RFC 8446 section 5.1), as far as it says that more is to come."""

from __future__ import annotations

from typing import Final

_HANDSHAKE: Final = 22
_HEADER: Final = 5
_MAX_PLAINTEXT: Final = 16384


def may_go_on(stream: bytes) -> bool:
    """Whether `stream` may be the beginning of a handshake record that is not whole yet.

    False as soon as a TLS library would refuse it, so that the peer gets its alert at once.
    """
    if len(stream) < _HEADER:
        return not stream or stream[0] == _HANDSHAKE
    size = int.from_bytes(stream[3:_HEADER])
    return stream[0] == _HANDSHAKE and len(stream) < _HEADER + size <= _HEADER + _MAX_PLAINTEXT
