from __future__ import annotations

import os
import stat

import pytest

from gatepost.manage.cli.named_files import fill_file, made_file, read_file


def test_a_file_is_read_up_to_a_limit(tmp_path, capsys):
    file = tmp_path / "a.pem"
    file.write_bytes(b"12345")
    assert read_file(file, 5) == b"12345"
    for most, option, text in (
        (4, "", f"{file} is larger than 4 bytes\n"),
        (4, "--key: ", f"--key: {file} is larger than 4 bytes\n"),
    ):
        with pytest.raises(SystemExit, match="2"):
            read_file(file, most, option)
        assert capsys.readouterr().err == text


def test_a_file_that_cannot_be_read_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        read_file(tmp_path, 4, "--key: ")
    assert capsys.readouterr().err == f"--key: {tmp_path}: Is a directory\n"


def test_a_new_file_is_made_whole_and_none_is_replaced(tmp_path, capsys):
    file = tmp_path / "a.key"
    fill_file(made_file(file, 0o600), file, b"key")
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"key", 0o600)
    for path, text in (
        (file, "exists already; name another file, or move it away"),
        (file / "b", "Not a directory"),
    ):
        with pytest.raises(SystemExit, match="2"):
            made_file(path, 0o600)
        assert capsys.readouterr().err == f"{path}: {text}\n"
    assert file.read_bytes() == b"key"


def test_a_full_disk_ends_the_command(tmp_path, capsys):
    file = tmp_path / "full"
    file.symlink_to("/dev/full")
    with pytest.raises(SystemExit, match="2"):
        fill_file(os.open(file, os.O_WRONLY), file, b"key")
    assert capsys.readouterr().err == f"{file}: No space left on device\n"
