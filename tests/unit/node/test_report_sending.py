from __future__ import annotations

import asyncio

import pytest

from gatepost.node import report_sending as module
from gatepost.node.report_sending import ReportSending, reporter_of
from gatepost.protocols.tlsrpt.outgoing import Reporter
from gatepost.settings.loader import load
from gatepost.store.interface import StoreFailure
from gatepost.store.leases import FixedLease

ENVIRONMENT = {
    "GATEPOST_SERVER__HOSTNAME": "mx1.contoso.example",
    "GATEPOST_TLS_REPORTS__ORGANIZATION_NAME": "Contoso",
    "GATEPOST_TLS_REPORTS__CONTACT": "tls@contoso.example",
    "GATEPOST_TLS_REPORTS__MAIL_FROM": "tls@Reports.Contoso.example",
}


class Slow:
    """A sender whose rounds last until they are let go, and then end as they are told."""

    def __init__(self, *_, **__):
        self.begun = 0
        self.free = asyncio.Event()
        self.failure = None

    async def round(self):
        self.begun += 1
        await self.free.wait()
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def sending(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "ReportSender", Slow)
    settings = load(None, ENVIRONMENT | {"GATEPOST_SERVER__DATA_DIR": str(tmp_path)})
    return lambda: ReportSending(settings, None, None, None, FixedLease(held=True))


def test_one_round_at_a_time(sending):
    async def run():
        made = sending()
        sender = made._sender
        made.tick()
        await asyncio.sleep(0)
        made.tick()
        await asyncio.sleep(0)
        assert sender.begun == 1
        sender.free.set()
        await made._running.task
        made.tick()
        await made._running.task
        assert sender.begun == 2

    asyncio.run(run())


def test_closing_ends_what_is_under_way(sending):
    async def run():
        made = sending()
        await made.close()
        made.tick()
        await asyncio.sleep(0)
        await made.close()
        assert made._running.task.cancelled()

    asyncio.run(run())


def test_a_failing_store_is_told_once(sending, caplog):
    async def run():
        made = sending()
        made._sender.free.set()
        for failure in (StoreFailure("full"), StoreFailure("full"), None, StoreFailure("full again")):
            made._sender.failure = failure
            made.tick()
            await made._running.task

    asyncio.run(run())
    assert [one.message for one in caplog.records if one.levelname == "ERROR"] == [
        "TLS reports are not sent: full",
        "TLS reports are not sent: full again",
    ]


def test_who_reports():
    assert reporter_of(load(None, ENVIRONMENT).tls_reports) == Reporter(
        "Contoso", "tls@contoso.example", "reports.contoso.example"
    )
    bare = {"GATEPOST_SERVER__HOSTNAME": "mx1.contoso.example"}
    assert reporter_of(load(None, bare).tls_reports) == Reporter("", "", "")
