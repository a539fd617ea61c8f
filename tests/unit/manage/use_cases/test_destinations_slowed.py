from __future__ import annotations

import time

from tests.unit.manage.calls import run

from gatepost.mail.model.slowed_next_hop import SlowedNextHop
from gatepost.manage.use_cases.destinations import list_slowed
from gatepost.store.figures import WORKERS_DIRECTORY, WorkerFigures, write_figures


def test_next_hops_of_all_workers(gateway):
    now = time.time()
    for worker in (0, 1):
        slowed = SlowedNextHop("relay:25", 7.54, 20.0, now, now, 421), SlowedNextHop("old:25", 1.0, 2.0, 0.0, 0.0, 421)
        write_figures(gateway.data / WORKERS_DIRECTORY, WorkerFigures(worker, slowed=slowed))
    found = run(gateway, list_slowed).items
    assert [(hop.next_hop, hop.worker, hop.messages_per_minute, hop.code) for hop in found] == [
        ("relay:25", 0, 7.5, 421),
        ("relay:25", 1, 7.5, 421),
    ]
