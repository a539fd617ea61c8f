"""Start a command anew with OpenSSL's PKCS#11 provider, if the settings have keys in a token ([pkcs11]).

OpenSSL is loaded with the modules of a command, before its settings are read; so the process replaces itself once
(execve) and keeps its number. Used by `manage.cli.options`; who has no such setting never imports this.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gatepost.net.token_access import TOKEN_KEYS, TokenAccess, TokenError, default_provider
from gatepost.net.token_provider import VARIABLE, configuration_file, is_configured_otherwise, is_loaded, was_requested
from gatepost.net.token_trial import check_provider, not_loaded

if TYPE_CHECKING:
    from gatepost.settings.model import Settings


_REFUSED_PIN: Final = "pkcs11-refused-pin"


def with_provider(settings: Settings) -> None:
    """Go on with the provider loaded: in this process if it has it, else by starting it anew. Raises TokenError."""
    access = token_access(settings)
    if not is_loaded(access):
        check_provider(access)
        if was_requested():
            raise TokenError(not_loaded(access))
        if is_configured_otherwise():
            raise TokenError(
                "OPENSSL_CONF is set, and OpenSSL reads one configuration only: remove that variable, or [pkcs11]"
            )
        _start_anew(access)
    TOKEN_KEYS.access = access


def token_access(settings: Settings) -> TokenAccess:
    """The access that [pkcs11] sets. Raises TokenError if a credential is not there."""
    own = settings.pkcs11
    kind, _, name = own.pin.partition(":")
    if kind == "credential":
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise TokenError(
                f"pkcs11.pin: {own.pin}: systemd gave no credentials; the unit needs LoadCredential={name}:FILE"
            )
        name = str(Path(folder) / name)
    return TokenAccess(
        own.module, own.provider or default_provider(), name, str(Path(settings.server.data_dir) / _REFUSED_PIN)
    )


def _start_anew(access: TokenAccess) -> None:
    """Never returns. -P: Python looks for modules in no directory in which somebody called this."""
    file = configuration_file(access)
    os.set_inheritable(file, True)
    environment = os.environ | {VARIABLE: f"/proc/self/fd/{file}"}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, "-P", "-m", "gatepost", *sys.argv[1:]], environment)  # noqa: S606 - ourselves
