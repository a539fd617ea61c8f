"""Tests of `[pkcs11]`."""

from __future__ import annotations

import pytest

from gatepost.settings.section import SectionError
from gatepost.settings.sections import Pkcs11


def test_nothing_is_in_a_token_by_default() -> None:
    assert (Pkcs11().module, Pkcs11().provider, Pkcs11().pin) == ("", "", "")


def test_module_and_pin_are_named() -> None:
    own = Pkcs11(module="/usr/lib/softhsm/libsofthsm2.so", pin="credential:pin", provider="")
    assert own.pin == "credential:pin"


@pytest.mark.parametrize(
    "path", ["module.so", "/usr/lib/$HOME.so", "/usr/lib/a#b.so", '/usr/lib/"a".so', "/a\\b", "/a'b"]
)
def test_a_path_that_openssl_would_read_otherwise_is_refused(path: str) -> None:
    with pytest.raises(SectionError, match="write a whole path"):
        Pkcs11(module=path)


def test_a_pin_is_in_no_variable_and_not_in_the_settings() -> None:
    with pytest.raises(SectionError, match="must be in a file"):
        Pkcs11(pin="env:PIN")
    with pytest.raises(SectionError, match="not a reference to a secret") as error:
        Pkcs11(pin="4711")
    assert "4711" not in str(error.value)
