"""Facts in one line: happy defaults, of which a test overrides what it is about.

Every test file imports this one, and tests of one module are run for themselves hundreds of times a day: what only some
need is imported in its fixture.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import threading
import time
import tomllib
import zlib
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import pytest
from support.clock import Clock
from support.memory import MEMORY, holds_test_files

from gatepost.mail.model.message import Delivery, Message, QuarantineHold, Recipient
from gatepost.mail.model.queue_id import format_id
from gatepost.policy.connectors.facts import SessionFacts
from gatepost.protocols.smtp.grammar import Path, parse_path
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus, ChainVerdict, TlsFacts
from gatepost.store.trace import HopKind

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from support.evidence_logs import EvidenceLogs

    from gatepost.pki.certificates.entry import Entry
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.resources import Resources

ROOT = FilePath(__file__).resolve().parents[2]

if os.geteuid() == 0:  # data in tmp_path is root's, and for root alone
    os.environ["GATEPOST_SERVER__USER"] = "root"


if "TMPDIR" not in os.environ and holds_test_files():
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY)


# Files that another part of a check runs, from the root. pytest compares each file with each `--ignore`: 2 s for 350.
_LEFT_OUT = {str(ROOT / name) for name in os.environ.get("UNIT_TESTS_LEFT_OUT", "").split()}


# "2/3": this process runs the second third of the files. Processes that know nothing of each other collect each file
# once, and report to nobody.
_SHARE, _SHARES = map(int, os.environ.get("UNIT_TESTS_SHARE", "1/1").split("/"))
if _SHARES > 1:  # ports are shared out as among processes of pytest-xdist
    os.environ |= {"PYTEST_XDIST_WORKER": f"gw{_SHARE - 1}", "PYTEST_XDIST_WORKER_COUNT": str(_SHARES)}


def pytest_ignore_collect(collection_path: FilePath) -> bool | None:
    is_left_out = str(collection_path) in _LEFT_OUT or (_SHARES > 1 and not _is_of_this_share(collection_path))
    return True if is_left_out else None


def _is_of_this_share(path: FilePath) -> bool:
    """Those that look at the source are in the first: one process parses it for all of them."""
    if path.suffix != ".py" or not path.name.startswith("test_"):
        return True
    number = 0 if path.parent == ROOT / "tests" / "unit" else zlib.crc32(os.fsencode(path.relative_to(ROOT)))
    return number % _SHARES == _SHARE - 1


gc.disable()  # until all tests are collected: what is made meanwhile stays


_SOURCE_READERS = {"source_trees", "sentences", "catalogues"}
"""What test files import that look at all of the source."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """They come first, one after the other: one process parses the source for all of them."""
    items.sort(key=lambda item: _SOURCE_READERS.isdisjoint(vars(getattr(item, "module", None) or item)))


def pytest_collection_finish() -> None:
    """Twenty thousand tests stay as they are: whoever looks for garbage need not look at them each time."""
    gc.collect()
    gc.freeze()
    gc.enable()


_THREADS = pytest.StashKey[set[threading.Thread]]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.session.stash.setdefault(_THREADS, set(threading.enumerate()))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    """A file ends the threads that it starts: one that is left works on beside other tests, on files that are gone."""
    yield
    if nextitem is not None and nextitem.path == item.path:
        return  # fixtures of the file may run
    left, deadline = set(threading.enumerate()) - item.session.stash[_THREADS], time.monotonic() + 10
    del item.session.stash[_THREADS]
    for thread in left:
        while thread.ident is None and time.monotonic() < deadline:  # another of them is about to start it
            time.sleep(0.001)
        thread.join(max(0.0, deadline - time.monotonic()))
    assert not [thread.name for thread in left if thread.is_alive()]


@pytest.fixture
def whole_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """No day (UTC) ends within the test: where one would in less than a minute, it is over already."""
    clock = time.time
    left = 86_400 - clock() % 86_400
    if left < 60:
        monkeypatch.setattr(time, "time", lambda: clock() + left)


@pytest.fixture
def one_period(monkeypatch: pytest.MonkeyPatch) -> None:
    """No period of session tickets ends within the test, with which they would be worth nothing any more."""
    from gatepost.net.tickets import ServerSessions  # noqa: PLC0415 - most tests do without

    purpose, shared, clock = ServerSessions.__init__.__defaults__
    now = clock()
    monkeypatch.setattr(ServerSessions.__init__, "__defaults__", (purpose, shared, lambda: now))


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """The machine's time zone is that of New York."""
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tls() -> TlsFacts:
    return TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", "X25519MLKEM768", "ecdsa_secp256r1_sha256", False, "")


