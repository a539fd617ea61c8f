"""`gatepost quickstart` sets up what can be started, says what to publish, and changes nothing a second time."""

from __future__ import annotations

import os
import pty
import shlex
import stat
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gatepost.manage.cli import main
from gatepost.manage.cli import quickstart as command
from gatepost.manage.cli.quickstart import quickstart
from gatepost.pki.certificates.authority import Authority
from gatepost.testing.process import free_port


@pytest.fixture
def set_up(tmp_path):
    def run(*words, code=0, given=None):
        base = ["quickstart", "--directory", str(tmp_path / "etc"), "--nameserver", "127.0.0.1"]
        ports = ["--address", f"127.0.0.1:{free_port()}", "--admin-address", f"127.0.0.1:{free_port()}"]
        result = CliRunner().invoke(main, [*base, *ports, *words], input=given)
        assert result.exit_code == code, result.output
        return result

    return run


IS_PYTHON_CLOSED = not all(folder.stat().st_mode & 1 for folder in Path(os.__file__).parents)
GIVEN = ("--hostname", "mx1.contoso.example", "--domain", "contoso.example", "--upstream", "192.0.2.10")


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "data" not in path.parts[-3:]}


def test_everything_is_made_and_the_records_are_printed(set_up, tmp_path):
    result = set_up(*GIVEN)
    for line in (
        "; records to publish for contoso.example",
        "contoso.example. IN MX 10 mx1.contoso.example.",
        "_25._tcp.mx1.contoso.example. IN TLSA 3 1 1 ",
        "_smtp._tls.contoso.example. IN TXT",
        "._domainkey.contoso.example. IN TXT",
        'contoso.example. IN TXT "v=spf1 a:mx1.contoso.example ~all"',
        '_dmarc.contoso.example. IN TXT "v=DMARC1; p=none;',
    ):
        assert line in result.stdout
    assert all(" IN " in line or line.startswith(";") for line in result.stdout.splitlines()), "a zone and nothing else"
    assert "1 fault, " in result.stderr
    assert "fail    nameservers " in result.stderr, "which keeps nobody from starting it"
    assert f"gatepost --config {shlex.quote(str(tmp_path / 'etc' / 'gatepost.toml'))} serve" in result.stderr
    secrets = list((tmp_path / "etc" / "secrets").iterdir())
    assert len(secrets) == 2
    assert all(not path.stat().st_mode & (stat.S_IRWXO | stat.S_IWGRP) for path in (*secrets, tmp_path / "etc"))


def test_the_next_commands_can_be_copied_whatever_the_directory_is_called():
    file = Path("/srv/Förster's mail/gatepost.toml")
    assert shlex.split(command._next_commands(file)[1]) == ["gatepost", "--config", str(file), "doctor"]


def test_the_gateway_can_read_its_files_whatever_the_umask(set_up, tmp_path):
    before = os.umask(0o077)
    try:
        set_up(*GIVEN)
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "etc").rglob("*") if path.is_file() and "data" not in path.parts]
    assert len(files) == 5
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o640}


def test_a_certificate_that_acme_will_request_is_no_fault(set_up, tmp_path):
    result = set_up(*GIVEN, "--acme")
    assert "ACME requests one while the gateway runs" in result.stderr
    assert [path.name for path in (tmp_path / "etc" / "secrets").iterdir()] == ["master.key"]


def test_a_second_time_nothing_changes(set_up, tmp_path):
    first = set_up(*GIVEN)
    before = content(tmp_path / "etc")
    again = set_up("--hostname", "other.example.com", "--domain", "other.example")
    assert again.stdout == first.stdout
    assert "nothing is changed" in again.stderr
    assert content(tmp_path / "etc") == before


