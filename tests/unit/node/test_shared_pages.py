"""What is loaded before a fork stays in shared pages, whoever uses it. In processes of their own, as it is for good."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from gatepost.node import shared_pages

LOADED = """
import gc, os, sys
from gatepost.node.shared_pages import share_loaded_objects, use_few_arenas

def function(first=12345.5):
    def inner():
        return "a constant that only this code has", 98765
    return inner

class Kind:
    places = {"key": "a value " * 3}

class Ending:
    def __del__(self):
        print("ended")
"""
SHARED = """
ending, file = Ending(), open("/dev/null")
number = file.fileno()
print(share_loaded_objects() > 10_000, gc.get_freeze_count() > 1000, gc.get_objects() == [])
code = function.__code__
inner = next(one for one in code.co_consts if hasattr(one, "co_consts"))
for item in (function, code, inner, inner.co_consts[1], Kind, Kind.places, Kind.places["key"], sys.modules["json"]):
    before = sys.getrefcount(item)
    more = [item] * 5
    assert sys.getrefcount(item) == before, item
    del more
    assert sys.getrefcount(item) == before > 1_000_000, item
assert function()() == ("a constant that only this code has", 98765)
assert sys.getrefcount(ending) < 10
del ending
file = None
try:
    os.fstat(number)
except OSError:
    print("closed")
young = [Ending()]
young.append(young)
del young
gc.collect()
share_loaded_objects()
print(gc.get_objects() == [])
use_few_arenas()
"""
FORKED = """
import asyncio, json, cryptography.x509, email.message, OpenSSL.SSL, pathlib, pydantic
share = {share}
if share:
    share_loaded_objects()
else:
    gc.freeze()
functions = []
def use():
    for module in list(sys.modules.values()):
        for item in list(vars(module).values()):
            functions.append(item)
def own_kilobytes():
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_Dirty"))
if not os.fork():
    before = own_kilobytes()
    use()
    print(own_kilobytes() - before)
    sys.stdout.flush()
    os._exit(0)
os.wait()
"""


FREED = """
def own_kilobytes():
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_Dirty"))
kept, freed = [], []
for _ in range(1000):
    freed.append(bytes(64 * 1024))
    kept.append(bytes(600))  # or the end of the heap would go by itself
freed.clear()
before = own_kilobytes()
share_loaded_objects()
print(before - own_kilobytes())
"""


def run(script: str) -> list[str]:
    ended = subprocess.run([sys.executable, "-c", LOADED + script], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.split("\n")[:-1]


def test_references_to_what_is_loaded_are_not_counted_and_what_ends_something_is_freed():
    assert run("import json\n" + SHARED) == ["True True True", "ended", "closed", "ended", "True"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_process_that_uses_what_is_loaded_copies_few_pages():
    (shared,), (copied,) = run(FORKED.format(share=True)), run(FORKED.format(share=False))
    assert int(shared) < int(copied) / 2, (shared, copied)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_that_was_freed_is_given_back_before_the_fork():
    (given,) = run(FREED)
    assert int(given) > 40_000, "of 64,000"


@pytest.mark.parametrize(("name", "value"), [("abiflags", "t"), ("byteorder", "big"), ("version_info", (3, 99))])
def test_another_interpreter_is_left_alone(monkeypatch, name, value):
    known = {name: getattr(sys, name) for name in ("implementation", "version_info", "abiflags", "byteorder")}
    monkeypatch.setattr(shared_pages, "sys", SimpleNamespace(**known))
    assert shared_pages._immortal()
    monkeypatch.setattr(shared_pages, "sys", SimpleNamespace(**known | {name: value}))
    assert not shared_pages._immortal()


def test_an_interpreter_that_marks_its_own_immortal_objects_otherwise_is_left_alone(monkeypatch):
    """CPython 3.14 ended with a segmentation fault when its objects got the mark of 3.13."""
    version = sys.version_info[:2]
    assert shared_pages._immortal() == shared_pages._IMMORTAL[version]
    monkeypatch.setitem(shared_pages._IMMORTAL, version, shared_pages._immortal() - 1)
    assert not shared_pages._immortal()


def test_an_interpreter_that_counts_otherwise_is_left_alone(monkeypatch):
    monkeypatch.setattr(shared_pages, "id", lambda item: id(item) + 8, raising=False)  # its type is no count
    monkeypatch.setattr(shared_pages, "_first_word", lambda item: shared_pages._IMMORTAL[sys.version_info[:2]])
    assert not shared_pages._immortal()
