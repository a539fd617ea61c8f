"""Fixtures of the system tests: factories that start servers and end them with the test."""

from __future__ import annotations

import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from support.browser import choose_looks, context, shared_browser
from support.cpu_time import CpuTime
from support.debian import MARK, need
from support.dnssec import SignedDns
from support.gateway import Gateway, ends_of_logs
from support.memory import MEMORY, holds_test_files
from support.pebble import Pebble
from support.peers import Exim, Postfix
from support.postgres import Postgres, end_common_server, sqlite_only_summary
from support.process import choose_start
from support.scanners import Clamd, Rspamd

from gatepost.settings.store_url import SQLITE
from gatepost.store.postgres import server as connections
from gatepost.store.storage import Storage
from gatepost.testing.name_server import DnsServer
from gatepost.testing.pki import Pki
from gatepost.testing.process import Folder
from gatepost.testing.sink import Sink
from gatepost.testing.status_server import StatusServer

os.umask(0o022)  # Exim, clamd and others read what tests write for them by accounts of their own


CPU_TIME = pytest.StashKey[CpuTime]()


@pytest.fixture(scope="module", autouse=True)
def kind_of_start(request: pytest.FixtureRequest) -> None:
    """How commands start in this file; see `support.process.choose_start`."""
    choose_start(request.path)


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """The authority that gateways and partners of the tests trust."""
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def strange_pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """An authority that nobody trusts."""
    return Pki(tmp_path_factory.mktemp("strange-pki"), "Strangers")


@pytest.fixture(scope="module")
def partner() -> Iterator[Sink]:
    """A mail host without TLS, for all tests of a file."""
    with Sink() as running:
        yield running


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Iterator[Folder]:
    """For what a gateway reads, for all tests of a file."""
    made = Folder(request.path.stem)
    yield made
    made.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """All that is stored, in either engine."""
    if request.param == "sqlite":
        yield Storage(SQLITE, tmp_path)
        return
    server: Postgres = request.getfixturevalue("postgres")
    storage = Storage(server.database(), tmp_path)
    yield storage
    storage.disconnect()


@pytest.fixture(scope="session", autouse=True)
def common_postgres() -> Iterator[None]:
    """Ends the server that `postgres` and gateways with GATEPOST_STORE=postgresql have in common, if there was one."""
    yield
    end_common_server()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """The server of `postgres`, for as long as the tests of this process run."""
    with Postgres() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: Postgres) -> Iterator[Postgres]:
    """A PostgreSQL server for tests that only use it; each takes a `database()` of its own, and is then cut off."""
    yield postgres_server
    for server in list(connections._servers.values()):
        server.close()


@pytest.fixture
def running() -> Iterator[ExitStack]:
    """Whatever is entered here is ended with the test, in reverse order."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def start_postgres(running: ExitStack) -> Callable[..., Postgres]:
    """start_postgres(...) starts a PostgreSQL server of one's own; see `support.postgres.Postgres`."""
    return lambda **options: running.enter_context(Postgres(**options))


@pytest.fixture
def postfix(running: ExitStack) -> Callable[..., Postfix]:
    """postfix(...) starts a Postfix; see `support.peers.Postfix`."""
    need("root", "postfix")
    return lambda **options: running.enter_context(Postfix(**options))


@pytest.fixture
def exim(running: ExitStack) -> Callable[..., Exim]:
    """exim(...) starts an Exim; see `support.peers.Exim`."""
    need("root", "exim")
    return lambda **options: running.enter_context(Exim(**options))


@pytest.fixture
def sink(running: ExitStack) -> Callable[..., Sink]:
    """sink(...) starts a recording sink; see `gatepost.testing.sink.Sink`."""
    return lambda **options: running.enter_context(Sink(**options))


@pytest.fixture
def dns_server(running: ExitStack) -> Callable[..., DnsServer]:
    """dns_server(records, ...) starts a name server; see `gatepost.testing.name_server.DnsServer`."""
    return lambda records, **options: running.enter_context(DnsServer(records, **options))


@pytest.fixture(scope="module")
def signed_dns() -> Iterator[Callable[..., SignedDns]]:
    """signed_dns(zones, ...) starts NSD and Unbound, for all tests of a module; see `support.dnssec.SignedDns`."""
    need("nsd", "unbound")
    with ExitStack() as stack:
        yield lambda zones, **options: stack.enter_context(SignedDns(zones, **options))


