from __future__ import annotations

import os
from pathlib import Path

import pytest

from gatepost.net.lookups.cache import make_room, replace_file


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "x" / "one"
    replace_file(path, b"old", used=1000.0)
    assert path.stat().st_mtime == 1000.0
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mtime > 1000.0
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_cannot_be_replaced_leaves_no_part_of_the_new_one(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        replace_file(tmp_path / "folder", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    ("files", "octets", "left"),
    [(10, 100, "abcd"), (2, 100, "cd"), (10, 25, "cd"), (10, 9, ""), (0, 100, ""), (10, 40, "abcd")],
)
def test_the_oldest_go_first(tmp_path: Path, files: int, octets: int, left: str) -> None:
    for number, name in enumerate("abcd"):
        path = tmp_path / name
        path.write_bytes(b"x" * 10)
        os.utime(path, (number, number))
    assert make_room(tmp_path, files=files, octets=octets) == 4 - len(left)
    assert "".join(sorted(path.name for path in tmp_path.iterdir())) == left


def test_what_another_worker_removes_meanwhile_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert make_room(tmp_path, files=0, octets=0) == 0
