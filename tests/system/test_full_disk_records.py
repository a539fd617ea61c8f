"""A disk that is full in the middle of a day of the message trace and of the evidence log, while mail goes on.

Each of the two has a small file system of its own. What happens to mail waits in memory meanwhile and is written when
there is room again; the gateway says what is wrong in its log, health, metrics, alarms and on its page. Needs root.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.disk import Filler, mount, unmount
from support.gateway import Gateway
from support.outages import Traffic, Watched, arrivals
from support.postgres import sqlite_only
from support.scenes import ALICE, connector, contoso

from gatepost.testing.process import wait_until
from gatepost.testing.sink import Sink

pytestmark = sqlite_only("the trace is on the database server's disk")

RECORDS = {"trace": "the message trace cannot be written", "evidence": "the evidence log cannot be written"}
BOB = "bob@partner.example"


@pytest.mark.timeout(240)
def test_mail_goes_on_while_its_records_wait_for_room(
    running: ExitStack, sink: Callable[..., Sink], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    for name in RECORDS:
        mount(data / name, 6 << 20)
        running.callback(unmount, data / name)
    partner = sink()

    def start(more: dict[str, Any]) -> Gateway:
        settings = {"server": {"data_dir": str(data)}, "alarms": {"look": "1s"}} | more
        server = Gateway(contoso(outbound=[connector("partner.example", partner.address)]), settings=settings)
        server.data_dir = data
        return running.enter_context(server)

    watched = Watched(start)
    watched.log_in()
    server = watched.gateway
    fillers = [Filler(data / name / "foreign") for name in RECORDS]
    for filler in fillers:
        running.callback(filler.remove)
    with Traffic("full", [server.port], [BOB, "ann@contoso.example"], sender=ALICE, pause=0.05) as traffic:
        wait_until(lambda: len(traffic.acknowledged) > 10, "mail")
        server.wait_trace(recipient=BOB, event="SEND")
        for filler in fillers:
            filler.start()
        before = len(traffic.acknowledged)

        def told() -> bool:
            return all(title in watched.alarms() for title in RECORDS.values())

        wait_until(told, "an alarm for each record")
        said = watched.says()
        assert said.ready == "200 ready, but what is recorded of mail cannot be written\n"
        assert said.health == "200 ok, but what is recorded of mail cannot be written\n"
        assert 'gatepost_alarms{kind="records-unwritten",severity="error"} 2' in said.metrics
        for title in RECORDS.values():
            assert title[1:] in said.status
            assert title[1:] in said.page
            assert f"alarm: {title}" in said.log
        assert said.log.count("rows wait in memory, as far as they fit") == 1
        assert said.log.count("entries wait in memory, as far as they fit") == 1
        wait_until(lambda: len(traffic.acknowledged) > before + 10, "mail that waits for no record of it")
        for filler in fillers:
            filler.remove()
        back = time.monotonic()
        wait_until(lambda: "no alarms" in watched.alarms(), "no alarm any more")
        print(f"{len(traffic.acknowledged) - before} messages meanwhile, over after {time.monotonic() - back:.1f} s")
        traffic.finish()
    sent = [identity for identity, to in traffic.sent.items() if to == BOB]

    def recorded() -> bool:
        return len(server.trace(recipient=BOB, event="SEND", limit="10000")) == len(sent)

    wait_until(recorded, "all rows of the trace")
    found = arrivals({"partner": partner}, [server])
    assert {identity: len(found[identity]) for identity in traffic.sent} == dict.fromkeys(traffic.sent, 1)
    assert traffic.refused == {}
    server.stop()
    verified = server.cli("evidence", "verify", json=True).data
    assert (verified["verified"], verified["gaps"], verified["unsigned"]) == (True, [], {})
    assert verified["entries"] >= 2 * len(traffic.sent)
