from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gatepost.policy.connectors.content_hook import ContentHook, scanner_host


def hook(**fields: Any) -> ContentHook:
    return ContentHook(**{"name": "h", "type": "clamav", "address": "127.0.0.1"} | fields)


@pytest.mark.parametrize(
    ("written", "stored", "host"),
    [
        ("127.0.0.1", "127.0.0.1:3310", "127.0.0.1"),
        ("AV.example:99", "av.example:99", "av.example"),
        ("[2001:DB8::1]:99", "[2001:db8::1]:99", "2001:db8::1"),
        ("::1", "[::1]:3310", "::1"),
        ("unix:/run/clamav/clamd.ctl", "unix:/run/clamav/clamd.ctl", "/run/clamav/clamd.ctl"),
        ("http://127.0.0.1:11333", "http://127.0.0.1:11333", "127.0.0.1"),
        ("http://Spam.example/", "http://spam.example", "spam.example"),
        ("https://spam.example:443/checkv2", "https://spam.example:443", "spam.example"),
        ("https://[2001:DB8::1]:1", "https://[2001:db8::1]:1", "2001:db8::1"),
        ("http://localhost:11333", "http://localhost:11333", "localhost"),
    ],
)
def test_addresses_have_one_form(written: str, stored: str, host: str) -> None:
    made = hook(address=written)
    assert made.address == stored
    assert hook(address=stored) == made
    assert scanner_host(stored) == host


@pytest.mark.parametrize(
    "written",
    [
        "",
        "127.0.0.1:0",
        "unix:relative",
        "http://",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:x",
        "http://user:secret@127.0.0.1",
        "http://127.0.0.1/path",
        "http://127.0.0.1/?a",
        "http://127.0.0.1/#a",
        "http://[::1",
        "http://a b",
        "ftp://127.0.0.1",
    ],
)
def test_what_is_no_address(written: str) -> None:
    with pytest.raises(ValidationError):
        hook(address=written)


def test_defaults_are_the_careful_ones() -> None:
    made = hook()
    assert (made.enabled, made.mode, made.direction) == (True, "enforce", "both")
    assert (made.timeout, made.on_failure, made.over_max_size) == (30.0, "defer", "refuse")
    assert [str(one) for one in made.obey] == ["reject", "soft-reject", "rewrite-subject", "add-header"]


@pytest.mark.parametrize("fields", [{"timeout": "0s"}, {"timeout": "6m"}, {"connections": 0}, {"obey": ("discard",)}])
def test_bounds(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        hook(**fields)
