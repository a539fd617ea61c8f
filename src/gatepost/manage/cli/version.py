"""Text of `gatepost --version`: the versions that decide how the gateway behaves and what it costs."""

from __future__ import annotations

import platform
import sys
import sysconfig
from pathlib import Path

from OpenSSL import SSL

from gatepost import __version__
from gatepost.store.sqlite.schema import sqlite_version


def interpreter() -> str:
    """The running interpreter, and whether it was built with optimisation (half the CPU of one that was not)."""
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    # Debian optimises its interpreter, but records the options of its shared library (scripts/find_python.sh).
    debian = sys.base_prefix == "/usr" and Path("/etc/debian_version").exists()
    optimised = debian or "--enable-optimizations" in options or "--with-lto" in options
    return (
        f"{platform.python_implementation()} {platform.python_version()} ({'' if optimised else 'not '}optimised build)"
    )


def version_text() -> str:
    """Two lines: gatepost's own version, then what it runs on."""
    openssl = SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode()
    return f"gatepost {__version__}\n{interpreter()}, {openssl}, SQLite {sqlite_version()}"
