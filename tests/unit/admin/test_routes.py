"""That every page is measured; how long they take at a real size is for `bench/admin_pages.py`."""

from __future__ import annotations

import sys
from pathlib import Path

from starlette.routing import Route

from gatepost.admin.routes import ROUTES

BENCH = Path(__file__).parents[3] / "bench"


def test_every_page_is_measured_or_it_is_said_why_not(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    from admin_cases import NOT_MEASURED, PAGES, unmeasured  # noqa: PLC0415 - it is no package

    assert unmeasured(ROUTES) == []
    assert unmeasured([*ROUTES, Route("/fresh", lambda _: None)]) == ["/fresh"]
    assert unmeasured([one for one in ROUTES if one.path != "/audit"]) == ["/audit"]
    assert all(NOT_MEASURED.values())
    assert all(PAGES.values())
