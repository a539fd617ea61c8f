from __future__ import annotations

import re

from gatepost.store.engines import sqlite_version


def test_it_is_a_version():
    assert re.fullmatch(r"3\.\d+\.\d+", sqlite_version())
