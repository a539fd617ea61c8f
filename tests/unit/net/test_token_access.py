"""Tests of the PIN of a token: read from its file, and never tried again once it was refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatepost.net.token_access import (
    TokenAccess,
    TokenError,
    TokenKeys,
    check_pin,
    default_provider,
    forget_refused,
    one_at_a_time,
    openssl_conf,
    read_pin,
    remember_refused,
)


@pytest.fixture
def access(tmp_path: Path) -> TokenAccess:
    pin = tmp_path / "pin"
    pin.write_bytes(b"4321\r\nmore\n")
    pin.chmod(0o600)
    return TokenAccess("/usr/lib/module.so", "/usr/lib/pkcs11.so", str(pin), str(tmp_path / "refused"))


def test_the_first_line_is_the_pin(access: TokenAccess) -> None:
    assert read_pin(access) == "4321"
    assert read_pin(TokenAccess("", "", "", "")) == ""


@pytest.mark.parametrize("content", [b"", b"\n", b"\n4321", b"12\x0034", b"1" * 300])
def test_a_file_without_a_pin_is_an_error(access: TokenAccess, content: bytes) -> None:
    Path(access.pin_file).write_bytes(content)
    with pytest.raises(TokenError, match="its first line must be the PIN"):
        read_pin(access)


def test_a_pin_that_others_may_read_is_an_error(access: TokenAccess) -> None:
    Path(access.pin_file).chmod(0o644)
    with pytest.raises(TokenError, match="chmod 0600"):
        check_pin(access)
    Path(access.pin_file).unlink()
    with pytest.raises(TokenError, match="No such file"):
        check_pin(access)


def test_a_refused_pin_is_not_tried_again_until_it_is_another_one(access: TokenAccess) -> None:
    assert check_pin(access) == "4321"
    remember_refused(access, "4321")
    kept = Path(access.refused_file)
    assert kept.stat().st_mode & 0o777 == 0o600
    assert b"4321" not in kept.read_bytes()
    with pytest.raises(TokenError, match="is not tried again") as error:
        check_pin(access)
    assert "4321" not in str(error.value)
    Path(access.pin_file).write_text("1234\n")
    assert check_pin(access) == "1234"
    Path(access.pin_file).write_text("4321\n")
    forget_refused(access)
    forget_refused(access)
    assert check_pin(access) == "4321"


def test_a_damaged_memory_of_a_refused_pin_refuses_nothing(access: TokenAccess) -> None:
    Path(access.refused_file).write_bytes(b"")
    assert check_pin(access) == "4321"


def test_processes_take_turns(access: TokenAccess) -> None:
    with one_at_a_time(access):
        pass
    with one_at_a_time(access):
        assert Path(f"{access.refused_file}.lock").stat().st_mode & 0o777 == 0o600
    with (
        pytest.raises(TokenError, match="as the gateway's account"),
        one_at_a_time(TokenAccess("", "", "", "/nowhere/refused")),
    ):
        pass


def test_the_configuration_of_openssl_has_no_pin(access: TokenAccess) -> None:
    text = openssl_conf(access)
    assert "module = /usr/lib/pkcs11.so\npkcs11-module-path = /usr/lib/module.so\n" in text
    assert "pin" not in text
    assert default_provider().endswith("/ossl-modules/pkcs11.so")


def test_only_so_many_keys_are_known() -> None:
    keys = TokenKeys()
    for number in range(70):
        keys.note(f"pkcs11:token=a;object={number}", b"")
    keys.note("pkcs11:token=a;object=6", b"chain")
    assert len(keys.used) == 64
    assert list(keys.used.items())[-1] == ("pkcs11:token=a;object=6", b"chain")
