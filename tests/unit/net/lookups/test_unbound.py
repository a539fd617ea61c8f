from __future__ import annotations

import pytest

from gatepost.net.lookups import unbound
from gatepost.net.lookups.unbound import UnboundError, load


def test_what_to_install_is_said_where_the_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    load.cache_clear()
    monkeypatch.setattr(unbound, "LIBRARY", "libnosuchunbound.so.8")
    try:
        with pytest.raises(UnboundError, match=r"^libnosuchunbound\.so\.8 cannot be loaded .*apt install libunbound8"):
            load()
    finally:
        load.cache_clear()


def test_another_library_of_that_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    load.cache_clear()
    monkeypatch.setattr(unbound, "LIBRARY", "libc.so.6")
    try:
        with pytest.raises(UnboundError, match="ub_ctx_create"):
            load()
    finally:
        load.cache_clear()
