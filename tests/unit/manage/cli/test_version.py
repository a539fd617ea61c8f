from __future__ import annotations

import platform
import re
import sys
import sysconfig

import apsw
import pytest

from gatepost import __version__
from gatepost.manage.cli.version import interpreter, version_text


def test_two_lines_with_all_that_decides():
    first, second = version_text().split("\n")
    assert first == f"gatepost {__version__}"
    assert re.fullmatch(
        r"CPython 3\.\d+\.\d+\S* \((not )?optimised build\), OpenSSL \d\.\S+ .*, SQLite \d+\.\d+\.\d+", second
    )
    assert platform.python_version() in second
    assert second.endswith(f"SQLite {apsw.sqlite_lib_version()}")


BUILDS = [
    ("'--enable-optimizations'", "optimised build"),
    ("'--with-lto' '--prefix=/x'", "optimised build"),
    ("'--prefix=/x'", "not optimised build"),
    (None, "not optimised build"),
]


@pytest.mark.parametrize(("options", "said"), BUILDS)
def test_a_slow_build_is_called_one(monkeypatch, options, said):
    monkeypatch.setattr(sys, "base_prefix", "/opt/python")
    monkeypatch.setattr(sysconfig, "get_config_var", lambda _name: options)
    assert interpreter().endswith(f" ({said})")