@pytest.fixture
def leaf() -> Callable[..., CertificateFacts]:
    """A certificate for some names."""

    def build(*names: str, common_name: str = "") -> CertificateFacts:
        subject = f"CN={common_name or (names[0] if names else 'nobody')}"
        return CertificateFacts(
            subject, "CN=Test CA", "1", common_name, names, (), "aa" * 32, "bb" * 20, "cc" * 32, 0, 2, "RSA"
        )

    return build


@pytest.fixture(scope="session")
def entry() -> Callable[..., Entry]:
    """A certificate of the inventory: entry("new", "mx.a.example", state=State.CURRENT). Valid for all time."""
    from gatepost.pki.certificates.entry import Entry  # noqa: PLC0415 - most tests do without

    def build(title: str, *names: str, key: str = "EC-P-256", **fields: Any) -> Entry:
        names, thumbprint = names or ("mx.a.example",), hashlib.sha256(title.encode()).hexdigest()
        hosts = tuple(one for one in names if not one[0].isdigit())
        facts = CertificateFacts(
            subject=f"CN={names[0]}",
            issuer="CN=Test CA",
            serial="1",
            common_name=names[0],
            dns_names=hosts,
            ip_addresses=tuple(one for one in names if one not in hosts),
            sha256=thumbprint,
            sha1=thumbprint[:40],
            spki_sha256=thumbprint[::-1],
            not_before=0.0,
            not_after=1e11,
            key=key,
        )
        return Entry(thumbprint[:16], facts, **fields)

    return build


@pytest.fixture(scope="session")
def hop_kind() -> Callable[..., HopKind]:
    """A kind of rows: mail that was sent to the lab over TLS, with nothing required, but for what is named."""

    def build(**fields: str) -> HopKind:
        usual = {
            "organization": "contoso", "direction": "originating", "event": "SEND", "connector": "",
            "partner": "lab.example", "requirement": "opportunistic", "sources": "", "achieved": "none/encrypted",
            "tls_version": "TLSv1.3", "tls_group": "X25519MLKEM768", "suite": "S", "chain": "",
            "host": "mx.lab.example", "names": "", "result_type": "",
        }  # fmt: skip
        return HopKind(**{**usual, **fields})

    return build


@pytest.fixture
def chain(leaf: Callable[..., CertificateFacts]) -> Callable[..., ChainVerdict]:
    """A chain that was judged."""

    def build(*names: str, status: str = "trusted", detail: str = "", common_name: str = "") -> ChainVerdict:
        return ChainVerdict(ChainStatus(status), detail, leaf(*names, common_name=common_name))

    return build


@pytest.fixture
def session(tls: TlsFacts) -> Callable[..., SessionFacts]:
    """A session from a stranger's address, in clear unless a chain is given."""

    def build(ip: str = "203.0.113.9", chain: ChainVerdict | None = None, **fields: Any) -> SessionFacts:
        secured = tls if chain is not None else None
        return SessionFacts("s1", ip, "client.example", **{"tls": secured, "client_chain": chain, **fields})

    return build


@pytest.fixture
def resources() -> Callable[[str], Resources]:
    from gatepost.policy.connectors.model import parse  # noqa: PLC0415 - it imports most of what all tests would

    return lambda text: parse(tomllib.loads(text))


@pytest.fixture
def directory(resources: Callable[[str], Resources]) -> Callable[[str], Directory]:
    from gatepost.policy.connectors.directory import Directory  # noqa: PLC0415 - most tests do without

    return lambda text: Directory(resources(text))


@pytest.fixture
def path() -> Callable[[str], Path]:
    return lambda address: parse_path(f"<{address}>", smtputf8=True)


@pytest.fixture(scope="session")
def logs() -> EvidenceLogs:
    from support.evidence_logs import EvidenceLogs  # noqa: PLC0415 - most tests do without

    return EvidenceLogs()


class _AtOnce:
    """A thread that has done its work when it was started."""

    def __init__(self, target: Callable[[], None], **_: Any) -> None:
        self.start = target


class _Never:
    """One that does not come to it."""

    def __init__(self, **_: Any) -> None:
        self.start = lambda: None


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], None]:
    """checked("gatepost.manage.use_cases.partner.run_check", found): checks of partners find that at once.

    An error ends them, None leaves them running for ever: nobody is looked at, and no thread is waited for.
    """

    def find(place: str, found: Any) -> None:
        def look(_: Any, told: Callable[[Any], None]) -> Any:
            if isinstance(found, BaseException):
                raise found
            told(found)
            return found

        monkeypatch.setattr(place, look)
        monkeypatch.setattr("gatepost.manage.use_cases.jobs.Thread", _Never if found is None else _AtOnce)

    return find


