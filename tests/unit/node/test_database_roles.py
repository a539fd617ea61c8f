"""What keeps the password of one role from workers. What they can do is proved in tests/system/test_worker_role.py."""

from __future__ import annotations

import os
import pwd
import signal
import sys

import pytest

from gatepost.node.database_roles import apart, role_findings, secret_problems, withheld_secrets
from gatepost.node.machine_findings import Level

OWN = "postgresql://worker@127.0.0.1/a?passfile=/etc/worker.pgpass"


@pytest.fixture
def problems(home, monkeypatch):
    """The problems of store.url with a file, {data} for the data directory."""
    for name in ("PGPASSWORD", "PGPASSFILE", "PGSERVICEFILE", "PGSSLKEY"):
        monkeypatch.delenv(name, raising=False)
    home.data.mkdir(mode=0o700)
    monkeypatch.setenv("HOME", "/nonexistent")

    def run(file, own=OWN, parameter="passfile"):
        url = f"postgresql://a@127.0.0.1/a?{parameter}={file.format(data=home.data)}"
        store = {"url": url, "worker_url": own.format(data=home.data)}
        return "\n".join(secret_problems(home.settings(store=store)))

    return run


def test_secrets_lie_right_in_the_data_directory(problems, home):
    assert problems("{data}/owner.pgpass") == ""
    (home.data / "link").symlink_to("/etc/hostname")
    (home.data / "queue").mkdir()
    for file in ("/etc/owner.pgpass", "{data}/queue/owner.pgpass", "{data}/../owner.pgpass", "{data}/link"):
        assert "workers may read passfile" in problems(file), file
    assert "workers may read sslkey" in problems("/etc/owner.key", parameter="sslkey")


def test_workers_have_a_file_of_their_own_that_they_can_read(problems):
    same = "postgresql://worker@127.0.0.1/a?passfile={data}/owner.pgpass"
    assert "give it one of its own" in problems("{data}/owner.pgpass", same)
    assert "workers may not read" in problems("{data}/owner.pgpass", same.replace("owner.pgpass", ".pgpass"))


def test_libraries_find_no_password_at_home(problems, home, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".pgpass").touch(0o600)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert problems("{data}/owner.pgpass") == ""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert f"workers may read {tmp_path}/.pgpass" in problems("{data}/owner.pgpass")
    monkeypatch.setenv("HOME", str(home.data))
    (home.data / ".pgpass").touch(0o600)
    assert problems("{data}/owner.pgpass") == ""


def test_an_account_without_a_home_has_no_password_there(problems, monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert problems("{data}/owner.pgpass") == ""


def test_the_environment_has_no_password(problems, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "secret")
    text = problems("{data}/owner.pgpass")
    assert "PGPASSWORD" in text
    assert "secret of" not in text


def test_without_the_setting_nothing_is_asked(home, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "secret")
    settings = home.settings(store={"url": "postgresql://a@127.0.0.1/a?passfile=/etc/owner.pgpass"})
    assert list(secret_problems(settings)) == []
    assert withheld_secrets(settings) == ()
    assert settings.of_workers is settings
    (finding,) = role_findings(settings)
    assert (finding.level, finding.area) == (Level.WARN, "store.worker_url")
    assert list(role_findings(home.settings())) == []


def test_workers_have_the_other_address(home):
    url = f"postgresql://a@127.0.0.1/a?passfile={home.data}/owner.pgpass"
    settings = home.settings(store={"url": url, "worker_url": OWN, "free_space": 7})
    assert settings.of_workers.store.url == OWN
    assert settings.of_workers.store.free_space == 7
    assert settings.store.url == url
    assert {"owner.pgpass", ".pgpass"} <= set(withheld_secrets(settings))


def test_what_is_done_apart_leaves_nothing_here():
    seen = []
    apart(lambda: seen.append(os.getpid()))
    assert seen == []


@pytest.mark.parametrize(
    ("work", "status"),
    [(lambda: sys.exit(3), 3), (lambda: 1 // 0, 1), (lambda: os.kill(os.getpid(), signal.SIGKILL), 1)],
)
def test_what_fails_apart_ends_the_command(work, status):
    with pytest.raises(SystemExit) as ended:
        apart(work)
    assert ended.value.code == status
