"""Measure the main line: through which files one plain message goes, from the socket to the partner.

A worker is put together in this process, on loopback. A stranger sends a message over STARTTLS to a domain that is
relayed to one smart host, over TLS; every function of gatepost that is called until the delivery is settled is noted
with the calls that led to it. Periodic work is left out.

A **station** is a file in which octets of the message are taken, kept or sent: a peer's connection and its TLS, the
SMTP machines of both sides, the store of the queue. **On the line** are the stations, and every file from which the
message goes on: a call from it led, directly or through others, into a station or a look-up in another file. Properties
are no calls: they only answer. All else that is called is a **leaf**: values, decisions, budgets and records, which
give an answer to who asks, and from which the message goes nowhere.

    .venv/bin/python scripts/main_line.py [--leaves]

Prints the line in the order of the first call, then the number of leaves, and how many calls of an attempt to deliver
are in each other. Exit 1 if the line is not what ARCHITECTURE.md says, or either is more than it may be.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import re
import smtplib
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from gatepost.net.listener import bind
from gatepost.node import figures, lifecycle
from gatepost.node.assembly import Assembly
from gatepost.pki.certificates.authority import Authority
from gatepost.settings.loader import load
from gatepost.settings.model import Settings
from gatepost.store.sqlite.administration import queue_depth
from gatepost.store.storage import Storage

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "gatepost"
PAGE = ROOT / "ARCHITECTURE.md"
MOST = 30
"""Files that the line may have."""
ATTEMPT = ("mail/outbound/deliverer.py", "mail/outbound/transactions.py")
"""Where an attempt to deliver is made, once there is a connection."""
DEEPEST = 4
"""Calls in each other that an attempt may have there."""
BEGIN, END = "### The main line\n", "### "
PREFIX = f"{SOURCE}/"
BEGINNING = "net/listener.py"
STATIONS = (
    *(f"net/{name}.py" for name in ("connection", "engine")),
    *(f"protocols/smtp/server/{name}.py" for name in ("server", "dialogue", "data")),
    *(f"protocols/smtp/client/{name}.py" for name in ("client", "sending")),
    *(f"store/sqlite/{name}.py" for name in ("queue", "work", "writer")),
    "store/engine.py",
    "store/bodies.py",
)
LOOKUPS = "net/lookups/"
PATIENCE = 30.0
LASTING = "queue refresh"
"""The one task that a worker has for good."""
SETTINGS = """
[server]
hostname = "mx.gate.example"
data_dir = "data"
drain = 2
[tls]
trust_anchors = "root.pem"
[dns]
nameservers = ["127.0.0.1:9"]
[store]
free_space = 0
[[certificate]]
chain = "mx.gate.example.pem"
key = "mx.gate.example.key"
"""


class Partner(threading.Thread):
    """Takes one message over STARTTLS."""

    def __init__(self, chain: Path, key: Path) -> None:
        super().__init__(name="partner", daemon=True)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(chain, key)
        self.port = self._listening.getsockname()[1]
        self.messages: list[bytes] = []

    def run(self) -> None:
        client: socket.socket = self._listening.accept()[0]
        stream = client.makefile("rwb", buffering=0)
        stream.write(b"220 sink.example ESMTP\r\n")
        offer = b"250-STARTTLS\r\n"
        while line := stream.readline():
            match line[:4].upper():
                case b"EHLO":
                    stream.write(b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n" + offer + b"250 DSN\r\n")
                case b"STAR":
                    stream.write(b"220 Go ahead\r\n")
                    client, offer = self._tls.wrap_socket(client, server_side=True), b""
                    stream = client.makefile("rwb", buffering=0)
                case b"DATA":
                    stream.write(b"354 Go ahead\r\n")
                    self.messages.append(b"".join(iter(stream.readline, b".\r\n")))
                    stream.write(b"250 2.0.0 Kept\r\n")
                case b"QUIT":
                    stream.write(b"221 2.0.0 Bye\r\n")
                    return
                case _:
                    stream.write(b"250 2.0.0 OK\r\n")


class Calls:
    """What was called. first: files in the order of the first call. onward: what calls from a file led into.

    attempt: the most calls of an attempt that were in each other.
    """

    def __init__(self) -> None:
        self.first: dict[str, None] = {}
        self.onward: dict[str, set[str]] = defaultdict(set)
        self.attempt = 0
        self._answers = _properties()

    def note(self, frame: FrameType, event: str, _: object) -> None:
        """A profile function (`sys.setprofile`)."""
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(PREFIX) or code.co_name == "<module>":
            return
        name = code.co_filename.removeprefix(PREFIX)
        if not self.first and name != BEGINNING:
            return  # a thread that looks now and then, before the connection is there
        above = []
        caller = frame.f_back
        while caller is not None:
            if caller.f_code.co_filename.startswith(PREFIX):
                if caller.f_code.co_name == "<module>":
                    return  # something is imported late
                above.append(caller.f_code.co_filename.removeprefix(PREFIX))
            caller = caller.f_back
        self.first.setdefault(name)
        if name in ATTEMPT and (name, code.co_qualname) not in self._answers:
            self.attempt = max(self.attempt, sum(one in ATTEMPT for one in (name, *above)))
        if name.startswith((*STATIONS, LOOKUPS)) and (name, code.co_qualname) not in self._answers:
            for one in above:
                if one != name:
                    self.onward[one].add(name)

    @property
    def line(self) -> list[str]:
        """In the order of the first call."""
        return [name for name in self.first if name in self.onward or name in STATIONS]

    @property
    def leaves(self) -> list[str]:
        """What only answered."""
        return [name for name in self.first if name not in self.line]


def _properties() -> set[tuple[str, str]]:
    """(file, qualified name) of each property."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        for owner in ast.walk(ast.parse(path.read_text())):
            if isinstance(owner, ast.ClassDef):
                found |= {
                    (path.relative_to(SOURCE).as_posix(), f"{owner.name}.{one.name}")
                    for one in owner.body
                    if isinstance(one, ast.FunctionDef)
                    and any(isinstance(mark, ast.Name) and mark.id == "property" for mark in one.decorator_list)
                }
    return found


