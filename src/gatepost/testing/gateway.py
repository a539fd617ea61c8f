"""A gateway as its users run it: settings and resources in files, the command as a process of its own.

It imports nothing of gatepost: what a test sees is what an administrator sees.
"""

from __future__ import annotations

import itertools
import json
import os
import smtplib
import ssl
import subprocess
import sys
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import TYPE_CHECKING, Any, Self

import tomlkit

from gatepost.testing.mail import Mail, read_maildir
from gatepost.testing.name_server import knows_nothing
from gatepost.testing.process import Child, FixtureError, Folder, free_port, greets, wait_until
from gatepost.testing.resources import OWN_SERVER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gatepost.testing.pki import Leaf


_COMMAND = (sys.executable, "-m", "gatepost")
_START = 60.0  # seconds; it takes one or two, on a busy machine twenty; one that hangs is told of with its place


@dataclass(frozen=True, slots=True)
class CliRun:
    """The exit status and output of one command."""

    status: int
    stdout: str
    stderr: str

    @classmethod
    def of(cls, done: subprocess.CompletedProcess[bytes]) -> Self:
        """The same of a process that has ended, as text."""
        return cls(done.returncode, done.stdout.decode(), done.stderr.decode())

    @property
    def data(self) -> Any:
        """The standard output, read as JSON."""
        return json.loads(self.stdout)