def test_its_resource_file_changes_nothing_where_it_is_applied_again(set_up, tmp_path):
    """Without the DKIM keys, it would remove the keys whose records are published."""
    set_up(*GIVEN)
    words = ["--config", tmp_path / "etc/gatepost.toml", "apply", "-f", tmp_path / "etc/resources.toml", "--dry-run"]
    said = CliRunner().invoke(main, list(map(str, words)))
    assert said.exit_code == 0, said.output
    assert said.output.startswith("nothing to change"), said.output


@pytest.mark.parametrize(("typed", "kept"), [("127.0.0.1 127.0.0.2", True), ("dns.example\nnone", False), ("", False)])
def test_a_terminal_is_asked_four_questions_each_until_the_answer_is_right(tmp_path, typed, kept):
    ours, theirs = pty.openpty()
    words = ["quickstart", "--directory", tmp_path / "etc", "--address", "127.0.0.1:0", "--admin-address", ""]
    command = [sys.executable, "-m", "gatepost", *map(str, words)]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as asked:
        os.write(ours, f"mx1\nmx1.contoso.example\ncontoso.example contoso.test\na host\nmailboxes\n{typed}\n".encode())
        said = asked.communicate(timeout=60)[1]
    os.close(ours)
    os.close(theirs)
    settings = tomllib.loads((tmp_path / "etc/gatepost.toml").read_text())
    assert settings["server"]["hostname"] == "mx1.contoso.example", said
    assert "Error: 'mx1' is not fully qualified" in said
    assert "Error: 'a host' is not a domain" in said
    assert settings["dns"] == ({"nameservers": ["127.0.0.1", "127.0.0.2"]} if kept else {"validate": "local"})
    assert "contoso.test" in (tmp_path / "etc/resources.toml").read_text()


def test_what_is_missing_and_cannot_be_asked_is_said(set_up, tmp_path):
    assert "--hostname is missing, and there is no terminal" in set_up(code=2).stderr
    assert "--domain is missing" in set_up("--hostname", "mx1.contoso.example", code=2).stderr
    assert not (tmp_path / "etc" / "gatepost.toml").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--hostname", "mx1", *GIVEN[2:]), "server.hostname: 'mx1' is not fully qualified"),
        ((*GIVEN, "--address", "nonsense"), "listener[0].address"),
        ((*GIVEN, "--nameserver", "dns.example"), "dns.nameservers"),
        ((*GIVEN[:2], "--domain", "no domain", *GIVEN[4:]), "accepted_domain"),
        ((*GIVEN[:4], "--upstream", "a host:25"), "'a host' is not a domain"),
    ],
)
def test_wrong_answers_change_nothing(set_up, tmp_path, words, said):
    result = set_up(*words, code=2)
    assert said in result.stderr
    assert not (tmp_path / "etc").exists()


def test_a_certificate_of_ones_own(set_up, tmp_path):
    chain, key = Authority("Own Root").issue(["mx1.contoso.example"])
    (tmp_path / "own.pem").write_bytes(chain)
    (tmp_path / "own.key").touch(0o600)
    (tmp_path / "own.key").write_bytes(key)
    set_up(*GIVEN, "--certificate", str(tmp_path / "own.pem"), str(tmp_path / "own.key"))
    assert f'chain = "{tmp_path / "own.pem"}"' in (tmp_path / "etc" / "gatepost.toml").read_text()
    assert [path.name for path in (tmp_path / "etc" / "secrets").iterdir()] == ["master.key"]


def test_settings_of_the_package_are_completed_and_kept(set_up, tmp_path):
    (tmp_path / "etc").mkdir()
    ours = '[server]\ndata_dir = "/var/lib/gatepost"\n'
    (tmp_path / "etc" / "gatepost.toml").write_text(ours)
    set_up(*GIVEN)
    assert (tmp_path / "etc" / "gatepost.toml.before-quickstart").read_text() == ours


