"""What a gateway leans on goes away for a while, under steady light traffic: mail, and an account of every message.

An `Outage` has its mail (`Traffic`), how the thing goes and returns, and what the gateway must say meanwhile. Clients
do as mail servers do: what is refused for now is sent again until it is taken.
"""

from __future__ import annotations

import re
import smtplib
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import urlopen

from support.admin import OWNER, AdminCentre
from support.gateway import Gateway
from support.person import Person
from support.scenes import message
from support.senders import Senders

from gatepost.testing.process import free_port
from gatepost.testing.sink import Sink

_SUBJECT = re.compile(rb"^Subject: away-([\w.]+-\d+)\r?$", re.MULTILINE)
_MOST = 5  # messages that a client sends in one go, those that were refused before among them


class Traffic(Senders):
    """One client for each recipient, which sends a message every `pause` seconds to one of the ports.

    name: of all its messages, a word. recipients: "{number}" in one is that of the message. acknowledged: when each
    identity got its 250 (time.monotonic).
    """

    def __init__(
        self, name: str, ports: Sequence[int], recipients: Sequence[str], *, sender: str, pause: float
    ) -> None:
        self.name = name
        self.sent: dict[str, str] = {}  # identity -> recipient
        self.acknowledged: dict[str, float] = {}
        self.refused: Counter[str] = Counter()
        self._ports, self._recipients, self._sender, self._pause = ports, recipients, sender, pause
        self._quiet = threading.Event()
        super().__init__(len(recipients))

    def finish(self, timeout: float = 60) -> None:
        """Send nothing new, and return when all that was sent is taken, or after `timeout` seconds."""
        self._quiet.set()
        for thread in self._threads:
            thread.join(timeout)

    def _run(self, place: int) -> None:
        waiting: list[str] = []
        number = 0
        while not self._over.is_set():
            if not self._quiet.is_set():
                number += 1
                identity = f"{self.name}.{place}-{number}"
                self.sent[identity] = self._recipients[place].format(number=number)
                waiting.append(identity)
            elif not waiting:
                return
            waiting = self._try(waiting[:_MOST], number) + waiting[_MOST:]
            self._over.wait(min(self._pause, 1.0) if self._quiet.is_set() else self._pause)

    def _try(self, identities: list[str], number: int) -> list[str]:
        """Those that were not taken."""
        left = list(identities)
        try:
            with smtplib.SMTP("127.0.0.1", self._ports[number % len(self._ports)], timeout=20) as client:
                for identity in identities:
                    content = message(f"away-{identity}", "x" * 70, sender=self._sender)
                    client.sendmail(self._sender, [self.sent[identity]], content)
                    self.acknowledged[identity] = time.monotonic()
                    left.remove(identity)
        except (smtplib.SMTPException, OSError) as error:
            self.refused[_words_of(error)] += 1
        return left


def _words_of(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, text = next(iter(error.recipients.values()))
    elif isinstance(error, smtplib.SMTPResponseException):
        code, text = error.smtp_code, error.smtp_error
    else:
        return repr(error)
    words = text.decode() if isinstance(text, bytes) else text
    return f"{code} {words.partition(' [')[0]}"


class Arrival(NamedTuple):
    """at: time.monotonic(). place: of whom took it. tls: "" in clear."""

    at: float
    place: str
    tls: str


def arrivals(sinks: Mapping[str, Sink], gateways: Iterable[Gateway]) -> dict[str, list[Arrival]]:
    """What came, by identity: at a sink, by its name, or in a mailbox of a gateway."""
    found: dict[str, list[Arrival]] = defaultdict(list)
    shift = time.monotonic() - time.time()
    for place, sink in sinks.items():
        for one in sink.messages:
            if match := _SUBJECT.search(one.data):
                found[match[1].decode()].append(Arrival(one.at, place, one.tls))
    for gateway in gateways:
        for path in gateway.data_dir.rglob("new/*"):
            if match := _SUBJECT.search(path.read_bytes()):
                found[match[1].decode()].append(Arrival(path.stat().st_mtime + shift, "mailbox", ""))
    return found


class Said(NamedTuple):
    """What a gateway says of itself in one moment."""

    ready: str
    health: str
    metrics: str
    log: str
    status: str
    alarms: str
    page: str


class Watched:
    """A gateway whose health, metrics and admin centre are asked. start: Gateway(resources, settings=...)."""

    def __init__(self, start: Callable[[dict[str, object]], Gateway]) -> None:
        self._watched, admin = free_port(), free_port()
        self.gateway = start(
            {"metrics": {"address": f"127.0.0.1:{self._watched}"}, "admin": {"address": f"127.0.0.1:{admin}"}}
        )
        self._centre = AdminCentre(self.gateway, admin)
        self._person: Person | None = None

    def log_in(self) -> None:
        """Make an owner, whose session lasts."""
        self._centre.make_owner()
        self._person = Person(self._centre, OWNER)

    def says(self) -> Said:
        """Ask everything now."""
        status = self.gateway.cli("status", expect=None, timeout=60)
        page = ""
        with suppress(OSError):
            page = self._person.ask("/").text if self._person else ""
        return Said(
            self._get("/readyz"),
            self._get("/healthz"),
            self._get("/metrics"),
            self.gateway.log(),
            status.stdout + status.stderr,
            self.alarms(),
            page,
        )

    def alarms(self) -> str:
        """What `gatepost alarms` prints."""
        run = self.gateway.cli("alarms", expect=None, timeout=60)
        return run.stdout + run.stderr

    def _get(self, path: str) -> str:
        try:
            with urlopen(f"http://127.0.0.1:{self._watched}{path}", timeout=5) as answer:
                return f"{answer.status} {answer.read().decode()}"
        except HTTPError as error:
            with error:
                return f"{error.code} {error.read().decode()}"
        except OSError as error:
            return repr(error)
