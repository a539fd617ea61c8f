"""What is a shortage of our own, however deep it lies."""

from __future__ import annotations

import errno

import pytest
from support.exhaustion import no_descriptors

from gatepost.net.shortage import exhaustion, shortage


def caused(by: BaseException) -> ValueError:
    error = ValueError("outside")
    error.__cause__ = OSError("All connection attempts failed")
    error.__cause__.__cause__ = by
    return error


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (OSError(errno.EMFILE, "Too many open files"), True),
        (caused(OSError(errno.ENFILE, "")), True),
        (caused(MemoryError()), True),
        (OSError(errno.ENOBUFS, ""), True),
        (caused(ConnectionRefusedError(errno.ECONNREFUSED, "")), False),
        (TimeoutError(), False),
        (None, False),
    ],
)
def test_a_shortage_is_known_by_its_cause(error: BaseException | None, ours: bool) -> None:
    assert (shortage(error) is not None) is ours


def test_no_descriptor_is_left_or_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with no_descriptors():
        assert isinstance(exhaustion(), OSError)
    assert exhaustion() is None

    def forbidden(_: int) -> None:
        raise PermissionError(errno.EPERM, "")

    monkeypatch.setattr("gatepost.net.shortage.socket.socket", forbidden)
    assert exhaustion() is None
