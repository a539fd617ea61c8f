"""The gateway of the system tests: `gatepost.testing.gateway`, and what only our own tests need of it."""

from __future__ import annotations

import struct
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support.namespaces import inside
from support.postgres import common_server, has_worker_role, store_settings, worker_url
from support.process import GATEPOST, Child, run_gatepost

from gatepost.testing import gateway
from gatepost.testing.gateway import CliRun, environment, merged
from gatepost.testing.process import greets, wait_until

_WRONG_CLOCK = f"""
import sys
sys.path.insert(0, {str(Path(__file__).resolve().parents[1])!r})
from support.wrong_clock import main
main()
"""


_LAST_LINES = 60

_made: weakref.WeakSet[Gateway] = weakref.WeakSet()


def ends_of_logs() -> list[tuple[str, str]]:
    """Of each gateway that there is or was until now: its folder, and the end of its log."""
    return [(one.folder.path.name, "\n".join(one.log().splitlines()[-_LAST_LINES:])) for one in set(_made)]


class Gateway(gateway.Gateway):
    """A gateway of `gatepost.testing`, its commands forked where that is enough.

    GATEPOST_STORE=postgresql in the environment of the tests gives each a database of its own (`store_url`), and
    GATEPOST_WORKER_ROLE=1 a role for workers to each on PostgreSQL. namespace:
    of the network in which it runs, with its commands ("" is ours); its first listener is then at 127.0.0.1:2525.
    clock: seconds by which its own is ahead of the machine's, until `jump`; not that of commands.
    """

    def __init__(
        self,
        resources: str | Mapping[str, Any] = "",
        *,
        settings: Mapping[str, Any] | None = None,
        namespace: str = "",
        clock: float | None = None,
        **options: Any,
    ) -> None:
        self._program = [GATEPOST]
        self._namespace = namespace
        self._prefix = ["ip", "netns", "exec", namespace] if namespace else []
        store = store_settings(by_socket=bool(namespace))
        self.store_url = store.get("url", "sqlite:")
        own: dict[str, Any] = {"store": store} if store else {}
        if namespace:
            own["dns"] = {}  # our nameserver is not there
        written = merged(own, settings or {})
        url = str(written.get("store", {}).get("url", ""))
        if has_worker_role() and url.startswith("postgresql:"):
            written = merged({"store": {"worker_url": worker_url(url)}}, written)
        super().__init__(resources, settings=written, **options)
        if clock is not None:
            self._ahead = self.folder / "ahead"
            self._ahead.write_bytes(struct.pack("d", clock))
            # A Python of its own: what a fork has loaded already has the machine's clock in more places than one finds.
            self._program = [sys.executable, "-c", _WRONG_CLOCK, str(self._ahead)]
        self._last_log = ""
        _made.add(self)

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        return self._running().pid

    def _launch(self, log: Path) -> Child:
        command = [*self._prefix, *self._program, "--config", self.config, "serve"]
        return Child(command, log, environment())

    def _greets(self) -> bool:
        if self._namespace:
            return inside(self._namespace, lambda: greets(2525))
        return super()._greets()

    def log(self) -> str:
        """The output of `gatepost serve` so far; of one that was removed, what it was then."""
        return super().log() or self._last_log

    def remove(self) -> None:
        """Stop and leave nothing behind but the log in memory, for who asks why its test failed."""
        self.stop()
        self._last_log = self.log()
        super().remove()

    def jump(self, ahead: float) -> None:
        """From now on its clock is ahead of the machine's by `ahead` seconds; only with a `clock` of its own."""
        with self._ahead.open("r+b") as file:  # the same file: it is mapped
            file.write(struct.pack("d", ahead))

    def change_version(self, source: Path) -> None:
        """Use the gatepost of another folder of source from now on, for commands and the next start."""
        self._prefix = ["env", f"PYTHONPATH={source}"]

    def _run(self, words: Sequence[str], given: bytes, timeout: float) -> CliRun:
        words = ["--config", str(self.config), *words]
        if not self._prefix:
            return CliRun.of(run_gatepost(*words, given=given, environment=environment(), timeout=timeout))
        command = [*self._prefix, GATEPOST, *words]
        done = subprocess.run(
            command, capture_output=True, input=given, env=environment(), timeout=timeout, check=False
        )
        return CliRun.of(done)

    @property
    def is_on_postgres(self) -> bool:
        """Whether its store is a database of the server that tests have in common."""
        return self.store_url.startswith("postgresql:")

    def sql(self, statement: str) -> list[str]:
        """On PostgreSQL: run a statement as the superuser; its rows, unaligned."""
        database = self.store_url.partition("?")[0].rpartition("/")[2]
        return common_server().sql(statement, database).splitlines()

    def wait_in_force(self) -> None:
        """Return when each worker of each running node has the newest version of the configuration.

        Certificates and keys are part of it, and in no row of `gatepost history` where no resource changed with them.
        """
        newest = self.cli("certificate", "list", json=True).data["version"]

        def taken_up() -> bool:
            nodes = [one for one in self.cli("node", "list", json=True).data if one["state"] in {"active", "drained"}]
            return bool(nodes) and all(one["configuration"] >= newest for one in nodes)

        wait_until(taken_up, f"resources version {newest} in force", timeout=60)

    def trace_writers(self) -> set[str]:
        """The workers that wrote to the message trace."""
        if self.is_on_postgres:
            return set(self.sql("SELECT DISTINCT writer FROM trace"))
        return {path.name.split(".")[1] for path in self.data_dir.glob("trace/*.db")}

    def family(self) -> list[int]:
        """Its process ids, the supervisor's first."""
        return self._running().family()

    def resident(self) -> int:
        """Bytes of resident memory of all its processes."""
        return self._running().resident()
