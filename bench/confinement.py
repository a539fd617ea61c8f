"""What does confinement cost a message? Processor time of a gateway with and without it, in turns.

    .venv/bin/python bench/confinement.py [--messages N] [--rounds N]

Each message of 3 KB comes in over SMTP and goes into a mailbox, which opens and renames files: the most that Landlock
looks at. Processor time is that of the worker (/proc/PID/stat); the median of the differences within a round counts.
"""

from __future__ import annotations

import argparse
import os
import smtplib
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "system"))

from support.gateway import Gateway
from support.scenes import ALICE, contoso, message

ANN = "ann@contoso.example"


def seconds_of(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cost(server: Gateway, messages: int) -> float:
    """Microseconds of the worker for a message."""
    worker, content = server.family()[1], message(body=("x" * 70 + "\r\n") * 40)
    before = seconds_of(worker)
    with smtplib.SMTP("127.0.0.1", server.port) as client:
        for _ in range(messages):
            client.sendmail(ALICE, [ANN], content)
    while server.cli("queue", "list", json=True).data:
        time.sleep(0.1)
    return (seconds_of(worker) - before) / messages * 1e6


def main() -> None:
    """Print a line for each round, and the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    pairs = []
    settings = {"limits": {"commands_without_mail": 10**6}}
    with (
        Gateway(contoso(), settings=settings) as with_it,
        Gateway(contoso(), settings={**settings, "server": {"confine": False}}) as without,
    ):
        for server in (with_it, without):
            cost(server, 200)
        for number in range(arguments.rounds):
            order = (with_it, without) if number % 2 else (without, with_it)
            found = {server: cost(server, arguments.messages) for server in order}
            pairs.append((found[with_it], found[without]))
            print(f"confined {pairs[-1][0]:7.1f} µs   free {pairs[-1][1]:7.1f} µs")
    confined, free = (statistics.median(side) for side in zip(*pairs, strict=True))
    difference = statistics.median(one - other for one, other in pairs)
    print(f"median: confined {confined:.1f} µs, free {free:.1f} µs, difference {difference:+.1f} µs a message")


if __name__ == "__main__":
    main()
