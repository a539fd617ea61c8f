"""A way out is there if somebody listens at the host, by any of its addresses."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gatepost.manage.use_cases.doctor import WayOut, way_finding, ways_out
from gatepost.manage.use_cases.listener_checks import resolver_of
from gatepost.node.machine_findings import Level
from gatepost.settings.model import Dns, Server, Settings
from gatepost.testing.name_server import DnsServer


@pytest.fixture
def asked():
    """Makes findings with these records."""

    def ask(records, work):
        async def run(settings):
            async with resolver_of(settings) as resolver:
                return await work(resolver, settings)

        with DnsServer(records) as names:
            dns = Dns(nameservers=(names.address,))
            return asyncio.run(run(Settings(server=Server(hostname="mx.gate.example"), dns=dns)))

    return ask


def test_a_host_that_listens_by_one_of_its_addresses(asked):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        way = WayOut(port, "mx.far.example", "mail waits", "open it")
        records = {"mx.far.example A": ["127.0.0.9", "127.0.0.1"]}
        assert asked(records, lambda resolver, _: way_finding(resolver, way)).level is Level.PASS
    found = asked(records, lambda resolver, _: way_finding(resolver, way))
    assert (found.area, found.level) == (f"outgoing port {port}", Level.WARN)
    assert found.text == "mx.far.example cannot be reached: mail waits"
    assert found.fix == "open it"


def test_each_way_names_its_port_and_what_a_closed_network_does_not_know(asked):
    found = asked({"gmail.com MX": ["5 mx.far.example."]}, ways_out)
    assert [finding.area for finding in found] == ["outgoing port 25", "outgoing port 80", "outgoing port 443"]
    assert {finding.level for finding in found} == {Level.WARN}
    assert found[0].text == "not tried: the DNS does not know mx.far.example"
    assert found[2].text == "not tried: the DNS does not know acme-v02.api.letsencrypt.org"
    assert asked({}, ways_out)[0].text == "not tried: the DNS does not know a mail host of gmail.com"
