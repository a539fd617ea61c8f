"""Have OpenSSL load its PKCS#11 provider, before anything else uses OpenSSL.

OpenSSL reads its configuration once, when it is first used. `configuration_file` makes one that no other process can
open; the process that is given its path in VARIABLE loads OpenSSL with it (`load`), and with nothing else: Python's own
copy of OpenSSL has no use for the provider. Used by `gatepost.__main__` and `net.token_trial`.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Final

from gatepost.net.token_access import TokenAccess, openssl_conf

VARIABLE: Final = "_GATEPOST_OPENSSL_CONF"
"""Names the file to a process that is to load the provider at its start."""

_OPENSSL: Final = "OPENSSL_CONF"
_requested: list[str] = []


def configuration_file(access: TokenAccess) -> int:
    """A descriptor of the configuration, in memory alone; programs that are started do not get it by themselves."""
    file = os.memfd_create("openssl.cnf")
    os.write(file, openssl_conf(access).encode())
    return file


def load(path: str) -> None:
    """Load OpenSSL with the configuration at `path`, which ends in the number of a descriptor that is closed then."""
    os.environ[_OPENSSL] = path
    os.environ[_OPENSSL] = path
    try:
        import_module("OpenSSL.SSL")
    finally:
        del os.environ[_OPENSSL]
        os.close(int(Path(path).name))


def load_requested() -> None:
    """Load the provider as the process that started this one requests it in VARIABLE."""
    path = os.environ.pop(VARIABLE)
    _requested.append(path)
    load(path)


def was_requested() -> bool:
    """Whether this process was started to load the provider."""
    return bool(_requested)


def is_loaded(access: TokenAccess) -> bool:
    """Whether this process has the provider: OpenSSL leaves out what it cannot load, and says nothing."""
    wanted = os.fsencode(os.path.realpath(access.provider))
    with Path("/proc/self/maps").open("rb") as maps:  # other files may have names in no encoding
        return any(line.rstrip(b"\n").endswith(b" " + wanted) for line in maps)


def is_configured_otherwise() -> bool:
    """Whether somebody gave OpenSSL a configuration of their own, beside which ours would not be read."""
    return _OPENSSL in os.environ
