"""A gateway on real files in tmp_path, and principals who ask."""

from __future__ import annotations

import pytest

from gatepost.access.principal import Principal, Scope
from gatepost.administration.change import Wish
from gatepost.administration.gateway import Gateway
from gatepost.settings.loader import load

OWNER = Principal("ann", frozenset({Scope.OWNER}))
TENANT = Principal("liz", frozenset({Scope.READ, Scope.CONNECTORS}), frozenset({"fabrikam"}))
WISH = Wish("ann")


@pytest.fixture
def gateway(tmp_path):
    """One without resources."""
    file = tmp_path / "gatepost.toml"
    file.write_text('[server]\nhostname = "mx.gate.example"\ndata_dir = "data"\n', encoding="utf-8")
    return Gateway(load(str(file), {}))