@pytest.fixture
def pebble(running: ExitStack, pki: Pki) -> Callable[..., Pebble]:
    """pebble(...) starts an ACME authority; see `support.pebble.Pebble`."""
    need("pebble")
    return lambda **options: running.enter_context(Pebble(pki, **options))


@pytest.fixture(scope="module")
def rspamd() -> Iterator[Rspamd]:
    """An rspamd for all tests of a module; see `support.scanners.Rspamd`."""
    need("rspamd")
    with Rspamd() as started:
        yield started


@pytest.fixture(scope="module")
def clamd() -> Iterator[Clamd]:
    """A clamd for all tests of a module; see `support.scanners.Clamd`."""
    need("clamd")
    with Clamd() as started:
        yield started


@pytest.fixture
def status_server(running: ExitStack, pki: Pki) -> StatusServer:
    """Serves CRL and OCSP answers of `pki`; see `gatepost.testing.status_server.StatusServer`."""
    return running.enter_context(StatusServer(pki))


@pytest.fixture
def gateway(running: ExitStack) -> Callable[..., Gateway]:
    """gateway(resources, ...) starts gatepost; see `support.gateway.Gateway`."""
    return lambda resources="", **options: running.enter_context(Gateway(resources, **options))


@pytest.fixture(scope="module", autouse=True)
def no_idle_browser(request: pytest.FixtureRequest) -> None:
    """A file without a test of a browser ends the one of the files before; see `support.browser.SharedBrowser`."""
    items = request.session.items
    if not any(item.path == request.path and "browser" in getattr(item, "fixturenames", ()) for item in items):
        with request.config.stash[CPU_TIME].of_the_run():
            shared_browser.end()


@pytest.fixture(scope="session", autouse=True)
def common_browser() -> Iterator[None]:
    """Ends the browser that files have in common, if there was one."""
    yield
    shared_browser.end()


@pytest.fixture(scope="module")
def browser() -> Browser:
    """The browser of this process of the run."""
    need("chromium")
    return shared_browser.get()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page that shares nothing with others; the test fails if the browser complains: `support.browser`."""
    with context(browser) as (opened, _):
        yield opened.new_page()


def pytest_configure(config: pytest.Config) -> None:
    """Without long tests, axe looks at each page once, and what servers write is in memory."""
    is_short = "not long" in config.getoption("markexpr")
    choose_looks(every=not is_short)
    if is_short and "TMPDIR" not in os.environ and holds_test_files():
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # kept of three runs
        tempfile.tempdir = MEMORY
    config.stash[CPU_TIME] = CpuTime()
    config.pluginmanager.register(config.stash[CPU_TIME])


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before pytest chooses by markers, and after that
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Mark what uses the browser; begin with files that may take long, or have many tests, lest all wait for one.

    A file takes long with all its long tests, one after the other, and otherwise with the longest of its tests.
    """
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
    yield
    together: defaultdict[Path, float] = defaultdict(float)
    longest: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        marker = item.get_closest_marker("timeout")
        seconds = float(marker.args[0]) if marker else 0.0
        longest[item.path] = max(longest[item.path], seconds)
        if item.get_closest_marker("long"):
            together[item.path] += seconds
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (-together[item.path], -longest[item.path], -tests[item.path]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What failed is shown with the end of the log of each gateway."""
    report = yield
    if report.failed:
        report.sections += [(f"Log of {folder}", text) for folder, text in ends_of_logs() if text]
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say in red what was not tested for want of a Debian package, and what a run on PostgreSQL left out."""
    skipped: dict[str, list[str]] = defaultdict(list)
    for report in terminalreporter.stats.get("skipped", []):
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else ""
        if MARK in reason:
            skipped[reason.partition(f"{MARK}: ")[2]].append(report.nodeid)
    for wanted, tests in skipped.items():
        how = "" if ";" in wanted else "; to install it, as root: scripts/install_peers.sh"
        line = f"NOT TESTED for want of {wanted}: {len(tests)} test(s){how}"
        terminalreporter.write_line(line, red=True, bold=True)
    if left_out := sqlite_only_summary(terminalreporter.stats.get("skipped", [])):
        terminalreporter.write_line(left_out)
