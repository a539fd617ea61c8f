"""The process where nodes join, without a supervisor; its lifeline ends with the script's standard input."""

from __future__ import annotations

import asyncio
import signal
import time
from types import SimpleNamespace

import pytest

from gatepost.node import site_host
from gatepost.node.site_host import SiteHost
from gatepost.pki.certificates.vault import Vault
from gatepost.pki.site.client import SiteConnection
from gatepost.pki.site.membership import node_request
from gatepost.pki.site.records import SiteError
from gatepost.pki.site.site import Site, read_token
from gatepost.pki.site.store import SiteStore
from gatepost.settings.loader import load
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import StoreFailure

SCRIPT = """
import logging, sys
from gatepost.net.listener import bind
from gatepost.node.site_host import run_site_host
from gatepost.settings.loader import load

logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout, level=logging.INFO)
settings = load(sys.argv[1], {})
sockets = bind(settings.site.address)
print("port", sockets[0].getsockname()[1], flush=True)
print("status", run_site_host(settings, sockets, 0), flush=True)
"""
KEY = bytes(range(32))
HOUR = 3600.0


@pytest.fixture
def serve(run, home):
    """Starts it: the script and the port."""

    def start(key=KEY):
        file = home.path / "master.key"
        file.touch(0o600)
        file.write_bytes(key)
        home.settings(store={"master_key": f"file:{file}"}, site={"address": "127.0.0.1:0"})
        script = run(SCRIPT, home.file)
        return script, int(script.expect("port").split()[1])

    return start


@pytest.fixture
def site(home):
    store = ConfigStore(home.data / "config.db")
    yield Site(SiteStore(store, Vault(KEY)))
    store.close()


def join(site, port):
    secret, root = read_token(site.new_token("", valid=HOUR, author="ann", now=time.time())[1])
    connection = SiteConnection(f"127.0.0.1:{port}", now=time.time())
    connection.trust_thumbprint(root)
    body = {"token": secret, "request": node_request("mx2.gate.example")[0].decode()}
    return asyncio.run(connection.ask("join", body))


def test_it_waits_for_an_authority_and_follows_the_next(serve, site):
    script, port = serve()
    script.expect("nodes cannot join at 127.0.0.1:0: there is no authority; run gatepost site init")
    first = site.init("a-site", (), author="ann", now=time.time())
    script.expect(f"nodes join and renew at 127.0.0.1:0 (authority {first.id})")
    assert join(site, port).site == "a-site"
    script.expect("INFO site: join from 127.0.0.1: mx2.gate.example has a new certificate")
    second = site.replace(None, time.time() + 1, author="ann", now=time.time())
    script.expect(f"nodes join and renew at 127.0.0.1:0 (authority {second.id})")
    script.signal(signal.SIGHUP)
    script.signal(signal.SIGTERM)
    assert script.expect("status") == "status 0"
    assert script.ends() == 0


def test_a_master_key_that_is_not_the_right_one(serve, site):
    site.init("a-site", (), author="ann", now=time.time())
    script, port = serve(bytes(32))
    script.expect("ERROR nodes cannot join at 127.0.0.1:0: ")
    with pytest.raises((SiteError, OSError)):
        join(site, port)
    script.stdin.close()
    assert script.expect("status") == "status 0"


def test_what_the_store_could_not_say_is_asked_again(home, site, monkeypatch):
    file = home.path / "master.key"
    file.touch(0o600)
    file.write_bytes(KEY)
    home.settings(store={"master_key": f"file:{file}"}, site={"address": "127.0.0.1:0"})
    host = SiteHost(load(home.file, {}), [])
    host._refresh()
    site.init("a-site", (), author="ann", now=time.time())

    def unavailable(*_, **__):
        raise StoreFailure("away")

    for what in (ConfigStore, "load"), (Site, "endpoint"):
        with monkeypatch.context() as away:
            away.setattr(*what, unavailable)
            with pytest.raises(StoreFailure):
                host._refresh()
    host._refresh()
    assert host._tls is not None
    host._store.close()


def test_a_clock_that_was_set_back_has_it_present_another_certificate(home, site, monkeypatch):
    """The one of then is not valid yet, and no node could join or renew until it is."""
    file = home.path / "master.key"
    file.touch(0o600)
    file.write_bytes(KEY)
    home.settings(store={"master_key": f"file:{file}"}, site={"address": "127.0.0.1:0"})
    now = time.time()
    site.init("a-site", (), author="ann", now=now)
    host = SiteHost(load(home.file, {}), [])
    presented = []
    for ahead, is_new in ((7_000_000.0, True), (7_000_001.0, False), (6_999_500.0, False), (0.0, True), (1.0, False)):
        monkeypatch.setattr(site_host, "time", SimpleNamespace(time=lambda ahead=ahead: now + ahead))
        host._refresh()
        presented.append(host._tls)
        assert (presented[-1] is not presented[-2] if presented[1:] else True) is is_new
    host._store.close()


def test_a_master_key_that_is_none(serve):
    script, _ = serve(b"short")
    script.expect("CRITICAL the site cannot be served: the master key has 5 bytes")
    assert script.expect("status") == "status 1"


def test_records_of_another_version(serve, home):
    store = ConfigStore(home.data / "config.db")
    store.apply({"site_authority": {"x": {}}}, author="x")
    script, _ = serve()
    script.expect(
        "ERROR nodes cannot join or renew: a record of kind site_authority is stored in a form that this version"
    )
    store.apply({"site_authority": {"x": None}}, author="x")
    script.expect("there is no authority")
    store.close()
