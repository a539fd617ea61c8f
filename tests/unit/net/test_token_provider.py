from __future__ import annotations

import mmap
import os
import sys
from contextlib import ExitStack

import pytest

from gatepost.net.token_access import TokenAccess
from gatepost.net.token_provider import is_loaded


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_provider_is_loaded_where_the_process_has_its_file_whatever_others_are_called(tmp_path):
    provider = tmp_path / "för tokens.so"
    access = TokenAccess("/lib/module.so", str(provider), "", "")
    with ExitStack() as maps:
        for name in (os.fsencode(tmp_path / "other") + b"\xff.so", os.fsencode(provider)):
            assert not is_loaded(access)
            with open(name, "w+b") as file:  # noqa: PTH123 - its name is not text
                file.write(b"x")
                file.flush()
                maps.enter_context(mmap.mmap(file.fileno(), 1))
        assert is_loaded(access)
    assert not is_loaded(access)
