from __future__ import annotations

import os

import pytest

from gatepost.manage.remote.address import address
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind

PIN = "ab" * 32


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://gate.example:8443", ("https://gate.example:8443", "gate.example", 8443)),
        ("https://Gate.example/", ("https://gate.example:443", "gate.example", 443)),
        ("https://[::1]:8443", ("https://[::1]:8443", "::1", 8443)),
    ],
)
def test_addresses(url, expected):
    found = address(url, token=" gp_x\n", fingerprint=":".join(["AB"] * 32), ca="ca.pem")
    assert (found.url, found.host, found.port) == expected
    assert (found.token, found.fingerprint, found.ca) == ("gp_x", PIN, "ca.pem")
    assert "gp_x" not in repr(found)


@pytest.mark.parametrize(
    ("url", "options", "text"),
    [
        ("http://gate.example", {}, "must begin with https://"),
        ("gate.example:8443", {}, "must begin with https://"),
        ("https://gate.example/api/v1", {}, "a host and a port"),
        ("https://ann@gate.example", {}, "a host and a port"),
        ("https://gate.example:port", {}, "is not an address"),
        ("https://", {}, "names no host"),
        ("https://bücher.example", {}, "in ASCII"),
        ("https://gate.example", {"token": ""}, "needs an API token"),
        ("https://gate.example", {"token": "gp_a\r\nX: y"}, "blanks or other characters"),
        ("https://gate.example", {"token_file": "x"}, "give one of them"),
        ("https://gate.example", {"fingerprint": "abc"}, "64 hexadecimal digits"),
        ("https://gate.example", {"token": "", "token_file": "/nowhere/x"}, "No such file"),
    ],
)
def test_what_cannot_be_right(url, options, text):
    with pytest.raises(Refusal, match=text) as refused:
        address(url, **({"token": "gp_x"} | options))
    assert refused.value.kind is RefusalKind.INPUT
    assert "gp_a" not in str(refused.value)


def test_a_token_in_a_file_is_for_its_owner_alone(tmp_path):
    file = tmp_path / "token"
    file.write_text("gp_file\n", encoding="ascii")
    file.chmod(0o640)
    with pytest.raises(Refusal, match="chmod 600"):
        address("https://gate.example", token_file=str(file))
    file.chmod(0o600)
    assert address("https://gate.example", token_file=str(file)).token == "gp_file"
    read, write = os.pipe()
    os.write(write, b"gp_pipe\n")
    os.close(write)
    try:
        assert address("https://gate.example", token_file=f"/dev/fd/{read}").token == "gp_pipe"
    finally:
        os.close(read)
