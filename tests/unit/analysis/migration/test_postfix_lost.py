from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from gatepost.analysis.migration.postfix_lost import IGNORED, LOST, READ

QUIET = [
    "smtpd_banner",
    "biff",
    "smtp_tls_loglevel",
    "queue_directory",
    "smtpd_client_connection_rate_limit",
    "myorigin",
]
TOLD = [
    ("message_size_limit", "[limits] message_bytes = {value}"),
    ("smtpd_tls_cert_file", "[[certificate]]"),
    ("smtp_tls_per_site", "obsolete"),
    ("smtpd_recipient_restrictions", "on-premises connectors"),
    ("virtual_alias_maps", "aliases of a [[mailbox]]"),
    ("relay_clientcerts", "certificate"),
    ("smtpd_milters", "[[content_hook]]"),
    ("sender_dependent_relayhost_maps", "mail flow rule"),
    ("virtual_mailbox_maps", "mailbox"),
]


@pytest.mark.parametrize("name", QUIET)
def test_what_says_nothing_about_connections_is_ignored(name):
    assert IGNORED.fullmatch(name)


@pytest.mark.parametrize(("name", "words"), TOLD)
def test_what_is_lost_is_told_with_what_to_do(name, words):
    assert not IGNORED.fullmatch(name)
    assert words in next(one.why for one in LOST if one.names.fullmatch(name))


def test_what_is_read_is_in_no_other_table():
    for name in READ:
        assert not any(one.names.fullmatch(name) for one in LOST if "transport" not in one.names.pattern), name


@pytest.mark.skipif(not shutil.which("postconf", path="/usr/sbin"), reason="Postfix is not installed")
def test_no_parameter_about_tls_is_ignored_by_accident(tmp_path: Path):
    """Of Postfix's own list, every TLS parameter with a demand in it is read or told of."""
    tmp_path.joinpath("main.cf").write_text("")
    done = subprocess.run(
        ["/usr/sbin/postconf", "-c", tmp_path, "-d"], capture_output=True, text=True, check=True, timeout=20
    )
    names = [line.partition(" ")[0] for line in done.stdout.splitlines()]
    demands = [
        name
        for name in names
        if name.startswith(("smtp_tls_", "smtpd_tls_"))
        and name.endswith(("_level", "_match", "_maps", "_file", "_files", "CAfile", "CApath", "protocols", "ciphers"))
        and not name.startswith(("smtpd_tls_dh", "smtp_tls_log"))
    ]
    assert len(demands) > 30
    for name in demands:
        assert name in READ or any(one.names.fullmatch(name) for one in LOST), name
        assert name in READ or not IGNORED.fullmatch(name), name