def test_settings_that_are_wrong_are_left_alone(set_up, tmp_path):
    (tmp_path / "etc").mkdir()
    ours = '[server]\nhostname = "mx.a.example"\ndrain = "x"\n'
    (tmp_path / "etc" / "gatepost.toml").write_text(ours)
    assert "nothing was changed" in set_up(*GIVEN, code=2).stderr
    assert (tmp_path / "etc" / "gatepost.toml").read_text() == ours


def test_a_set_up_that_was_cut_off_is_begun_again(set_up, tmp_path, monkeypatch):
    def cut_off(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(command, "_make_resources", cut_off)
        set_up(*GIVEN, code=1)
    key = (tmp_path / "etc/secrets/master.key").read_bytes()
    assert not list((tmp_path / "etc").glob("*gatepost.toml*"))
    assert "; records to publish for contoso.example" in set_up(*GIVEN).stdout
    assert (tmp_path / "etc/secrets/master.key").read_bytes() == key


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sets up for another account")
@pytest.mark.skipif(
    IS_PYTHON_CLOSED, reason="this Python lies in a folder that only its owner may enter: that is said first"
)
@pytest.mark.parametrize("apart", [False, True])
def test_what_the_account_could_not_reach_is_not_made(set_up, tmp_path, monkeypatch, apart):
    monkeypatch.setenv("GATEPOST_SERVER__USER", "nobody")
    monkeypatch.setattr(command, "DEFAULT_ACCOUNT", "nobody")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        closed = Path(folder) / "roots"
        closed.mkdir(mode=0o700)
        data = Path(folder) / "data" if apart else closed / "data"
        result = set_up("--directory", str(closed / "etc"), "--data-dir", str(data), *GIVEN, code=2)
        assert list(closed.iterdir()) == []
    assert f"chmod o+x {closed}, or " in result.stderr
    assert result.stderr.endswith("nothing was changed\n")


@pytest.mark.parametrize("name", ["quickstart", "up"])
def test_a_directory_that_cannot_be_written_is_named(tmp_path, monkeypatch, name):
    (tmp_path / "file").touch()
    given = GIVEN if name == "quickstart" else ()
    result = CliRunner().invoke(main, [name, "--directory", str(tmp_path / "file" / "etc"), *given])
    assert result.exit_code == 2, result.output
    assert f"{tmp_path / 'file' / 'etc'}" in result.stderr
    assert result.stderr.endswith(": Not a directory; choose another --directory\n")


def test_a_second_time_up_says_where_it_listens_after_all(tmp_path, monkeypatch):
    def up(*words):
        return CliRunner().invoke(main, ["up", "--directory", str(tmp_path / "try"), *words]).stderr

    monkeypatch.setattr(command, "serve", click.Command("serve", callback=lambda config, check: None))
    kept = f"127.0.0.1:{free_port()}"
    assert f"mail at {kept}, admin centre at https://127.0.0.1:8443," in up("--address", kept)
    assert "already" not in up("--address", kept)
    said = up("--address", "127.0.0.1:2599", "--admin-address", "127.0.0.1:2598")
    assert "gatepost.toml is there already, and says where to listen: change it there" in said
    assert f"mail at {kept}, admin centre at https://127.0.0.1:8443," in said


def test_it_is_for_this_machine():
    result = CliRunner().invoke(main, ["--server", "https://127.0.0.1:1", "--token-file", "/dev/null", "quickstart"])
    assert result.exit_code == 2
    assert "works only on" in result.output


def test_every_option_says_what_it_is():
    assert all(option.help for option in quickstart.params)


def test_in_a_container_the_next_commands_are_those_of_its_host(set_up, tmp_path, monkeypatch):
    (tmp_path / "container").touch()
    monkeypatch.setattr(command, "_CONTAINER_MARK", tmp_path / "container")
    said = set_up(*GIVEN).stderr
    assert "podman run --detach --name gatepost …\n" in said
    assert "podman exec --interactive --tty gatepost gatepost user add NAME --role owner\n" in said
    assert " serve\n" not in said
