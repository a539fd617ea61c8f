from __future__ import annotations

import msgspec
import pytest

from gatepost.decoding import from_json
from gatepost.events.machine_report import DiskRoom, MachineReport

MIB = 1 << 20
ENDED = '{"name":"x","how":"","at":1,"times":1}'


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


@pytest.mark.parametrize(
    "document",
    [
        '{"disk":{"directory":"/","free":-1,"mark":1}}',
        '{"disk":{"directory":"/","free":1,"mark":1%s}}' % ("0" * 400),
        '{"ended":[{"name":"x","how":"","at":1e300,"times":1}]}',
        '{"ended":[{"name":"x","how":"","at":1,"times":1%s}]}' % ("0" * 5000),
        f'{{"ended":[{",".join(51 * [ENDED])}]}}',
    ],
)
def test_what_a_worker_that_was_taken_over_writes_is_no_report(document):
    with pytest.raises(msgspec.MsgspecError):
        from_json(document, MachineReport)
