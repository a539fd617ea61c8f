"""Logs in memory: lines of a chain, signed with a real key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gatepost.events.evidence.chain import Place, Signer, join, key_id, sign_body
from gatepost.events.evidence.entry import begin_body, checkpoint_body

NOW = 1_795_000_000.25
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
SIGNER = Signer(key_id(KEY.public_key().public_bytes_raw()), KEY.sign)


@cache  # whoever changes each byte of a log has the same signatures checked thousands of times
def check(key: str, message: bytes, signature: bytes) -> bool | None:
    if key != SIGNER.key:
        return None
    try:
        KEY.public_key().verify(signature, message)
    except InvalidSignature:
        return False
    return True


@dataclass
class Log:
    """The lines of one writer's file, as they are added."""

    writer: str = "0"
    place: Place = field(default_factory=Place)
    lines: list[bytes] = field(default_factory=list)

    def add(self, body: dict[str, Any]) -> Log:
        head, line = join(self.place.head, {"number": self.place.number + 1} | body)
        self.place = Place(self.place.number + 1, head)
        self.lines.append(line)
        return self

    def begin(self, day: str = "2026-11-18") -> Log:
        return self.add(begin_body(self.place, NOW, node="mx1", writer=self.writer, day=day, software="gatepost"))

    def event(self, count: int = 1, **members: Any) -> Log:
        for _ in range(count):
            self.add({"kind": "event", "salt": f"s{self.place.number}{self.writer}", "event": "SEND"} | members)
        return self

    def sign(self, body: dict[str, Any] | None = None) -> Log:
        return self.add(sign_body(body or checkpoint_body(self.place, NOW, writer=self.writer, node="mx1"), SIGNER))


@pytest.fixture(scope="session")
def log() -> Callable[..., Log]:
    """An empty log of a writer."""
    return Log


@pytest.fixture(scope="session")
def signatures() -> Callable[[str, bytes, bytes], bool | None]:
    """Checks by the key of these logs."""
    return check


@pytest.fixture(scope="session")
def signer() -> Signer:
    return SIGNER
