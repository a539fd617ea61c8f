from __future__ import annotations

import asyncio
import socket

import pytest

from gatepost.manage.use_cases.listener_checks import ResolverCheck, resolver_of
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.settings.loader import load


def test_it_is_made_of_the_settings_or_refused(tmp_path):
    async def made(dns):
        file = tmp_path / "gatepost.toml"
        file.write_text(f'[server]\nhostname = "mx.gate.example"\ndata_dir = "data"\n[dns]\n{dns}\n', encoding="utf-8")
        async with resolver_of(load(str(file), {})) as resolver:
            return resolver.validation

    assert asyncio.run(made('nameservers = ["127.0.0.1:9"]')).startswith(
        "DNSSEC: the gateway trusts the validation of [127.0.0.1]:9"
    )
    with pytest.raises(Refusal) as refused:
        asyncio.run(made('validate = "local"\ntrust_anchor_file = "none"'))
    assert refused.value.kind is RefusalKind.INPUT
    assert refused.value.text.startswith("[dns]: ")


def settled(tmp_path, dns):
    file = tmp_path / "gatepost.toml"
    file.write_text(f'[server]\nhostname = "mx.gate.example"\ndata_dir = "data"\n[dns]\n{dns}\n', encoding="utf-8")
    return ResolverCheck(load(str(file), {}))


def test_nobody_listens_and_it_is_said_where(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    resolving = settled(tmp_path, f'nameservers = ["127.0.0.1:{port}"]')
    found = resolving.run()
    assert (found.name, found.ok) == (f"127.0.0.1:{port}", False)
    assert f"nameserver [127.0.0.1]:{port} cannot be reached: Connection refused" in found.detail
    assert resolving.run() is found, "nobody is asked twice at once"


def test_silence_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("gatepost.manage.use_cases.listener_checks._PATIENCE", 0.2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        found = settled(tmp_path, f'nameservers = ["127.0.0.1:{silent.getsockname()[1]}"]').run()
    assert (found.ok, found.detail) == (False, "no answer within 0.2 s")


def test_what_cannot_be_made_is_said(tmp_path):
    found = settled(tmp_path, 'validate = "local"\ntrust_anchor_file = "none"').run()
    assert (found.name, found.ok) == ("root servers", False)
    assert found.detail.startswith("[dns]: ")
