from __future__ import annotations

from gatepost.newest import Newest


def test_the_newest_are_kept_and_what_is_kept_again_is_new():
    newest = Newest(2)
    for key in ("a", "b", "a", "c"):
        newest.keep(key, key.upper())
    assert [newest.get(key) for key in ("a", "b", "c", "d")] == ["A", None, "C", None]
    newest.keep("a", "again")
    assert newest.get("a") == "again"
