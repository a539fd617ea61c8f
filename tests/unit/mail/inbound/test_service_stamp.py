from __future__ import annotations

import pytest

from gatepost.mail.inbound.service import Stamp

NOON = 1_795_528_800.0  # 2026-11-24T14:00:00Z

MOMENTS = [
    (NOON, "2026-11-24T14:00:00.000Z"),
    (NOON + 0.0009, "2026-11-24T14:00:00.000Z"),
    (NOON + 0.125, "2026-11-24T14:00:00.125Z"),
    (NOON + 0.9999, "2026-11-24T14:00:00.999Z"),
    (NOON + 1, "2026-11-24T14:00:01.000Z"),
    (NOON - 86400, "2026-11-23T14:00:00.000Z"),
    (0.0, "1970-01-01T00:00:00.000Z"),
]


@pytest.mark.parametrize(("now", "text"), MOMENTS)
def test_a_stamp(now, text):
    assert Stamp("mx.example", lambda: now)("s1") == f" [mx.example {text} s1]"


def test_one_stamp_through_all_of_them_forth_and_back():
    moments = [*MOMENTS, *reversed(MOMENTS)]
    times = iter([now for now, _ in moments])
    stamp = Stamp("mx.example", lambda: next(times))
    assert [stamp("s2") for _ in moments] == [f" [mx.example {text} s2]" for _, text in moments]
