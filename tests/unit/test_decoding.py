"""Values are decoded by their types, and threads that decode a class for the first time together do no harm."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gatepost.decoding import converted, from_json, json_decoder, msgpack_decoder


class _Inner(msgspec.Struct):
    size: int


class _Outer(msgspec.Struct):
    name: str
    inner: _Inner


# New classes each round, since only the first decoding of a class is at risk. A thread gives way every microsecond.
_TOGETHER = """
import sys, threading, types
from gatepost.decoding import {function} as decode

sys.setswitchinterval(1e-6)
SOURCE = '''
import msgspec
class Inner(msgspec.Struct):
    a: "int"
class Outer(msgspec.Struct):
    b: "Inner"
    c: "list[Inner]"
'''
for round in range(60):
    module = sys.modules[name] = types.ModuleType(name := f"round{{round}}")
    exec(SOURCE, module.__dict__)
    barrier, found = threading.Barrier(4), []

    def run():
        barrier.wait()
        found.append(decode({given}, module.Outer).c[0].a)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [2] * 4, found
"""
GIVEN = '{"b": {"a": 1}, "c": [{"a": 2}]}'


@pytest.mark.parametrize(("function", "given"), [("from_json", repr(GIVEN)), ("converted", GIVEN)])
def test_threads_that_decode_a_class_first_and_together_get_the_value(function, given):
    """Without the lock the process dies of signal 11 in the first rounds: seen in 10 of 10 runs."""
    source = _TOGETHER.format(function=function, given=given)
    done = subprocess.run([sys.executable, "-c", source], env=os.environ, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_json_becomes_a_value_of_its_type():
    assert from_json(b'{"name": "a", "inner": {"size": 1}}', _Outer) == _Outer("a", _Inner(1))
    assert from_json("[1, 2]", tuple[int, ...]) == (1, 2)
    assert from_json('{"a": [1]}') == {"a": [1]}
    assert json_decoder(list[int]) is json_decoder(list[int])


def test_what_is_not_of_the_type_is_an_error():
    with pytest.raises(msgspec.ValidationError, match="size"):
        from_json('{"name": "a", "inner": {}}', _Outer)
    with pytest.raises(msgspec.DecodeError):
        from_json("{", _Outer)
    with pytest.raises(msgspec.ValidationError):
        from_json('"1"', int)
    assert from_json('"1"', int, strict=False) == 1


def test_messagepack_becomes_a_value_of_its_type():
    decode = msgpack_decoder(_Outer)
    assert decode(msgspec.msgpack.encode(_Outer("a", _Inner(1)))) == _Outer("a", _Inner(1))


def test_plain_data_becomes_a_value_of_its_type():
    assert converted({"name": "a", "inner": {"size": 1}}, _Outer) == _Outer("a", _Inner(1))
    assert converted("1", int, strict=False) == 1
    shown: Any = SimpleNamespace(name="a", inner=SimpleNamespace(size=1))
    assert converted(shown, _Outer, from_attributes=True) == _Outer("a", _Inner(1))
    with pytest.raises(msgspec.ValidationError):
        converted({"name": 1}, _Outer)


@pytest.mark.parametrize("kind", [Any, _Outer])
@pytest.mark.parametrize(
    "text", [b'{"other":' * 100_000, b'{"name":"\xff"}', b"<html>"], ids=["nested too deeply", "no UTF-8", "no JSON"]
)
def test_what_cannot_be_decoded_raises_one_kind_of_error(kind, text):
    with pytest.raises(msgspec.DecodeError):
        from_json(text, kind)
