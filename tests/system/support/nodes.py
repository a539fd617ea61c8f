"""Several nodes over one PostgreSQL, as an operator runs them: settings of each in a file, each a `gatepost serve`.

Every node reaches the database over a `Detour` of its own. Clients send to whichever node listens, as senders do with
several MX hosts; what arrived is found at one partner, so that loss and doubling are counted over the whole site.
"""

from __future__ import annotations

import random
import re
import smtplib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self

from support.detour import Detour, Detours
from support.gateway import Gateway
from support.kill_points import MortalGateway, Point
from support.pair import Pair
from support.postgres import Postgres
from support.scenes import ALICE, connector, contoso, message
from support.senders import Senders

from gatepost.testing.process import FixtureError, Folder, wait_until
from gatepost.testing.sink import Behaviour, Sink

SUBJECT = re.compile(rb"^Subject: node-(\d+-\d+)\r?$", re.MULTILINE)


class Nodes:
    """count: how many nodes. settings: merged into those of each node. With a `Pair` they find the primary.

    first: merged into the settings of the first one. points: where the first one can be killed. fields: of the
    organization. clocks: seconds by which that of a node is ahead, by its number
    from 0.
    """

    def __init__(
        self,
        server: Postgres | Pair,
        count: int = 3,
        *,
        settings: Mapping[str, Any] | None = None,
        first: Mapping[str, Any] | None = None,
        database: str = "",
        clocks: Mapping[int, float] | None = None,
        points: Sequence[Point] = (),
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        self._points, self._fields = points, fields or {}
        self._clocks = clocks or {}
        self.server = server
        self._stack = ExitStack()
        self.partner = Sink(behaviour=Behaviour(kept=2000))
        self._folder = Folder("site")
        key = self._folder.write("master.key", "k" * 64, 0o600)
        url = database or server.database()
        self.url = url
        self._servers = [server.port] if isinstance(server, Postgres) else server.ports
        self.detours = [Detours(*(Detour(server.host, port) for port in self._servers)) for _ in range(count)]
        both = (settings or {}, {**(settings or {}), **(first or {})})
        self.nodes = [self._node(number, url, key, both[number == 0]) for number in range(count)]

    def _node(self, number: int, url: str, key: Path, settings: Mapping[str, Any]) -> Gateway:
        way = url
        for server, detour in zip(self._servers, self.detours[number].ports, strict=True):
            way = way.replace(f":{server}", f":{detour}", 1)
        base: dict[str, Any] = {
            "server": {"node": f"node{number + 1}"},
            "store": {"url": way, "master_key": f"file:{key}", "shared_mailboxes": True},
            "queue": {"retry": ["1s"]},
        }
        outbound = [connector("partner.example", self.partner.address)]
        resources = contoso(mailboxes=[ALICE], outbound=outbound, **self._fields)
        for section, values in settings.items():
            base[section] = base.get(section, {}) | values
        kind = partial(MortalGateway, self._points) if self._points and number == 0 else Gateway
        return kind(
            resources if number == 0 else "",
            hostname=f"mx{number + 1}.contoso.example",
            settings=base,
            clock=self._clocks.get(number),
        )

    def __enter__(self) -> Self:
        try:
            self._stack.callback(self._folder.remove)
            self._stack.callback(self.partner.stop)
            self.partner.start()
            for detour in self.detours:
                self._stack.enter_context(detour)
            for node in self.nodes:
                self._stack.callback(node.remove)
                node.start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def queued(self) -> list[dict[str, Any]]:
        """The queue of the site, asked of the first node that answers."""
        for node in self.nodes:
            run = node.cli("queue", "list", json=True, expect=None)
            if run.status == 0:
                entries: list[dict[str, Any]] = run.data
                return entries
        return [{"nobody": "answers"}]

    def alarms(self) -> list[str]:
        """What the logs of all nodes say of alarms, oldest first."""
        lines = [line for node in self.nodes for line in node.log().splitlines()]
        return sorted(line for line in lines if " gatepost.node.alarms: alarm" in line)

    def arrived(self) -> Counter[str]:
        """How often each message of `SiteLoad` reached the partner."""
        return Counter(found[1].decode() for one in self.partner.messages if (found := SUBJECT.search(one.data)))


class SiteLoad(Senders):
    """Clients that keep sending to nodes that listen, each message with an identity of its own.

    pause: seconds between two messages of a client. acknowledged: those that got their 250, and when (time.monotonic).
    took: seconds from MAIL to 250, by the time at which the message was begun.
    """

    def __init__(self, nodes: Nodes, clients: int = 4, *, pause: float = 0.0) -> None:
        self._pause = pause
        self._ports = [node.port for node in nodes.nodes]
        super().__init__(clients)
        self.acknowledged: dict[str, float] = {}
        self.took: dict[float, float] = {}
        self.unanswered = 0
        self.refused = Counter[int]()
        self.last: dict[int, str | bytes] = {}  # by client

    def wait_for_more(self, count: int = 5, *, timeout: float = 60.0) -> None:
        """Return when `count` more messages are acknowledged. Raises FixtureError with what clients were told."""
        before, self.last = len(self.acknowledged), {}
        try:
            wait_until(lambda: len(self.acknowledged) >= before + count, "mail to be taken again", timeout=timeout)
        except FixtureError as late:
            raise FixtureError(f"{late}; clients were told {self.last}") from late

    def _run(self, client: int) -> None:
        chance = random.Random(client)  # noqa: S311 - the same choice in every run
        sent = 0
        while not self._over.is_set():
            try:
                connection = smtplib.SMTP("127.0.0.1", chance.choice(self._ports), timeout=15)
                try:
                    for _ in range(20):
                        if self._over.is_set():
                            break
                        sent += 1
                        self._send(connection, client, sent)
                finally:
                    connection.close()
            except (OSError, smtplib.SMTPException) as error:
                self.last.setdefault(client, repr(error))
            time.sleep(0.02)

    def _send(self, connection: smtplib.SMTP, client: int, number: int) -> None:
        identity = f"{client}-{number}"
        body = "x" * 70 + "\r\n"
        content = message(f"node-{identity}", body * (4500 if number % 25 == 0 else 20))
        self.unanswered += 1
        begun = time.monotonic()
        try:
            connection.sendmail(ALICE, ["bob@partner.example"], content)
        except smtplib.SMTPResponseException as error:
            self.unanswered -= 1
            self.refused[error.smtp_code] += 1
            self.last[client] = error.smtp_error
            raise
        self.unanswered -= 1
        self.acknowledged[identity] = time.monotonic()
        self.took[begun] = self.acknowledged[identity] - begun
        time.sleep(self._pause)