class Gateway:
    """A gateway with one worker, its data in a temporary folder. Use it with `with`.

    resources: TOML text or the same as a mapping, applied before the first start ("" for none). certificates: of the
    listeners; without any, STARTTLS is not offered. listeners: their roles, each on a port of its own (`ports`).
    nameservers: "HOST:PORT"; without any, one that knows nothing. anchors: a PEM file of what it trusts (default: the
    system's). settings: merged over all this, section by section, as in gatepost.toml. patience: multiplies the time
    that starts and commands may take.
    hostname, config, data_dir: its name, its gatepost.toml, and where its data is.
    """

    def __init__(
        self,
        resources: str | Mapping[str, Any] = "",
        *,
        hostname: str = "mx1.contoso.example",
        certificates: Sequence[Leaf] = (),
        listeners: Sequence[str] = ("mx",),
        nameservers: Sequence[str] = (),
        anchors: Path | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.hostname = hostname
        self.folder = Folder("gateway")
        self.data_dir = self.folder / "data"
        self.ports = {role: free_port() for role in listeners}
        self.config = self.folder / "gatepost.toml"
        self.patience = 1.0
        self._resources = resources
        self._applied = False
        self._child: Child | None = None
        values: dict[str, Any] = {
            "server": {"hostname": hostname, "data_dir": str(self.data_dir), "workers": 1, **as_whom()},
            "listener": [{"role": role, "address": f"127.0.0.1:{port}"} for role, port in self.ports.items()],
            "admin": {"address": ""},  # a process that most tests have no use for
            "rates": {"memory_mark": 0, "commit_mark": 0, "delay_mark": 0},  # the same limits on a busy machine
        }
        if nameservers or "dns" not in (settings or {}):
            values["dns"] = {"nameservers": list(nameservers) or [knows_nothing()]}
        if anchors:
            values["tls"] = {"trust_anchors": str(anchors)}
        if certificates:
            values["certificate"] = [{"chain": str(leaf.chain), "key": str(leaf.key)} for leaf in certificates]
        self.config.write_text(tomlkit.dumps(merged(values, settings or {})), encoding="utf-8")

    @property
    def port(self) -> int:
        """Of the first listener."""
        return next(iter(self.ports.values()))

    @property
    def address(self) -> str:
        """Host and port of the first listener: 127.0.0.1:PORT."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Apply the resources if that was not done yet, serve, and wait for 220 on every listener.

        Raises FixtureError with what it said if the resources are refused, or it does not get there.
        """
        if self._resources and not self._applied:
            self.apply(self._resources)
        self._applied = True
        self._child = self._launch(self.folder / "log.txt")
        try:
            self._child.wait_ready(self._greets, timeout=_START * self.patience)
        except FixtureError as late:
            raise FixtureError(f"{late}\n{self._child.abort()}") from late
        return self

    def _launch(self, log: Path) -> Child:
        return Child([*_COMMAND, "--config", self.config, "serve"], log, environment())

    def _greets(self) -> bool:
        implicit = {"submissions", "internal"}  # these say nothing before TLS
        return all(greets(port) for role, port in self.ports.items() if role not in implicit)

    def stop(self) -> int:
        """SIGTERM, wait, SIGKILL after 25 s; the exit status. The data stays, so `start` goes on with it."""
        return self._child.stop(grace=25) if self._child else 0

    def kill(self) -> None:
        """SIGKILL to the whole process tree, as a power cut would."""
        self._running().kill()

    def remove(self) -> None:
        """Stop and leave nothing behind."""
        self.stop()
        self.folder.remove()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, kind: object, *_: object) -> None:
        """Remove it; a test that went well fails all the same if the gateway logged an error of the program."""
        self.stop()
        log = self.log()
        self.remove()
        if kind is None and "Traceback" in log:
            raise FixtureError(f"an error of the program was logged\n{log}")

    def apply(self, resources: str | Mapping[str, Any], *, expect: int | None = 0) -> CliRun:
        """`gatepost apply` with these resources; a running gateway takes them up within 2 s."""
        text = resources if isinstance(resources, str) else tomlkit.dumps(dict(resources))
        file = self.folder.write("resources.toml", text)
        return self.cli("apply", "-f", str(file), expect=expect)

    def cli(
        self, *words: str, json: bool = False, expect: int | None = 0, timeout: float = 60, given: str = ""
    ) -> CliRun:
        """Run a command on this gateway.

        json: with --json, read `.data`. expect: its exit status, None for any; FixtureError, with what it said, for
        another. timeout: seconds, then subprocess.TimeoutExpired. given: to its standard input.
        """
        run = self._run([*words, *(["--json"] if json else [])], given.encode(), timeout * self.patience)
        if expect is not None and run.status != expect:
            raise FixtureError(f"gatepost {' '.join(words)}: exit {run.status}, not {expect}\n{run.stdout}{run.stderr}")
        return run

    def _run(self, words: Sequence[str], given: bytes, timeout: float) -> CliRun:
        command = [*_COMMAND, "--config", str(self.config), *words]
        done = subprocess.run(
            command, capture_output=True, input=given, env=environment(), timeout=timeout, check=False
        )
        return CliRun.of(done)

    def send(
        self, *recipients: str, sender: str = "ann@contoso.example", text: str = "Hello.", source: str = OWN_SERVER
    ) -> None:
        """Hand a message over to the first listener, under STARTTLS if it is offered.

        source: the loopback address from which it comes; the default is that of the own servers of
        `gatepost.testing.resources.organization`, which may send to everybody. Raises smtplib.SMTPException if the
        message is refused.
        """
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = sender, ", ".join(recipients), "a test"
        message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain="client.example")
        message.set_content(text)
        with smtplib.SMTP(
            "127.0.0.1", self.port, local_hostname="client.example", timeout=60, source_address=(source, 0)
        ) as client:
            client.ehlo()
            if client.has_extn("starttls"):
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is a test of the other side
                client.starttls(context=context)
            client.send_message(message, sender, recipients)

    def maildir(self, address: str) -> list[Mail]:
        """The messages of a mailbox so far."""
        return [mail for folder in self._maildirs(address) for mail in read_maildir(folder)]

    def wait_maildir(self, address: str, count: int = 1, *, timeout: float = 60.0) -> list[Mail]:
        """The messages of a mailbox, once there are `count`; FixtureError after `timeout` seconds, with the log."""
        try:
            wait_until(lambda: len(self.maildir(address)) >= count, f"{count} messages for {address}", timeout=timeout)
        except FixtureError as late:
            raise FixtureError(f"{late}, {len(self.maildir(address))} came\n{self.log()}") from late
        return self.maildir(address)

    def trace(self, **filters: str) -> list[dict[str, Any]]:
        """Rows of `gatepost trace search`; filters are its options: recipient="bob@b.example", event="SEND"."""
        words = [word for name, value in filters.items() for word in (f"--{name.replace('_', '-')}", value)]
        run = self.cli("trace", "search", *words, json=True, expect=None)
        if not run.stdout:  # 1 is "no row", and has an empty list
            raise FixtureError(f"gatepost trace search {' '.join(words)}: exit {run.status}\n{run.stderr}")
        rows: list[dict[str, Any]] = run.data
        return rows

    def wait_trace(self, *, timeout: float = 60.0, **filters: str) -> list[dict[str, Any]]:
        """The same, once there is a row; FixtureError after `timeout` seconds, with the log."""
        try:
            return wait_until(lambda: self.trace(**filters), f"a trace row of {filters}", timeout=timeout)
        except FixtureError as late:
            raise FixtureError(f"{late}\n{self.log()}") from late

    def log(self) -> str:
        """The output of `gatepost serve` so far."""
        return self._child.output() if self._child else ""

    def _running(self) -> Child:
        if self._child is None:
            raise FixtureError("the gateway was not started")
        return self._child

    def _maildirs(self, address: str) -> list[Path]:
        """Folders of this mailbox, wherever they are below data_dir: .../ADDRESS or .../DOMAIN/LOCAL-PART."""
        local, _, domain = address.lower().rpartition("@")
        folders = []
        for new in self.data_dir.rglob("new"):
            parts = [part.lower() for part in new.relative_to(self.data_dir).parts[:-1]]
            if address.lower() in parts or any(pair == (domain, local) for pair in itertools.pairwise(parts)):
                folders.append(new.parent)
        return folders


def as_whom() -> dict[str, str]:
    """For [server]: what root must write so that a gateway of its runs as root; its folder is for root alone."""
    return {"user": "root"} if os.geteuid() == 0 else {}


def environment() -> dict[str, str]:
    """The variables of this process, less those that would change the settings of a gateway under test.

    One that hangs says where when it is aborted.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEPOST_")}
    return {"PYTHONFAULTHANDLER": "1"} | kept


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Two mappings as one: tables are merged key by key, everything else is replaced."""
    result = dict(base)
    for name, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(name), dict)
        result[name] = merged(result[name], value) if both else value
    return result
