from __future__ import annotations

import asyncio

import pytest

from gatepost.administration.refusal import Kind, Refusal
from gatepost.administration.resolving import resolver_of
from gatepost.settings.loader import load


def test_it_is_made_of_the_settings_or_refused(tmp_path):
    async def made(dns):
        file = tmp_path / "gatepost.toml"
        file.write_text(f'[server]\nhostname = "mx.gate.example"\ndata_dir = "data"\n[dns]\n{dns}\n', encoding="utf-8")
        async with resolver_of(load(str(file), {})) as resolver:
            return resolver.validation

    assert asyncio.run(made('nameservers = ["127.0.0.1:9"]')).startswith("DNSSEC: what [127.0.0.1]:9 says")
    with pytest.raises(Refusal) as refused:
        asyncio.run(made('validate = "local"\ntrust_anchor_file = "none"'))
    assert refused.value.kind is Kind.INPUT
    assert refused.value.text.startswith("[dns]: ")
