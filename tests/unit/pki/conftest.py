from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gatepost.store.changes import ConfigStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConfigStore]:
    with closing(ConfigStore(tmp_path / "data" / "config.db")) as opened:
        yield opened
