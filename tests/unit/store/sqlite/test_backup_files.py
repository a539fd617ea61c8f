from __future__ import annotations

import os

import pytest

from gatepost.store.sqlite.backup import backup_paths, is_database, is_log

TAKEN = [
    "sent-reports.db",
    "queue/0/q.db",
    "tls-reports-inbox/1",
    "maildir/contoso.example/ann/cur/1.a:2,S",
    "maildir/contoso.example/ann/new/2.db",
    "access.db",
    "config.db",
    "something-new/x",
    "srs.keys",
    "evidence/heads.log",
    "evidence/log/2026-11-29.0.log",
    "evidence-keys/signing.key",
    "trace/2026-11-29.0.db",
]
LEFT_OUT = [
    "cache/mta-sts/x.json",
    "made/x",
    "workers/0.json",
    "setup-address",
    ".restore/config.db",
    "config.db-wal",
    "config.db-shm",
    "trace/2026-11-29.0.tally",
    "queue/0/lock",
    "queue/0/big/0000000000000001",
    "evidence/log/.0.lock",
    "evidence/log/.2026-11-29.0.log.gz.new",
    "evidence-keys.new/signing.key",
    "maildir/contoso.example/ann/tmp/3.c",
]


@pytest.fixture
def data(tmp_path):
    for path in (*TAKEN, *LEFT_OUT):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "linked").symlink_to(tmp_path / "trace")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def test_all_but_what_is_the_nodes_own_in_the_order_in_which_mail_moves(data):
    assert backup_paths(data, mailboxes=True) == TAKEN


def test_mailboxes_may_be_left_out(data):
    assert backup_paths(data, mailboxes=False) == [path for path in TAKEN if not path.startswith("maildir/")]


def test_a_directory_that_goes_meanwhile(tmp_path):
    assert backup_paths(tmp_path / "nowhere", mailboxes=True) == []


def test_kinds_of_files():
    assert [path for path in TAKEN if is_database(path)] == [
        "sent-reports.db",
        "queue/0/q.db",
        "access.db",
        "config.db",
        "trace/2026-11-29.0.db",
    ]
    assert [path for path in TAKEN if is_log(path)] == ["evidence/heads.log", "evidence/log/2026-11-29.0.log"]
