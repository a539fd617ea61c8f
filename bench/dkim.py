"""What does a DKIM signature cost a message, and would a thread make it cheaper?

    .venv/bin/python bench/dkim.py

Runs the content step as a delivery does, on messages in memory, with one key and with two, and without any. Prints
microseconds of CPU of the process a message, least of seven rounds; beside it what the signature alone costs, and a hop
to a thread and back. Nothing is asserted: figures are in docs/performance.md.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from gatepost.mail.model.message import Message, Recipient
from gatepost.mail.outbound.body import MessageBody
from gatepost.mail.outbound.content import OutgoingMessage
from gatepost.mail.outbound.dkim import DkimSigning
from gatepost.pki.certificates.dkim_keys import DkimKeys, made_key, read_key
from gatepost.pki.certificates.vault import Vault
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.values import DkimAlgorithm
from gatepost.policy.decisions.route import RoutePlanner
from gatepost.store.changes import ConfigStore

RSA, ED25519 = DkimAlgorithm.RSA_SHA256, DkimAlgorithm.ED25519_SHA256
CASES: dict[str, tuple[DkimAlgorithm, ...]] = {
    "no key": (),
    "ed25519": (ED25519,),
    "rsa2048": (RSA,),
    "both": (RSA, ED25519),
}
SIZES = {"4 KB": 4 << 10, "64 KB": 64 << 10, "1 MB": 1 << 20}
ROUNDS = 7
FIELDS = (
    "Received: from a by b; Tue, 24 Nov 2026 14:00:00 +0000",
    "From: Ann <ann@contoso.example>",
    "To: Bob <bob@b.example>, Carl <carl@b.example>",
    "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= and more",
    "Date: Tue, 24 Nov 2026 14:00:00 +0000",
    "Message-ID: <0123456789@contoso.example>",
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=utf-8",
)


def content(size: int) -> bytes:
    """A message of text in lines of 72 octets, words and blanks."""
    header = "\r\n".join([*FIELDS, "", ""]).encode()
    line = b"the quick brown fox jumps over the lazy dog, and nobody knows why it 12\r\n"
    return header + line * ((size - len(header)) // len(line))


def directory(keys: DkimKeys, store: ConfigStore, algorithms: tuple[DkimAlgorithm, ...]) -> Directory:
    """An organization with a current key of each."""
    parts = []
    for algorithm in algorithms:
        pem, name = made_key(algorithm), f"{algorithm.partition('-')[0]}._domainkey.contoso.example"
        store.apply({}, author="bench", content=keys.sealed("contoso", name, pem))
        public = read_key(pem).public_key
        parts.append({"name": name, "algorithm": str(algorithm), "state": "current", "public_key": public})
    domains = [{"name": "contoso.example"}]
    return Directory(parse({"organization": {"contoso": {"accepted_domain": domains, "dkim_key": parts}}}))


async def least(times: int, work: Callable[[], Awaitable[Any]]) -> float:
    """Microseconds of CPU for one call."""
    await work()
    best = float("inf")
    for _ in range(ROUNDS):
        begin = time.process_time()
        for _ in range(times):
            await work()
        best = min(best, (time.process_time() - begin) / times)
    return best * 1e6


async def measure(store: ConfigStore) -> None:
    """Print all of it."""
    print(f"{'':10}" + "".join(f"{name:>10}" for name in SIZES))
    for name, algorithms in CASES.items():
        keys = DkimKeys(store, Vault(b"m" * 32))
        step, known = DkimSigning(keys, time.time), directory(keys, store, algorithms)
        recipient = Recipient("bob@b.example")
        ((route, _),) = RoutePlanner(known, "default").routes("contoso", [recipient], reverse_path="")
        message = Message(1, "contoso", 0.0, "ann@contoso.example", direction="originating")
        departure = OutgoingMessage(known, "contoso", message, [recipient], route)
        row = []
        for size in SIZES.values():
            octets = content(size)
            body = MessageBody(octets, len(octets), lambda: iter(()))  # type: ignore[arg-type,return-value] # in memory
            row.append(await least(max(10, 400_000 // size), partial(step.apply, departure, body)))
        print(f"{name:10}" + "".join(f"{one:10.0f}" for one in row))
    for algorithm in (RSA, ED25519):
        signer = read_key(made_key(algorithm))

        async def sign(signer: Any = signer) -> None:
            signer.sign(b"x" * 500)

        print(f"{algorithm} alone: {await least(200, sign):.0f}")
    print(f"a hop to a thread and back: {await least(500, lambda: asyncio.to_thread(int)):.0f}")


def main() -> None:
    """With a store of its own."""
    with tempfile.TemporaryDirectory() as folder, closing(ConfigStore(Path(folder) / "config.db")) as store:
        asyncio.run(measure(store))


if __name__ == "__main__":
    main()
