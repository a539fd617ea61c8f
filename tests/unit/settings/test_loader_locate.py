from __future__ import annotations

import pytest

from gatepost.settings.loader import line_of, lines

TEXT = """\
# a comment [not.a.heading] key = 1
top = 1
[server]
hostname = "x"   # [comment]
  data_dir = "y"

[[listener]]
role = "mx"
[[listener]]
address = "z"
[ limits ]
recipients = 5
[queue]
retry = [
  "15m",
  "x",
]
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("top", 2),
        ("server", 3),
        ("server.hostname", 4),
        ("server.data_dir", 5),
        ("server.workers", 3),
        ("listener[0].role", 8),
        ("listener[1].address", 10),
        ("listener[1].role", 9),
        ("listener", 7),
        ("listener[7].role", None),
        ("limits.recipients", 12),
        ("queue.retry[1]", 14),
        ("dns.timeout", None),
        ("", None),
        ("odd]path[", None),
    ],
)
def test_a_key_is_found_at_its_line_or_its_table(path: str, line: int | None) -> None:
    assert line_of(path, lines(TEXT)) == line


def test_the_first_place_is_kept() -> None:
    assert lines("[a]\nx = 1\nx = 2\n[a]\n") == {"a": 1, "a.x": 2}
