"""The settings of private keys in tokens: `[pkcs11]`. A part of `settings.model`, read with it."""

from __future__ import annotations

from typing import Annotated, Final

from gatepost.policy.connectors.fields import FilePath, Form
from gatepost.settings.references import secret_reference
from gatepost.settings.section import Checked, Section, setting

_SPECIAL: Final = frozenset("$\\\"'#")  # of OpenSSL's configuration


def _library(value: str) -> str:
    """A path that OpenSSL's configuration takes as it is."""
    if value and (not value.startswith("/") or not value.isprintable() or _SPECIAL & set(value)):
        raise ValueError(f"{value!r}: write a whole path, without $, \\, # or quotation marks")
    return value


def _pin(value: str) -> str:
    if secret_reference(value).startswith("env:"):
        raise ValueError("the PIN must be in a file: write file:/PATH or credential:NAME")
    return value


class Pkcs11(Section):
    """Private keys in a PKCS#11 token, such as an HSM (docs/tokens.md). Needs OpenSSL's PKCS#11 provider."""

    module: Annotated[FilePath, Checked(_library)] = setting(
        default="",
        description="The PKCS#11 module of the token's vendor, such as /usr/lib/softhsm/libsofthsm2.so. Empty: no keys "
        "in tokens.",
    )
    provider: Annotated[FilePath, Checked(_library)] = setting(
        default="",
        description="The PKCS#11 provider of OpenSSL. Empty: where Debian's package pkcs11-provider has it.",
    )
    pin: Annotated[str, Checked(_pin), Form('"file:/PATH" or "credential:NAME"')] = setting(
        default="",
        description="The user PIN of the token: the first line of a file of mode 0600, or of a systemd credential. A "
        "PIN that the token refused is not tried again. Empty: the token needs none.",
    )
