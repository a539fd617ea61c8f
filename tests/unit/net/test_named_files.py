from __future__ import annotations

import os
from contextlib import contextmanager

import pytest

from gatepost.net import named_files
from gatepost.net.named_files import FileHelp, open_to_read


@pytest.fixture
def help_of_others(monkeypatch):
    made = FileHelp()
    monkeypatch.setattr(named_files, "FILE_HELP", made)
    return made


@contextmanager
def ordinary():
    """As an account that may not do everything."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def content(path):
    with os.fdopen(open_to_read(path)) as file:
        return file.read()


@pytest.fixture
def denied(tmp_path):
    path = tmp_path / "key.pem"
    path.write_text("denied")
    path.chmod(0)
    return path


def test_a_file_that_may_be_read_is_read_without_help(help_of_others, tmp_path):
    help_of_others.ask = pytest.fail
    (tmp_path / "a").write_text("a")
    assert content(tmp_path / "a") == "a"
    with pytest.raises(FileNotFoundError):
        open_to_read(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe")
    assert content(tmp_path / "pipe") == "", "it does not wait for a writer"


def test_others_open_what_this_process_may_not(help_of_others, denied, tmp_path):
    (tmp_path / "new").write_text("new")
    asked = []
    opened = os.open(tmp_path / "new", os.O_RDONLY)
    help_of_others.ask = lambda path: asked.append(path) or opened
    with ordinary():
        assert content(denied) == "new"
    assert asked == [denied]


def test_it_is_denied_where_nobody_helps(help_of_others, denied):
    with ordinary(), pytest.raises(PermissionError):
        open_to_read(denied)
