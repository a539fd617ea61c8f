"""A gateway on real files in tmp_path."""

from __future__ import annotations

import pytest

from gatepost.administration.gateway import Gateway
from gatepost.settings.loader import load


@pytest.fixture
def gateway(tmp_path):
    """One without resources."""
    file = tmp_path / "gatepost.toml"
    file.write_text('[server]\nhostname = "mx.gate.example"\ndata_dir = "data"\n', encoding="utf-8")
    return Gateway(load(str(file), {}))
