from __future__ import annotations

import pytest

from gatepost.manage.cli.admin_address import admin_url, setup_url
from gatepost.settings.loader import load


@pytest.mark.parametrize(
    ("address", "local", "elsewhere"),
    [
        ("127.0.0.1:8443", "https://127.0.0.1:8443", "https://127.0.0.1:8443"),
        ("0.0.0.0:443", "https://127.0.0.1:443", "https://mx.gate.example:443"),
        ("[::]:443", "https://127.0.0.1:443", "https://mx.gate.example:443"),
        ("[2001:db8::1]:443", "https://[2001:db8::1]:443", "https://[2001:db8::1]:443"),
        ("admin.gate.example:443", "https://admin.gate.example:443", "https://admin.gate.example:443"),
    ],
)
def test_where_it_is(home, address, local, elsewhere):
    settings = load(
        str(home.settings(server={"hostname": "mx.gate.example", "data_dir": "data"}, admin={"address": address})), {}
    )
    assert admin_url(settings, local=True) == local
    assert admin_url(settings, local=False) == elsewhere
    assert setup_url(settings, "abc", 9) == f"{local.rpartition(':')[0]}:9/setup?code=abc"
