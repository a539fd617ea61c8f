"""What a signature costs in the process that shakes hands, and in another one over a socket pair: medians of 2,000.

Run with `.venv/bin/python bench/key_process.py`; used by decision 0124.
"""

from __future__ import annotations

import os
import socket
import statistics
import time
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

ROUNDS = 2000
ALGORITHM = ec.ECDSA(hashes.SHA256())


def median(work: Callable[[bytes], object]) -> float:
    """Microseconds of one call."""
    times = []
    for number in range(ROUNDS):
        begun = time.perf_counter()
        work(number.to_bytes(32))
        times.append(time.perf_counter() - begun)
    return 1e6 * statistics.median(times)


def serve(key: ec.EllipticCurvePrivateKey, sock: socket.socket) -> None:
    """Sign what comes until nobody asks any more."""
    while data := sock.recv(64):
        sock.send(key.sign(data, ALGORITHM))


def main() -> None:
    """Measure and print."""
    key = ec.generate_private_key(ec.SECP256R1())
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if (pid := os.fork()) == 0:
        ours.close()
        serve(key, theirs)
        os._exit(0)
    theirs.close()

    def ask(data: bytes) -> bytes:
        ours.send(data)
        return ours.recv(128)

    here, there = median(lambda data: key.sign(data, ALGORITHM)), median(ask)
    print(f"ECDSA P-256: {here:.0f} µs here, {there:.0f} µs in another process")
    ours.close()
    os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
