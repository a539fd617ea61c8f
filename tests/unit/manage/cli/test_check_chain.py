"""`gatepost check chain|roots` without network: what is printed, and how wrong use ends."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import hashes
from support.chains import CLIENT, pem, server
from support.status_authority import StatusAuthority

from gatepost.manage.cli import main

ROOT = StatusAuthority("Root")
AUTHORITY = StatusAuthority("Intermediate \x1b[31m", parent=ROOT)
LEAF = server(AUTHORITY, crl=["http://crl.example/a.crl"], names=("mx1.contoso.example", "*.contoso.example"))


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "root.pem").write_bytes(pem(ROOT.certificate))

    def run(command, content, *words, code=0, anchors=True):
        (tmp_path / "x.pem").write_bytes(content)
        decide = ["--anchors", "root.pem"] if anchors else []
        result = CliRunner().invoke(main, ["check", command, "x.pem", *decide, *words])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        assert result.exit_code == code, result.output
        return result

    return run


GOOD = pem(LEAF.certificate, AUTHORITY.certificate)


def test_a_good_one(call):
    lines = call("chain", GOOD, "--offline", "--name", "mx9.contoso.example").stdout.splitlines()
    assert lines[0] == "x.pem: is mx1.contoso.example ready for service?  YES"
    assert lines[2].split()[:3] == ["1", "mx1.contoso.example", "EC-P-256"]
    assert lines[2].endswith("in the file")
    assert lines[4].endswith("in root.pem")
    assert "  ✓ names       it is for mx9.contoso.example, by *.contoso.example" in lines
    assert "  crl.example:80" in lines
    assert any(line.startswith("  _25._tcp.mx9.contoso.example. IN TLSA 3 1 1 ") for line in lines)
    assert lines[-1].startswith("verdict=ready chain=trusted days=")
    assert not any("\x1b" in line for line in lines)


def test_thumbprints_of_the_others(call):
    short, long = (call("chain", GOOD, "--offline", *words).stdout for words in ((), ("-v",)))
    assert (short.count("SHA-256 thumbprint"), long.count("SHA-256 thumbprint")) == (1, 3)


def test_the_answer_names_the_first_failure(call):
    bad = server(AUTHORITY, usages=(CLIENT,), days=(-9, -2))
    lines = call("chain", pem(bad.certificate, AUTHORITY.certificate), "--offline", code=1).stdout.splitlines()
    assert lines[0].startswith("x.pem: is mx1.contoso.example ready for service?  NO: mx1.contoso.example expired on")
    assert " expired " in lines[2]


def test_warnings_are_counted_in_the_answer(call):
    odd = GOOD + pem(StatusAuthority("Stranger").certificate)
    assert call("chain", odd, "--offline").stdout.splitlines()[0].endswith("YES, with 1 warning")
    odd += pem(StatusAuthority("Another").certificate)
    assert call("chain", odd, "--offline").stdout.splitlines()[0].endswith("YES, with 2 warnings")


def test_what_cannot_be_told_is_said_first(call):
    private = server(AUTHORITY, crl=["http://127.0.0.1:9/crl"])
    content = pem(private.certificate, AUTHORITY.certificate)
    result = call("chain", content, code=3)
    assert "INCONCLUSIVE: CRL of mx1.contoso.example could not be fetched: http://127.0.0.1:9/crl" in result.stdout
    assert result.stdout.splitlines()[-1].endswith("fails=0 warnings=0 unknown=1")


def test_json(call):
    record = json.loads(call("chain", GOOD, "--offline", "--json").stdout)
    assert (record["file"], record["kind"], record["verdict"]) == ("x.pem", "chain", "ready")
    record = json.loads(call("roots", pem(ROOT.certificate), "--json").stdout)
    assert (record["file"], record["kind"], record["verdict"], record["store"]) == (
        "x.pem",
        "roots",
        "trusted",
        "root.pem",
    )


def test_roots(call):
    stranger = StatusAuthority("Stranger").certificate
    content = pem(ROOT.certificate, AUTHORITY.certificate, stranger, stranger)
    lines = call("roots", content, code=1).stdout.splitlines()
    assert lines[0] == "x.pem: are these authorities trusted here (root.pem)?  NO: 1 of 3 are not"
    assert lines[2].startswith("  ✗ root        Stranger, EC-P-256, until ")
    assert lines[3].split()[1:3] == ["SHA-1", stranger.fingerprint(hashes.SHA1()).hex().upper() + ";"]  # noqa: S303 - a thumbprint
    assert any(line.startswith("  ✓ interm.     Intermediate \N{REPLACEMENT CHARACTER}[31m, EC") for line in lines), (
        lines
    )
    assert "  · file        1 certificate is in it more than once" in lines
    assert lines[-1] == "verdict=not-trusted certificates=3 trusted=2 missing=1 ended=0 warnings=1"
    assert call("roots", pem(ROOT.certificate)).stdout.splitlines()[0].endswith("YES")
    assert call("roots", pem(ROOT.certificate), "-v").stdout.count("SHA-256") == 1


def test_standard_input(call):
    call("roots", pem(ROOT.certificate))
    result = CliRunner().invoke(main, ["check", "roots", "-", "--anchors", "root.pem"], input=pem(ROOT.certificate))
    assert result.stdout.startswith("standard input: are these")


WRONG = [
    (["chain"], "Missing argument"),
    (["chain", "none.pem"], "none.pem: No such file or directory"),
    (["chain", "."], "is a directory"),
    (["chain", "root.pem", "--anchors", "none"], "--anchors: none: No such file or directory"),
    (["chain", "root.pem", "--name", "b..example"], "--name: "),
    (["chain", "root.pem", "--name", "*.example"], "--name: "),
    (["chain", "root.pem", "--key", "root.pem"], "--key: root.pem: no private key in it"),
    (["chain", "root.pem", "--nameserver", "x"], "--nameserver: "),
    (["chain", "root.pem", "--timeout", "nan"], "--timeout"),
    (["chain", "many.pem"], "many.pem: 51 certificates are no chain"),
    (["roots", "empty.pem"], "empty.pem: the file is empty"),
]


@pytest.mark.parametrize(("words", "text"), WRONG, ids=lambda value: " ".join(value)[:40])
def test_wrong_use(call, tmp_path, words, text):
    (tmp_path / "empty.pem").touch()
    (tmp_path / "many.pem").write_bytes(b"".join(server(ROOT, f"{number}.example").pem for number in range(51)))
    result = CliRunner().invoke(main, ["check", *words])
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert text in result.stderr
