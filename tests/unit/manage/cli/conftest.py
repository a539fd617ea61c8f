"""The command line on real data: a settings file, a queue, a trace and resources in tmp_path."""

from __future__ import annotations

import asyncio
import json
import shutil

import pytest
import tomlkit
from click.testing import CliRunner

from gatepost.mail.model.message import Delivery, Message, Recipient
from gatepost.mail.model.queue_id import format_id
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.cli import main
from gatepost.node import machine_findings
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import Settlement
from gatepost.store.sqlite.administration import Administration, trace_writer
from gatepost.store.sqlite.message_trace import SqliteTrace
from gatepost.store.sqlite.queue import SqliteStore
from gatepost.store.sqlite.schema import StoreSettings
from gatepost.store.sqlite.trace import write_events

RECEIVED = 1_795_528_800.0  # 2026-11-24T14:00:00Z


class Home:
    """A gateway that does not run. `call` is what a person types behind `gatepost`.

    filled: (data directory, queue ids) that `fill` copies; it would take longer to make them anew.
    """

    received = RECEIVED

    def __init__(self, path, filled=None):
        self.path = path
        self._filled = filled
        self.file = path / "gatepost.toml"
        self.data = path / "data"
        self.settings()

    def settings(self, **sections):
        document = {"server": {"hostname": "mx.gate.example", "data_dir": "data"}, **sections}
        self.file.write_text(tomlkit.dumps(document), encoding="utf-8")
        return self.file

    def call(self, *words, code=0, given=None):
        """Run a command; the result, whose exit code must be the one that is expected (None: any)."""
        result = CliRunner().invoke(main, ["--config", str(self.file), *map(str, words)], input=given)
        failed = result.exception if not isinstance(result.exception, SystemExit) else None
        assert failed is None, result.exc_info
        assert code is None or result.exit_code == code, result.output
        return result

    def json(self, *words, code=0):
        return json.loads(self.call(*words, "--json", code=code).stdout)

    def table(self, *words, code=0):
        """The rows of a table, each a dictionary."""
        columns, *rows = [line.split("\t") for line in self.call(*words, code=code).stdout.splitlines()]
        return [dict(zip(columns, row, strict=True)) for row in rows]

    # resources

    def config(self):
        store = ConfigStore(self.data / "config.db")
        try:
            return store.load()
        finally:
            store.close()

    def history(self, kind=""):
        store = ConfigStore(self.data / "config.db")
        try:
            return store.history(kind)
        finally:
            store.close()

    def write(self, text, name="resources.toml"):
        file = self.path / name
        file.write_text(text, encoding="utf-8")
        return file

    # queue and trace

    def fill(self):
        """Four deliveries of three messages in two shards: a deferred, an active, a held and a deferred big one.

        Returns the queue ids of the messages by name.
        """
        data, ids = self._filled
        shutil.copytree(data, self.data)
        return dict(ids)

    async def make(self):
        """The original of what `fill` copies."""
        async with _Shard(self.data, 0) as shard:
            ann = shard.message(reverse_path="ann@contoso.example", message_id="<1@contoso.example>", session="5e5510")
            deferred = shard.delivery(ann, "bob@partner.example", "joe@partner.example")
            active = shard.delivery(ann, "eve@other.example")
            await shard.queue(ann, [deferred, active], b"Subject: hello\r\n\r\nhello\r\n")
            shard.store.settle([Settlement(deferred, deferred.recipients, RECEIVED + 900, "451 4.4.1 later\x1b[31m")])
            null = shard.message(reverse_path="")
            held = shard.delivery(null, "bob@partner.example")
            await shard.queue(null, [held], b"")
            shard.store.settle([Settlement(held, held.recipients, RECEIVED + 60)])
            await shard.store.flushed()
        async with _Shard(self.data, 1) as shard:
            liz = shard.message(organization="fabrikam", reverse_path="Liz@Fabrikam.example")
            big = shard.delivery(liz, "bob@partner.example", organization="fabrikam")
            await shard.queue(liz, [big], b"Subject: big\r\n\r\n" + b"0123456789\r\n" * 50_000)
            shard.store.settle([Settlement(big, big.recipients, RECEIVED + 900)])
            await shard.store.flushed()
        return {"ann": format_id(ann.id), "null": format_id(null.id), "liz": format_id(liz.id)}

    def events(self, *events):
        """Rows of the trace; a row is what differs from a message that was received."""
        usual = {
            "at": RECEIVED,
            "event": "RECEIVE",
            "message": "000000000000001a",
            "organization": "contoso",
            "direction": "incoming",
            "session": "5e55100000000001",
            "sender": "eve@elsewhere.example",
            "recipient": "ann@contoso.example",
        }
        write_events(self.data / "trace", "0", [TraceEvent(**{**usual, **event}) for event in events])

    @property
    def administration(self):
        return Administration(self.data / "queue", trace_writer(SqliteTrace(self.data / "trace"), lambda _: None))


class _Shard:
    def __init__(self, data, number):
        self._data, self._number = data, number

    async def __aenter__(self):
        self.store = await SqliteStore.open(
            self._data / "queue" / str(self._number),
            trace=SqliteTrace(self._data / "trace").sink,
            worker=self._number,
            settings=StoreSettings(free_space_mark=0),
        )
        return self

    async def __aexit__(self, *_):
        await self.store.close()

    def message(self, **facts):
        return Message(**{"id": self.store.new_id(), "organization": "contoso", "received": RECEIVED, **facts})

    def delivery(self, message, *recipients, organization="contoso"):
        destination = f"{organization}/{recipients[0].partition('@')[2]}"
        return Delivery(
            self.store.new_id(),
            message,
            destination,
            [Recipient(one) for one in recipients],
            expires_at=RECEIVED + 86400,
        )

    async def queue(self, message, deliveries, body):
        writer = self.store.body()
        if (behind := writer.write(body)) is not None:
            await behind
        done = asyncio.get_running_loop().create_future()
        self.store.accept(message, deliveries, writer, done.set_result)
        assert await done is None


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    monkeypatch.delenv("GATEPOST_CONFIG", raising=False)


@pytest.fixture(autouse=True)
def _on_a_disk(monkeypatch):
    """Files of tests may lie in memory, which is a fault to `gatepost doctor`."""
    monkeypatch.setattr(machine_findings, "_file_system", lambda _: 0xEF53)
    monkeypatch.setattr(machine_findings, "_sync_time", lambda _: 0.002)


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    original = Home(tmp_path_factory.mktemp("filled"))
    ids = asyncio.run(original.make())
    original.call("queue", "hold", ids["null"])
    return original.data, ids


@pytest.fixture
def home(tmp_path, filled):
    return Home(tmp_path, filled)
