from __future__ import annotations

import pytest

from gatepost.events.machine_report import DiskRoom

MIB = 1 << 20


@pytest.mark.parametrize(
    ("fields", "is_low"),
    [
        ({"free": 511 * MIB}, True),
        ({"free": 520 * MIB}, False),
        ({"free": 520 * MIB, "was_low": True}, True),
        ({"free": 570 * MIB, "was_low": True}, False),
        ({"inodes": 10_500}, False),
        ({"inodes": 10_500, "was_low": True}, True),
        ({"inodes": 11_500, "was_low": True}, False),
    ],
)
def test_a_disk_at_the_mark_raises_and_ends_no_alarm_each_minute(fields, is_low):
    assert DiskRoom("/var/lib/gatepost", **{"free": 600 * MIB, "mark": 128 * MIB} | fields).is_low == is_low
