from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from gatepost.manage.pages import login
from gatepost.manage.pages.login import origin, rp_id


@pytest.mark.parametrize(
    ("host", "party"),
    [
        ("mx.gate.example:8443", "mx.gate.example"),
        ("localhost", "localhost"),
        ("MX.gate.example", "mx.gate.example"),
        ("127.0.0.1:8443", ""),
        ("[::1]:8443", ""),
    ],
)
def test_an_ip_address_is_no_relying_party(host, party):
    request = SimpleNamespace(headers={"host": host})
    assert rp_id(request) == party
    assert origin(request) == f"https://{host.lower()}"


def test_there_is_none_without_the_extra(monkeypatch):
    asked = []
    monkeypatch.setattr(login, "find_spec", asked.append)
    assert rp_id(SimpleNamespace(headers={"host": "mx.gate.example:8443"})) == ""
    assert asked == ["webauthn"]


def test_pages_load_the_extra_only_where_it_is_needed():
    """Else the admin centre would not start where it is not installed."""
    script = (
        "import sys, gatepost.manage.pages.routes; print([name for name in sys.modules if name.startswith('webauthn')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert done.stdout == "[]\n"
