from __future__ import annotations

import pytest
import tomlkit

from gatepost.manage.remote.acme_orders import acme_status
from gatepost.manage.use_cases import acme_orders as here
from gatepost.manage.use_cases.gateway import Gateway
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.settings.loader import load

from .conftest import NAME, OWNER


def test_off(safe):
    with pytest.raises(Refusal, match="ACME is off") as refused:
        acme_status(safe)
    assert refused.value.kind is Kind.INPUT


def test_where_they_stand(safe, tmp_path):
    file = tmp_path / "gatepost.toml"
    document = tomlkit.parse(file.read_text(encoding="utf-8"))
    document["acme"] = {"agree_tos": True, "directory_url": "https://127.0.0.1:1/dir", "names": [NAME]}
    file.write_text(tomlkit.dumps(document), encoding="utf-8")
    gateway = safe.api._app.state.gateway = Gateway(load(str(file), {}))
    found = acme_status(safe)
    assert found == here.acme_status(gateway, OWNER)
    assert not found["ok"]
    assert found["certificates"][0]["names"] == [NAME]
