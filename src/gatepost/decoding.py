"""JSON, MessagePack and plain data become values, checked by their types: the one way here to decode with msgspec.

msgspec 0.22 works out a class's fields at the first decoding, and takes the class for known before it is done. Another
thread that decodes the class just then follows an empty pointer, and the process dies of signal 11. So decoders are
made here, by one thread at a time, and kept (docs/decisions/0111).
"""

# ruff: noqa: TID251 - what is banned elsewhere is banned for this
from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, overload

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    type Text = bytes | bytearray | memoryview | str

_making = threading.Lock()
_made: dict[tuple[Any, Any, bool], Callable[[Any], Any]] = {}


def json_decoder[T](kind: type[T], *, strict: bool = True) -> Callable[[Text], T]:
    """The function that decodes JSON to values of a type.

    kind: the type. strict: a number or a boolean is not text, and the other way round. It raises
    msgspec.DecodeError, which is a ValueError, and nothing else: for what is not JSON or not UTF-8, or nested deeper
    than Python's stack goes, and msgspec.ValidationError, which is one, for what is not of the type.
    """
    return _decoder(msgspec.json.Decoder, kind, strict=strict)


def msgpack_decoder[T](kind: type[T]) -> Callable[[bytes], T]:
    """The function that decodes MessagePack to values of a type; it raises what that of `json_decoder` raises."""
    return _decoder(msgspec.msgpack.Decoder, kind, strict=True)


@overload
def from_json(text: Text) -> Any: ...
@overload
def from_json[T](text: Text, kind: type[T], *, strict: bool = True) -> T: ...
def from_json(text: Text, kind: Any = Any, *, strict: bool = True) -> Any:
    """The value in a text of JSON: plain data where no type is given. Parameters and errors as of `json_decoder`."""
    return _decoder(msgspec.json.Decoder, kind, strict=strict)(text)


def converted[T](data: Any, kind: type[T], *, strict: bool = True, from_attributes: bool = False) -> T:
    """The value of a type in plain data (dicts, lists, texts, numbers).

    kind, strict: as of `json_decoder`. from_attributes: any object gives its attributes. Raises
    msgspec.ValidationError.
    """
    json_decoder(kind)
    return msgspec.convert(data, kind, strict=strict, from_attributes=from_attributes)


def _decoder(make: Any, kind: Any, *, strict: bool) -> Callable[[Any], Any]:
    key = (make, kind, strict)
    decode = _made.get(key)
    if decode is None:
        with _making:
            decode = _made.setdefault(key, _bounded(make(kind, strict=strict).decode))
    return decode


def _bounded(decode: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """With one kind of error for all that a stranger may send: msgspec raises two more."""

    def decoded(text: Any) -> Any:
        try:
            return decode(text)
        except UnicodeError:
            raise msgspec.DecodeError("it is no UTF-8") from None
        except RecursionError:
            raise msgspec.DecodeError("it is nested too deeply") from None

    return decoded
