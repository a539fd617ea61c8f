"""gatepost itself, as its users run it: settings and resources in files, the command as a subprocess."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import tomlkit
from support.dns import knows_nothing
from support.mail import Mail, read_maildir
from support.namespaces import inside
from support.postgres import common_server, store_settings
from support.process import GATEPOST, Child, FixtureError, Folder, free_port, greets, run_gatepost, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from support.pki import Leaf


_WRONG_CLOCK = """
import sys, time
ahead, real, real_ns = float(sys.argv.pop(1)), time.time, time.time_ns
time.time = lambda: real() + ahead
time.time_ns = lambda: real_ns() + int(ahead * 1e9)
from gatepost.manage.cli import main
main(prog_name="gatepost")
"""


@dataclass(frozen=True, slots=True)
class CliRun:
    """What one command did. data: its standard output as JSON."""

    status: int
    stdout: str
    stderr: str

    @classmethod
    def of(cls, done: subprocess.CompletedProcess[bytes]) -> Self:
        """What `run_gatepost` returned, as text."""
        return cls(done.returncode, done.stdout.decode(), done.stderr.decode())

    @property
    def data(self) -> Any:
        return json.loads(self.stdout)


class Gateway:
    """A gateway with one worker, its data in a temporary folder.

    resources: TOML text or the same as a mapping, applied before the first start ("" for none). certificates: of the
    listeners. listeners: their roles, each on a port of its own (`ports`). nameservers: "HOST:PORT"; without any, one
    that knows nothing. anchors: what it trusts (default: the system's). settings: merged over all this, section by
    section, as in gatepost.toml; GATEPOST_STORE=postgresql in the environment of the tests gives each a database of its
    own (`store_url`). namespace: of the network in which it runs, with its commands ("" is ours); its first
    listener is then at 127.0.0.1:2525. patience: is set to more than 1 where starts take longer.
    clock: seconds by which its own is ahead; not that of commands.
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
        namespace: str = "",
        clock: float = 0.0,
    ) -> None:
        self.hostname = hostname
        self._program = [GATEPOST] if not clock else [sys.executable, "-c", _WRONG_CLOCK, str(clock)]
        self._namespace = namespace
        self._prefix = ["ip", "netns", "exec", namespace] if namespace else []
        self.folder = Folder("gateway")
        self.data_dir = self.folder / "data"
        self.ports = {role: free_port() for role in listeners}
        self.config = self.folder / "gatepost.toml"
        self._resources = resources
        self._applied = False
        self._child: Child | None = None
        self.patience = 1.0
        values: dict[str, Any] = {
            "server": {"hostname": hostname, "data_dir": str(self.data_dir), "workers": 1, **as_whom()},
            "listener": [{"role": role, "address": f"127.0.0.1:{port}"} for role, port in self.ports.items()],
            "admin": {"address": ""},  # a process that most tests have no use for
        }
        store = store_settings(by_socket=bool(namespace))
        self.store_url = store.get("url", "sqlite:")
        if store:
            values["store"] = store
        if nameservers or not (namespace or "dns" in (settings or {})):
            values["dns"] = {"nameservers": list(nameservers) or [knows_nothing()]}
        if anchors:
            values["tls"] = {"trust_anchors": str(anchors)}
        if certificates:
            values["certificate"] = [{"chain": str(leaf.chain), "key": str(leaf.key)} for leaf in certificates]
        self.config.write_text(tomlkit.dumps(_merged(values, settings or {})))

    @property
    def port(self) -> int:
        """Of the first listener."""
        return next(iter(self.ports.values()))

    @property
    def address(self) -> str:
        """ "127.0.0.1:PORT" of the first listener."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        return self._running().pid

    def start(self) -> Self:
        """Apply the resources if that was not done yet, serve, and wait for 220 on every listener."""
        if self._resources and not self._applied:
            self.apply(self._resources)
        self._applied = True
        command: list[str | Path] = [*self._prefix, *self._program, "--config", self.config, "serve"]
        self._child = Child(command, self.folder / "log.txt", _environment())
        implicit = {"submissions", "internal"}  # these say nothing before TLS
        ports = [port for role, port in self.ports.items() if role not in implicit]
        try:
            self._child.wait_ready(lambda: self._greets(ports), timeout=20 * self.patience)
        except FixtureError:
            self._child.kill()
            raise
        return self

    def _greets(self, ports: Sequence[int]) -> bool:
        if self._namespace:
            return inside(self._namespace, lambda: greets(2525))
        return all(greets(port) for port in ports)

    def stop(self) -> int:
        """SIGTERM, wait, SIGKILL after 15 s; the exit status. The data stays, so `start` goes on with it."""
        return self._child.stop(grace=15) if self._child else 0

    def change_version(self, source: Path) -> None:
        """Use the gatepost of another folder of source from now on, for commands and the next start."""
        self._prefix = ["env", f"PYTHONPATH={source}"]

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
        self, *words: str, json: bool = False, expect: int | None = 0, timeout: float = 30, given: str = ""
    ) -> CliRun:
        """Run a command on this gateway.

        json: with --json, read `.data`. expect: its exit status, None for any. given: to its standard input.
        """
        run = self._run([*words, *(["--json"] if json else [])], given.encode(), timeout * self.patience)
        if expect is not None and run.status != expect:
            raise FixtureError(f"gatepost {' '.join(words)}: exit {run.status}, not {expect}\n{run.stdout}{run.stderr}")
        return run

    def _run(self, words: Sequence[str], given: bytes, timeout: float) -> CliRun:
        words = ["--config", str(self.config), *words]
        if self._prefix:
            command = [*self._prefix, GATEPOST, *words]
            done = subprocess.run(
                command, capture_output=True, input=given, env=_environment(), timeout=timeout, check=False
            )
        else:
            done = run_gatepost(*words, given=given, environment=_environment(), timeout=timeout)
        return CliRun.of(done)

    def maildir(self, address: str) -> list[Mail]:
        """What was delivered into a mailbox so far."""
        return [mail for folder in self._maildirs(address) for mail in read_maildir(folder)]

    def wait_maildir(self, address: str, count: int = 1, *, timeout: float = 20.0) -> list[Mail]:
        """What was delivered into a mailbox, once there are `count` messages."""
        try:
            wait_until(lambda: len(self.maildir(address)) >= count, f"{count} messages for {address}", timeout=timeout)
        except FixtureError as late:
            raise FixtureError(f"{late}, {len(self.maildir(address))} came\n{self.log()}") from late
        return self.maildir(address)

    def trace(self, **filters: str) -> list[dict[str, Any]]:
        """Rows of `gatepost trace search`, filtered: trace(recipient="bob@b.example", event="SEND")."""
        words = [word for name, value in filters.items() for word in (f"--{name.replace('_', '-')}", value)]
        rows: list[dict[str, Any]] = self.cli("trace", "search", *words, json=True, expect=None).data
        return rows

    def wait_trace(self, *, timeout: float = 20.0, **filters: str) -> list[dict[str, Any]]:
        """The same, once there is a row."""
        try:
            return wait_until(lambda: self.trace(**filters), f"a trace row of {filters}", timeout=timeout)
        except FixtureError as late:
            raise FixtureError(f"{late}\n{self.log()}") from late

    @property
    def is_on_postgres(self) -> bool:
        """Whether its store is a database of the server that tests have in common."""
        return self.store_url.startswith("postgresql:")

    def sql(self, statement: str) -> list[str]:
        """On PostgreSQL: run a statement as the superuser; its rows, unaligned."""
        database = self.store_url.partition("?")[0].rpartition("/")[2]
        return common_server().sql(statement, database).splitlines()

    def trace_writers(self) -> set[str]:
        """The workers that wrote to the message trace."""
        if self.is_on_postgres:
            return set(self.sql("SELECT DISTINCT writer FROM trace"))
        return {path.name.split(".")[1] for path in self.data_dir.glob("trace/*.db")}

    def log(self) -> str:
        """What `gatepost serve` printed so far."""
        return self._child.output() if self._child else ""

    def family(self) -> list[int]:
        """Its process ids, the supervisor's first."""
        return self._running().family()

    def resident(self) -> int:
        """Bytes of resident memory of all its processes."""
        return self._running().resident()

    def _running(self) -> Child:
        if self._child is None:
            raise FixtureError("the gateway was not started")
        return self._child

    def _maildirs(self, address: str) -> list[Path]:
        """Folders of this mailbox, wherever they are below data_dir: .../ADDRESS or .../DOMAIN/LOCAL-PART."""
        local, _, domain = address.lower().rpartition("@")
        found = []
        for new in self.data_dir.rglob("new"):
            parts = [part.lower() for part in new.relative_to(self.data_dir).parts[:-1]]
            if address.lower() in parts or any(pair == (domain, local) for pair in itertools.pairwise(parts)):
                found.append(new.parent)
        return found


def as_whom() -> dict[str, str]:
    """For [server]: what root must write so that a gateway of its runs as root; its folder is for root alone."""
    return {"user": "root"} if os.geteuid() == 0 else {}


def _environment() -> dict[str, str]:
    """Ours, less what would change the settings under test."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GATEPOST_")}


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Tables are merged key by key, everything else is replaced."""
    result = dict(base)
    for name, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(name), dict)
        result[name] = _merged(result[name], value) if both else value
    return result
