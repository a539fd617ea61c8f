from __future__ import annotations

from pathlib import Path

import pytest

from gatepost.mail.inbound.recipient_file import InvalidRecipientLine, RecipientFileError, read_recipients


def test_addresses_comments_and_bad_lines_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"# all\r\nAnn@O.example # boss\r\n\r\nnobody\nbob@p.example\n  joe@sub.o.example\n")
    keys, bad = read_recipients(str(path), "o.example")
    assert keys == {"ann@o.example"}
    assert [line.number for line in bad] == [4, 5, 6]
    assert bad[1] == InvalidRecipientLine(5, "bob@p.example is not in o.example")
    assert read_recipients(str(path), "*.o.example")[0] == {"ann@o.example", "joe@sub.o.example"}


def test_a_file_that_cannot_be_read_as_a_whole_is_no_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "list"
    with pytest.raises(RecipientFileError, match="list: No such file"):
        read_recipients(str(path), "o.example")
    with pytest.raises(RecipientFileError, match="Is a directory"):
        read_recipients(str(tmp_path), "o.example")
    path.write_bytes(b"\xff")
    with pytest.raises(RecipientFileError, match="is not UTF-8"):
        read_recipients(str(path), "o.example")
    monkeypatch.setattr("gatepost.mail.inbound.recipient_file._MOST_OCTETS", 3)
    path.write_text("a@o.example\n")
    with pytest.raises(RecipientFileError, match="is larger than"):
        read_recipients(str(path), "o.example")