@pytest.fixture(scope="session")
def queued() -> Callable[..., list[str]]:
    """Messages of a queue that wait for their next attempt: queued(data, {"sender": …, "contoso": ["bob@b.example"]}).

    "body" is the content. Each has a delivery for every organization named, of its recipients; the message is the
    first one's. Returns ids.
    """

    def fill(data: FilePath, *messages: dict[str, Any], shard: int = 0) -> list[str]:
        return asyncio.run(_queue(data, messages, shard))

    return fill


async def _queue(data: FilePath, messages: tuple[dict[str, Any], ...], shard: int) -> list[str]:
    from gatepost.store.interface import Settlement  # noqa: PLC0415 - most tests do without
    from gatepost.store.sqlite.message_trace import SqliteTrace  # noqa: PLC0415 - most tests do without
    from gatepost.store.sqlite.queue import SqliteStore  # noqa: PLC0415 - most tests do without
    from gatepost.store.sqlite.schema import StoreSettings  # noqa: PLC0415 - most tests do without

    settings = StoreSettings(free_space_mark=0)
    directory = data / "queue" / str(shard)
    store = await SqliteStore.open(directory, trace=SqliteTrace(data / "trace").sink, worker=shard, settings=settings)
    ids = []
    for given in messages:
        rest = dict(given)
        sender, facts = rest.pop("sender", "eve@elsewhere.example"), rest.pop("facts", {})
        body = store.body()
        if waiting := body.write(rest.pop("body", b"")):
            await waiting
        message = Message(store.new_id(), next(iter(rest)), 1_795_528_800.0, sender, **facts)
        deliveries = [
            Delivery(
                store.new_id(),
                message,
                f"{owner}/{names[0].partition('@')[2]}",
                [Recipient(one) for one in names],
                attempts=1,
            )
            for owner, names in rest.items()
        ]
        done = asyncio.get_running_loop().create_future()
        store.accept(message, deliveries, body, done.set_result)
        assert await done is None
        store.settle([Settlement(one, one.recipients, 2_000_000_000.0, "451 later") for one in deliveries])
        ids.append(format_id(message.id))
    await store.flushed()
    await store.close()
    return ids


@pytest.fixture
def quarantined() -> Callable[..., list[str]]:
    """Messages in quarantine: quarantined(data, {"sender": …, "subject": …, "contoso": ["ann@contoso.example"]}).

    Each is held for every recipient named, by hook 'av' of the first organization; "then" names another that has to
    release it after that, "days" for how long from now it stays, "body" the content. Returns ids.
    """

    def fill(data: FilePath, *messages: dict[str, Any]) -> list[str]:
        return asyncio.run(_hold(data, messages))

    return fill


async def _hold(data: FilePath, messages: tuple[dict[str, Any], ...]) -> list[str]:
    from gatepost.store.sqlite.message_trace import SqliteTrace  # noqa: PLC0415 - most tests do without
    from gatepost.store.sqlite.queue import SqliteStore  # noqa: PLC0415 - most tests do without
    from gatepost.store.sqlite.schema import StoreSettings  # noqa: PLC0415 - most tests do without

    directory, trace = data / "queue" / "0", SqliteTrace(data / "trace").sink
    store = await SqliteStore.open(directory, trace=trace, worker=0, settings=StoreSettings(free_space_mark=0))
    ids = []
    for given in messages:
        facts = {name: given[name] for name in ("subject", "message_id", "direction") if name in given}
        ((owner, names),) = ((name, to) for name, to in given.items() if isinstance(to, list))
        body = store.body()
        content = given.get("body", b"Subject: x\r\n\r\nbody\r\n")
        assert body.write(content) is None
        sender = given.get("sender", "eve@elsewhere.example")
        message = Message(store.new_id(), owner, time.time(), sender, len(content), **facts)
        holders = [name for name in (owner, given.get("then", "")) if name]
        holds = [QuarantineHold(name, "content hook 'av'", "clamav: Eicar", 30) for name in holders]
        until = time.time() + given.get("days", 30) * 86400
        deliveries = [
            Delivery(
                store.new_id(),
                message,
                f"{owner}/{name.partition('@')[2]}",
                [Recipient(name, quarantines=holds)],
                expires_at=message.received + 86400,
                next_at=until,
                held=True,
                quarantine=owner,
            )
            for name in names
        ]
        done = asyncio.get_running_loop().create_future()
        store.accept(message, deliveries, body, done.set_result)
        assert await done is None
        ids.append(format_id(message.id))
    await store.flushed()
    await store.close()
    return ids