def _prepare(home: Path) -> tuple[Settings, Partner]:
    """Settings and resources of a gateway that relays contoso.example to a partner."""
    authority = Authority("Main Line Root")
    (home / "root.pem").write_bytes(authority.certificate_pem)
    for name in ("mx.gate.example", "sink.example"):
        chain, key = authority.issue([name])
        (home / f"{name}.pem").write_bytes(chain)
        (home / f"{name}.key").touch(0o600)
        (home / f"{name}.key").write_bytes(key)
    partner = Partner(home / "sink.example.pem", home / "sink.example.key")
    (home / "gatepost.toml").write_text(SETTINGS)
    settings = load(str(home / "gatepost.toml"), {})
    connector = {
        "name": "home",
        "connector_type": "on-premises",
        "all_accepted_domains": True,
        "smart_hosts": [f"127.0.0.1:{partner.port}"],
        "use_mx_record": False,
        "tls_settings": "domain-validation",
        "tls_domain": "sink.example",
    }
    domain = {"name": "contoso.example", "type": "internal-relay"}
    store = Storage.of(settings).configuration()
    document = {"organization": {"contoso": {"accepted_domain": [domain], "outbound_connector": [connector]}}}
    store.apply(document, author="main line")
    store.close()
    return settings, partner


def _send(port: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example", timeout=PATIENCE) as client:
        client.starttls(context=context)
        client.sendmail("eve@elsewhere.example", "ann@contoso.example", "Subject: Plain\r\n\r\nOne message.\r\n")


def _wait_settled(queue: Path, partner: Partner) -> None:
    """On a thread of its own, which is not noted."""
    sys.setprofile(None)
    deadline = time.monotonic() + PATIENCE
    while not partner.messages or any(queue_depth(queue)[:3]):
        if time.monotonic() > deadline:
            raise TimeoutError("the message was not delivered")
        time.sleep(0.05)


async def _never(seconds: float | Callable[[], float], work: Callable[[], object], troubles: object = None) -> None:
    """No periodic work: it is not the message's."""
    del seconds, work, troubles


def _under_way() -> set[str]:
    """Tasks that will end, by name."""
    return {one.get_name() for one in asyncio.all_tasks() if one is not asyncio.current_task()} - {LASTING}


async def _quiet() -> None:
    """Until what the start began is done."""
    deadline = time.monotonic() + PATIENCE
    while _under_way() and time.monotonic() < deadline:  # noqa: ASYNC110 - once
        await asyncio.sleep(0.05)


async def measured(home: Path) -> Calls:
    """One message through one worker."""
    settings, partner = _prepare(home)
    lifecycle.every = _never
    setattr(figures.Figures, "look", lambda _: None)  # noqa: B010 - periodic, too: what a worker tells of itself
    sockets = bind("127.0.0.1:0")
    port = sockets[0].getsockname()[1]
    assembly = await Assembly.build(settings, 0, 1, sockets)
    await assembly.parts.start()
    await _quiet()
    partner.start()
    calls = Calls()
    threading.setprofile_all_threads(calls.note)
    try:
        await asyncio.to_thread(_send, port)
        await asyncio.to_thread(_wait_settled, Path(settings.server.data_dir) / "queue", partner)
    finally:
        threading.setprofile_all_threads(None)
        await assembly.parts.close(1.0)
    return calls


def listed() -> list[str]:
    """The line as ARCHITECTURE.md has it."""
    section = PAGE.read_text().partition(BEGIN)[2].partition(f"\n{END}")[0]
    return [name for name in re.findall(r"`([a-z0-9_/]+\.py)`", section) if not name.startswith("scripts/")]


def main() -> int:
    parser = argparse.ArgumentParser(description="Through which files does one plain message go?")
    parser.add_argument("--leaves", action="store_true", help="print the leaves, too")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        calls = asyncio.run(measured(Path(home)))
    line, said = calls.line, listed()
    print(*line, sep="\n")
    print(f"{len(line)} files on the line, {len(calls.leaves)} leaves, an attempt {calls.attempt} calls deep")
    if wanted.leaves:
        print(*calls.leaves, sep="\n")
    missing, left = sorted(set(line) - set(said)), sorted(set(said) - set(line))
    for name in missing:
        print(f"ARCHITECTURE.md does not list {name}, through which the message goes", file=sys.stderr)
    for name in left:
        print(f"ARCHITECTURE.md lists {name}, from which the message does not go on", file=sys.stderr)
    if len(line) > MOST:
        print(f"the line has {len(line)} files, and may have {MOST}", file=sys.stderr)
    if not 0 < calls.attempt <= DEEPEST:
        print(f"an attempt is {calls.attempt} calls deep, and may be {DEEPEST}", file=sys.stderr)
    return 1 if missing or left or len(line) > MOST or not 0 < calls.attempt <= DEEPEST else 0


if __name__ == "__main__":
    sys.exit(main())
