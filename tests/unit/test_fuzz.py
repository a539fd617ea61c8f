"""Every target of tests/fuzz for a moment: seeds, what once crashed it, and fresh mutations. `make fuzz` goes on."""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

import pytest

FUZZ = Path(__file__).resolve().parents[1] / "fuzz"
sys.path.insert(0, str(FUZZ))

from mutation import mutated  # noqa: E402 - of tests/fuzz
from targets import TARGETS  # noqa: E402 - of tests/fuzz

SEED = 21 if os.environ.get("CI") else time.time_ns()
INPUTS = 150
SLOW = 3.0  # seconds for one input of 64 KiB at most, on a loaded machine


@pytest.mark.parametrize("name", TARGETS)
def test_no_octets_crash_it_or_keep_it(name):
    target, chance = TARGETS[name], random.Random(SEED)  # noqa: S311 - inputs
    corpus = [file.read_bytes() for file in sorted((FUZZ / "corpus" / name).glob("*"))]
    for number in range(-len(target.seeds) - len(corpus), INPUTS):
        data = [*target.seeds, *corpus][number] if number < 0 else mutated(chance, [*target.seeds, *corpus])
        begun = time.process_time()
        try:
            target.run(data)
        except Exception as error:
            raise AssertionError(f"{name}, seed {SEED}: save as tests/fuzz/corpus/{name}/…: {data!r}") from error
        assert time.process_time() - begun < SLOW, f"{name}, seed {SEED}: {data!r}"


def test_the_corpus_is_of_targets():
    assert {folder.name for folder in (FUZZ / "corpus").iterdir() if folder.is_dir()} <= set(TARGETS)


def test_a_target_that_raises_is_found():
    """The mutations lead somewhere: a parser with a fault that one of a thousand inputs shows."""
    chance = random.Random(1)  # noqa: S311 - inputs
    inputs = [mutated(chance, [b"MAIL FROM:<a@b.example>\r\n"]) for _ in range(1000)]
    assert len(set(inputs)) > 800
    assert any(b"99999999999999999999" in data for data in inputs)
    assert any(b"\r\n.\r\n" in data for data in inputs)
