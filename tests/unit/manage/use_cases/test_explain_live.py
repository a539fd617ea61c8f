"""Next hops that are asked what they present: a listener on loopback that answers as a server does, and nobody."""

from __future__ import annotations

import asyncio
import tomllib
from contextlib import ExitStack, suppress

import pytest
import tomlkit

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases import explain as module
from gatepost.manage.use_cases.context import Gateway
from gatepost.manage.use_cases.explain import ExplainRequest, explain, explain_record
from gatepost.manage.use_cases.refusal import BusyRefusal
from gatepost.settings.loader import load

OWNER = Principal("ann", frozenset({Scope.OWNER}))
TENANT = Principal("con", frozenset({Scope.READ, Scope.CONNECTORS}), frozenset({"contoso"}))
ANN, BANK = "ann@contoso.example", "x@bank.example"


async def talk(reader, writer):
    """A server without STARTTLS."""
    writer.write(b"220 sink.test ESMTP\r\n")
    while line := await reader.readline():
        writer.write(b"221 bye\r\n" if line.upper().startswith(b"QUIT") else b"250 sink.test\r\n")
        await writer.drain()
    writer.close()


@pytest.fixture
def asked(tmp_path):
    """Ask about mail from ann while a server listens, to which smart hosts at PORT lead."""

    def ask(who, recipient, *connectors):
        async def run():
            async with await asyncio.start_server(talk, "127.0.0.1", 0) as listener:
                port = listener.sockets[0].getsockname()[1]
                gateway = made(tmp_path, [tomllib.loads(one.replace("PORT", str(port))) for one in connectors])
                return port, await asyncio.to_thread(explain, gateway, who, ExplainRequest(ANN, recipient, live=True))

        return asyncio.run(run())

    return ask


def made(folder, connectors):
    settings = {
        "server": {"hostname": "mx.gate.example", "data_dir": "data"},
        "dns": {"nameservers": ["127.0.0.1:1"], "timeout": 0.2},
    }
    (folder / "gatepost.toml").write_text(tomlkit.dumps(settings))
    gateway = Gateway(load(str(folder / "gatepost.toml"), {}))
    contoso = {
        "accepted_domain": [{"name": "contoso.example"}],
        "mailbox": [{"address": ANN}],
        "outbound_connector": list(connectors),
    }
    with gateway.config() as store:
        store.apply({"organization": {"contoso": contoso}}, author="root")
    return gateway


SMART = 'name = "out"\nrecipient_domains = ["*"]\nsmart_hosts = [%s]'
STRICT = SMART + '\ntls_settings = "encryption-only"'


@pytest.mark.parametrize("who", [OWNER, TENANT], ids=["owner", "tenant"])
def test_smart_hosts_are_reached_wherever_they_are(asked, who):
    """Whoever makes connectors names them: they are no addresses that a stranger chose."""
    port, answer = asked(who, BANK, SMART % '"127.0.0.1:PORT"')
    (report,) = answer.reports
    assert (report.address, report.usable) == (f"127.0.0.1:{port}", True)
    (record,) = explain_record(answer)["live"]
    assert record["address"] == report.address


def test_each_is_asked_for_what_the_way_demands(asked):
    _, answer = asked(OWNER, BANK, STRICT % '"127.0.0.1:PORT", "127.0.0.1:1"')
    first, second = answer.reports
    assert (first.failed.name, second.failed.name) == ("STARTTLS", "Connect")
    assert not answer.succeeds


def test_so_many_are_asked_and_no_more(asked):
    _, answer = asked(OWNER, BANK, SMART % ", ".join(f'"127.0.0.{number}:PORT"' for number in range(1, 16)))
    assert len(answer.reports) == 10


# who -> whether a host at an address that is not of the public internet is tried
@pytest.mark.parametrize(("who", "tried"), [(OWNER, True), (TENANT, False)], ids=["owner", "tenant"])
def test_hosts_that_a_recipient_names_are_reached_in_the_public_internet_only(asked, who, tried):
    _, answer = asked(who, "x@[127.0.0.9]")
    (report,) = answer.reports
    words = " ".join(task.text for task in report.tasks)
    assert ("tenants_may_reach" in words) is not tried
    assert ("Connect" in [task.name for task in report.tasks if task.status != "skipped"]) is tried


def test_a_domain_whose_dns_does_not_answer(asked):
    _, answer = asked(OWNER, BANK)
    (report,) = answer.reports
    assert (report.address, report.usable) == ("", False)
    assert not answer.succeeds


def test_a_mailbox_has_no_hop(asked):
    _, answer = asked(OWNER, ANN)
    assert answer.reports == []
    assert answer.succeeds


async def lmtp(reader, writer):
    writer.write(b"220 box.test LMTP\r\n")
    with suppress(ConnectionError):  # the client does not read what answers its QUIT
        while line := await reader.readline():
            writer.write(b"250-box.test\r\n250 PIPELINING\r\n" if line.startswith(b"LHLO") else b"221 bye\r\n")
    writer.close()


@pytest.mark.parametrize("runs", [True, False])
def test_the_lmtp_server_of_a_mailbox_is_reached(tmp_path, runs):
    async def run():
        path = tmp_path / "lmtp"
        async with await asyncio.start_unix_server(lmtp, path if runs else tmp_path / "other"):
            gateway = made(tmp_path, [])
            with gateway.config() as store:
                _, stored = store.load("organization")
                contoso = stored["organization"]["contoso"] | {
                    "mailbox": [{"address": ANN, "delivery": f"lmtp:unix:{path}"}]
                }
                store.apply({"organization": {"contoso": contoso}}, author="root")
            return await asyncio.to_thread(explain, gateway, OWNER, ExplainRequest(ANN, ANN, live=True))

    answer = asyncio.run(run())
    (report,) = answer.reports
    assert (report.usable, answer.succeeds) == (runs, runs)
    said = {task.name: task for task in report.tasks}
    assert said["Resolve"].detail == f"{tmp_path}/lmtp is a socket of this machine: nothing to look up"
    if runs:
        assert said["EHLO"].detail.endswith("offers PIPELINING")
        assert all(task.status in {"succeeded", "skipped"} for task in report.tasks)
    else:
        assert report.failed.name == "Connect"
        assert f"start the LMTP server that listens at {tmp_path}/lmtp" in report.failed.advice


def test_a_way_that_is_anothers_is_not_tried(asked, tmp_path):
    _, answer = asked(TENANT, BANK)
    assert answer.reports
    gateway = Gateway(load(str(tmp_path / "gatepost.toml"), {}))
    other = {
        "accepted_domain": [{"name": "their.example", "type": "internal-relay"}],
        "outbound_connector": [
            {"name": "hidden", "recipient_domains": ["their.example"], "smart_hosts": ["127.0.0.1:1"]}
        ],
    }
    with gateway.config() as store:
        store.apply({"organization": {"secret": other}}, author="root")
    answer = explain(gateway, TENANT, ExplainRequest(ANN, "x@their.example", live=True))
    assert (answer.reports, answer.withheld) == ([], {"inbound", "outbound"})


def test_a_tenant_leaves_a_place_to_others(asked, tmp_path):
    asked(OWNER, ANN)
    gateway = Gateway(load(str(tmp_path / "gatepost.toml"), {}))
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(module._LIVE.slot(TENANT.share_key))
        with pytest.raises(BusyRefusal):
            explain(gateway, TENANT, ExplainRequest(ANN, ANN, live=True))
        assert explain(gateway, OWNER, ExplainRequest(ANN, ANN, live=True)).succeeds
