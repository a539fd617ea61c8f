"""What the memory of destinations costs: a new connection, a message over a kept one, and writing it down.

.venv/bin/python bench/destination_memory.py
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gatepost.mail.outbound.destination_history import DestinationMemory
from gatepost.policy.decisions.destination_history import DestinationName, SeenSession
from gatepost.policy.decisions.requirement import Achieved, TlsLevel
from gatepost.store.destinations import DESTINATIONS_FILE, DestinationFile, DestinationStore

DESTINATIONS = 20_000
KEPT = 1_000_000


def opened() -> Any:
    """As much of an `OpenHop` as memory looks at."""
    return SimpleNamespace(
        drops={},
        hop=SimpleNamespace(host="mx.example", port=25, endpoint="192.0.2.1:25"),
        facts=SimpleNamespace(tls=SimpleNamespace(version="TLSv1.3"), chain=object(), classical=None),
        verdict=SimpleNamespace(achieved=Achieved(TlsLevel.AUTHENTICATED)),
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / DESTINATIONS_FILE
        names = [DestinationName("contoso", f"d{number}.example") for number in range(DESTINATIONS)]
        session = SeenSession("mx.example", Achieved(TlsLevel.AUTHENTICATED), time.time(), "TLSv1.3")
        noted = {name: [(session, False)] for name in names}
        file = DestinationFile(path)
        begin = time.perf_counter()
        file.write(noted)
        spent = time.perf_counter() - begin
        file.close()
        print(f"written: {spent / DESTINATIONS * 1e6:.1f} us and {path.stat().st_size / DESTINATIONS:.0f} bytes each")
        store = DestinationStore(path)
        memory = DestinationMemory(store, time.time)
        connections = [opened() for _ in names]
        begin = time.perf_counter()
        for name, connection in zip(names, connections, strict=True):
            memory.recall(name, connection, hold=True)
        print(f"new connection: {(time.perf_counter() - begin) / DESTINATIONS * 1e6:.1f} us")
        name, connection = names[0], connections[0]
        begin = time.perf_counter()
        for _ in range(KEPT):
            memory.recall(name, connection, hold=True)
        print(f"message over a kept one: {(time.perf_counter() - begin) / KEPT * 1e9:.0f} ns")
        store.close()


if __name__ == "__main__":
    main()
