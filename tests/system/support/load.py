"""Mail of many kinds without pause, and changes of the configuration, of which every acknowledged one is accounted for.

A message has an identity of its own in its subject. It arrives in a mailbox or at the partner; one to an address that
the partner refuses arrives as a notice to its sender. Notices that waited and messages that were delivered twice are
found by the same identity.
"""

from __future__ import annotations

import re
import smtplib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from math import inf
from pathlib import Path
from typing import Any, Self

from support.admin import AdminCentre
from support.gateway import Gateway
from support.scenes import ALICE, connector, contoso, message
from support.senders import Senders

from gatepost.testing.process import wait_until
from gatepost.testing.sink import Behaviour, Sink

MAILBOXES = ("ann@contoso.example", "ben@contoso.example")
GONE = "gone@partner.example"
RECIPIENTS = (*MAILBOXES, "bob@partner.example", GONE)
BEHAVIOUR = Behaviour(recipients={GONE: "550 5.1.1 No such user"}, kept=2000)
_SUBJECT = re.compile(rb"^Subject: load-(\d+-\d+)\r?$", re.MULTILINE)


def resources(partner: Sink) -> dict[str, Any]:
    """Of the gateway that gets the load."""
    return contoso(
        mailboxes=[ALICE, *MAILBOXES],
        outbound=[connector("partner.example", partner.address)],
        notices_to_strangers="send",
    )


class Load(Senders):
    """Clients that keep sending. acknowledged: identities of those that got their 250.

    longest: seconds that a message took from MAIL to its 250, or to the end of its connection, at most: what this
    machine, its disk and its load do.
    pause: seconds between two messages of a client. most: octets of the largest ones, which have a file of their own.
    """

    def __init__(self, port: int, clients: int = 4, *, pause: float = 0.0, most: int = 320_000) -> None:
        self._port = port
        self._pause = pause
        self._most = most
        super().__init__(clients)
        self.acknowledged: set[str] = set()
        self.unanswered = 0
        self.longest = 0.0

    def wait_for_more(self, count: int = 5, timeout: float = 60) -> None:
        """Return when so many more are acknowledged."""
        before = len(self.acknowledged)
        wait_until(lambda: len(self.acknowledged) > before + count, "mail to be taken again", timeout=timeout)

    def _run(self, client: int) -> None:
        sent = 0
        while not self._over.is_set():
            with suppress(OSError, smtplib.SMTPException):
                connection = smtplib.SMTP("127.0.0.1", self._port, timeout=10)
                try:
                    for _ in range(50):
                        if self._over.wait(self._pause):
                            break
                        sent += 1
                        self._send(connection, client, sent)
                finally:
                    connection.close()
            time.sleep(0.02)

    def _send(self, connection: smtplib.SMTP, client: int, number: int) -> None:
        identity = f"{client}-{number}"
        size = self._most if number % 25 == 0 else 1500
        content = message(f"load-{identity}", ("x" * 70 + "\r\n") * (size // 72))
        self.unanswered += 1
        begun = time.monotonic()
        try:
            connection.sendmail(ALICE, [RECIPIENTS[number % len(RECIPIENTS)]], content)
        finally:  # what waited until a kill waited for the same disk
            self.longest = max(self.longest, time.monotonic() - begun)
        self.unanswered -= 1
        self.acknowledged.add(identity)


class Changes:
    """One administrator who keeps adding mailboxes over REST. acknowledged: those that were answered 201."""

    def __init__(self, centre: AdminCentre, token: str, *, pause: float = 0.05) -> None:
        self._centre = centre
        self._token = token
        self._pause = pause
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.acknowledged: set[str] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def wait_for_more(self) -> None:
        """Return when one more is acknowledged."""
        before = len(self.acknowledged)
        wait_until(lambda: len(self.acknowledged) > before, "a change of the configuration")

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def _run(self) -> None:
        number = 0
        while not self._over.wait(self._pause):
            number += 1
            address = f"m{number}@contoso.example"
            with suppress(OSError, HTTPException):  # it may be killed in the middle of an answer
                path = "/api/v1/organizations/contoso/mailboxes"
                if self._centre.call(path, self._token, "POST", {"address": address}, {"If-Match": "*"})[0] == 201:
                    self.acknowledged.add(address)


@dataclass(frozen=True, slots=True)
class Account:
    """What became of a load. lost: identities. doubled: by identity the time of the first arrival, since 1970.

    longest: of the load.
    """

    acknowledged: int
    lost: set[str]
    doubled: dict[str, float]
    longest: float

    def __str__(self) -> str:
        return f"{self.acknowledged:,} acknowledged, {len(self.lost)} lost, {len(self.doubled)} doubled"

    def not_in_flight(self, ends: Sequence[float]) -> list[str]:
        """Doubled messages that had arrived so long before an end that their settlement should have been on disk.

        ends: times of kills, since 1970. A settlement waits for the loop and for a commit, as a message does that
        is accepted: at most twice as long. What the partner reads from its socket after a kill came just before it.
        """
        return [identity for identity, at in self.doubled.items() if _before(ends, at) > 0.2 + 2 * self.longest]

    def in_flight(self, ends: Sequence[float]) -> float:
        """Seconds from the first arrival of a doubled message to the next end, at most."""
        return max((_before(ends, at) for at in self.doubled.values()), default=0.0)


def _before(ends: Sequence[float], at: float) -> float:
    late = 0.1
    return min((end - at for end in ends if end > at - late), default=inf)


def wait_empty(server: Gateway, timeout: float = 90) -> None:
    """Return when nothing waits any more."""
    wait_until(lambda: server.cli("queue", "list", json=True).data == [], "the queue to run empty", timeout=timeout)


def account(server: Gateway, partner: Sink, load: Load, earlier: Iterable[tuple[str, float]] = ()) -> Account:
    """Compare what was acknowledged with what arrived anywhere. earlier: what arrived and was taken away."""
    arrivals: dict[str, list[float]] = defaultdict(list)
    for identity, at in (*earlier, *in_mailboxes(server), *_at_the_partner(partner)):
        arrivals[identity].append(at)
    doubled = {identity: min(times) for identity, times in arrivals.items() if len(times) > 1}
    return Account(len(load.acknowledged), load.acknowledged - set(arrivals), doubled, load.longest)


def in_mailboxes(server: Gateway, done: Callable[[Path], object] = lambda _: None) -> list[tuple[str, float]]:
    """Identity and time of what arrived in a mailbox, as itself or in a notice. done: called with each file."""
    result = []
    for path in server.data_dir.rglob("new/*"):
        if found := _SUBJECT.search(path.read_bytes()):  # of a notice the header that it returns
            result.append((found[1].decode(), path.stat().st_mtime))
        done(path)
    return result


def _at_the_partner(partner: Sink) -> Iterator[tuple[str, float]]:
    epoch = time.time() - time.monotonic()
    for received in partner.messages:
        if found := _SUBJECT.search(received.data):
            yield found[1].decode(), received.at + epoch
