from __future__ import annotations

import os

import pytest

from gatepost.manage.cli import demo_postgres
from gatepost.manage.cli.demo_postgres import DemoPostgres, PostgresMissingError, find_postgres


def installed(folder, version, said=None):
    """A server as Debian installs it, as far as it is looked at."""
    programs = folder / version / "bin"
    programs.mkdir(parents=True)
    (programs / "initdb").touch()
    (programs / "postgres").write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {said or version} (Debian)'\n")
    (programs / "postgres").chmod(0o755)
    return programs


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """One with the account, and with nothing on the PATH."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(demo_postgres, "_ACCOUNT", "root")


def test_the_newest_server_is_taken(tmp_path):
    installed(tmp_path, "9.6", "9.6.24")
    newest = installed(tmp_path, "17", "17.6")
    installed(tmp_path, "15", "15.14")
    assert find_postgres(str(tmp_path)) == (newest, "17.6")


def test_a_server_on_the_path_counts(tmp_path, monkeypatch):
    programs = installed(tmp_path / "opt", "18", "18.1")
    (programs / "initdb").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    assert find_postgres(str(tmp_path / "none")) == (programs, "18.1")


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    with pytest.raises(PostgresMissingError, match=r"PostgreSQL is not installed; .* apt install postgresql"):
        find_postgres(str(tmp_path))
    (tmp_path / "17" / "bin").mkdir(parents=True)
    (tmp_path / "17" / "bin" / "initdb").touch()  # the rest was removed
    with pytest.raises(PostgresMissingError, match="is not installed"):
        find_postgres(str(tmp_path))
    installed(tmp_path / "whole", "17")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(demo_postgres, "_ACCOUNT", "no-such-account")
    with pytest.raises(PostgresMissingError, match="does not run as root, and there is no account no-such-account"):
        find_postgres(str(tmp_path / "whole"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert find_postgres(str(tmp_path / "whole"))[1] == "17"
    monkeypatch.setattr(demo_postgres, "find_spec", lambda _: None)
    with pytest.raises(PostgresMissingError, match=r"install gatepost\[postgres\]"):
        find_postgres(str(tmp_path / "whole"))


def test_what_a_program_says_is_told(tmp_path):
    programs = installed(tmp_path, "17")
    (programs / "initdb").write_text("#!/bin/sh\necho 'no room' >&2\nexit 1\n")
    (programs / "initdb").chmod(0o755)
    server = DemoPostgres(tmp_path / "home", programs)
    with pytest.raises(RuntimeError, match="initdb ended with 1: no room"):
        server.start()
    server.stop()
