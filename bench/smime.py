"""How long S/MIME takes, how long the loop stops meanwhile, and how much memory it needs.

.venv/bin/python bench/smime.py 20      megabytes of a message, default 20
"""

from __future__ import annotations

import asyncio
import datetime as dt
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from gatepost.mail.outbound import smime, smime_decryption
from gatepost.mail.outbound.body import MessageBody
from gatepost.mail.outbound.in_memory_transform import InMemoryTransform
from gatepost.net.tasks import spawn
from gatepost.pki.smime.decryption import Opener
from gatepost.pki.smime.signing import SmimeSigner

KEY = rsa.generate_private_key(65537, 2048)
LINES = (b"x" * 76 + b"\r\n") * 3 + b"x" * 20 + b"\r\n"


def certificate() -> x509.Certificate:
    now, name = dt.datetime.now(dt.UTC), x509.Name([])
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + dt.timedelta(1))
    return builder.sign(KEY, hashes.SHA256())


def body_of(size: int) -> MessageBody:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"From: a@b.example\r\nContent-Type: text/plain\r\n\r\n"
        for _ in range(size * 4):
            yield LINES * 1024

    return MessageBody(None, size << 20, chunks)


async def timed(title: str, work: Awaitable[MessageBody]) -> MessageBody:
    worst, ended = 0.0, asyncio.Event()

    async def watch() -> None:
        nonlocal worst
        while not ended.is_set():
            begin = time.perf_counter()
            await asyncio.sleep(0.001)
            worst = max(worst, time.perf_counter() - begin)

    watching, begin = spawn(watch(), "watch"), time.perf_counter()
    made = await work
    took = time.perf_counter() - begin
    ended.set()
    await watching
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{title:15} {took:6.2f} s   loop stopped {worst * 1000:4.0f} ms   most memory {memory} MB")
    return made


async def main(size: int) -> None:
    one = certificate()
    with tempfile.TemporaryDirectory() as folder:
        bench = InMemoryTransform(Path(folder), 1 << 30)
        encrypt = partial(smime._make, signer=None, certificates=[one], told={})
        both = partial(smime._make, signer=SmimeSigner(one, KEY), certificates=[one], told={})
        decrypt = partial(smime_decryption._make, openers=[Opener(one, KEY)], hostname="mx", told={})
        made = await timed("encrypt", bench.made(body_of(size), encrypt))
        await timed("sign, encrypt", bench.made(body_of(size), both))
        await timed("decrypt", bench.made(made, decrypt))


asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
