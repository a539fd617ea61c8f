"""Pages stay small and quick with long lists of long texts: the small form of `bench/admin_pages.py`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from support.pace import Pace

BENCH = Path(__file__).parents[2] / "bench"
SECONDS = 2.0  # of an idle core for a page's first time: a bound for what grows with the square of something
LONG = " and so on & so forth, <however> long a text may be" * 8


@pytest.fixture(scope="module")
def measurements(tmp_path_factory):
    sys.path.insert(0, str(BENCH))
    try:
        from admin_pages import Centre, cases, measured  # noqa: PLC0415 - it is no package
        from admin_world import Sizes, world  # noqa: PLC0415 - as above

        sizes = Sizes(
            connectors=700,
            rows=1100,
            late=600,
            deliveries=1200,
            certificates=600,
            events=400,
            versions=400,
            users=200,
            reports=300,
            days=2,
            more=LONG,
        )
        scene = world(tmp_path_factory.mktemp("sizes") / "gateway", sizes, say=lambda _: None)
        asked = [*cases("pages"), *cases("forms")]
        with Pace() as pace:
            lines = asyncio.run(measured(Centre(scene), asked, times=0))
        yield lines, pace
    finally:
        sys.path.remove(str(BENCH))


@pytest.fixture(scope="module")
def lines(measurements):
    return measurements[0]


def test_every_page_is_there_below_100_kb(lines):
    assert len(lines) > 100
    missing = [(one.case.path, one.status) for one in lines if one.status not in {200, 303}]
    # There is no evidence log, and there is an owner.
    assert missing == [("/trace/{message}/evidence", 404), ("/setup", 422)]
    assert [(one.case.path, one.size) for one in lines if one.size > 100_000] == []


def test_no_page_takes_long(measurements):
    lines, pace = measurements
    most = SECONDS * pace.cpu_slowness
    assert [(one.case.path, one.cpu) for one in lines if one.cpu > most] == []
