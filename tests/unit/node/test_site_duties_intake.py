from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from gatepost.node.site_duties import ReportIntake
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.store.leases import FixedLease

RESOURCES = {
    "organization": {
        "contoso": {
            "accepted_domain": [{"name": "contoso.example"}, {"name": "contoso.test"}],
            "mailbox": [{"address": "ann@contoso.example"}, {"address": "tls@contoso.example", "tls_reports": True}],
        },
        "fabrikam": {"accepted_domain": [{"name": "fabrikam.example"}]},
    }
}


class Slow:
    """An intake that takes as long as it is told."""

    def __init__(self):
        self.calls = []
        self.free = threading.Event()

    def take(self, maildirs, domains):
        self.calls.append((list(maildirs), set(domains)))
        assert self.free.wait(20)
        return 0


def test_mailboxes_that_are_marked_are_looked_into_one_at_a_time():
    intake = Slow()

    async def run():
        certificates = ReportIntake(
            intake, lambda: Directory(parse(RESOURCES)), lambda address: Path("/mail") / address, FixedLease(held=True)
        )
        certificates.tick()
        while not intake.calls:  # noqa: ASYNC110 - a thread, which knows no event of the loop
            await asyncio.sleep(0.01)
        certificates.tick()  # the first is not done
        await asyncio.sleep(0.05)
        assert len(intake.calls) == 1
        intake.free.set()
        while not certificates._running.task.done():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
        certificates.tick()
        await certificates._running.task

    asyncio.run(run())
    domains = {"contoso.example", "contoso.test", "fabrikam.example"}
    assert intake.calls == [([Path("/mail/tls@contoso.example")], domains)] * 2
