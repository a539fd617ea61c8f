from __future__ import annotations

import asyncio

import pytest

from gatepost.cli.resolving import resolver_of
from gatepost.settings.loader import load


def test_it_is_made_of_the_settings_or_ends_the_command(home, capsys):
    async def made(**dns):
        async with resolver_of(load(str(home.settings(dns=dns)), {})) as resolver:
            return resolver.validation

    assert asyncio.run(made(nameservers=["127.0.0.1:9"])).startswith("DNSSEC: what [127.0.0.1]:9 says")
    with pytest.raises(SystemExit) as ended:
        asyncio.run(made(validate="local", trust_anchor_file="none"))
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("[dns]: ")
