"""What the folder of lists may hold; how lists are fetched and kept is shown by test_revocation.py."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from support.status_authority import NOW, StatusAuthority
from support.web import Web, ok

from gatepost.net.lookups import revocation_lists
from gatepost.net.lookups.dns import Resolver, asking_for
from gatepost.net.lookups.http import HttpClient, HttpFailed, HttpRequest, HttpResponse
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.net.lookups.revocation_lists import Responders, RevocationLists
from gatepost.net.revocation import RevocationError, RevocationList, read_list
from gatepost.net.tasks import spawn
from gatepost.policy.connectors.addresses import AddressPolicy
from gatepost.values import replace

AUTHORITY = StatusAuthority()
TIME = NOW.timestamp()


async def _find(web: Web, folder: Path | None, *paths: str, authority: StatusAuthority = AUTHORITY) -> list[int]:
    lists = RevocationLists(HttpClient(Resolver(Nameservers(["127.0.0.1:9"]))), folder, timeout=5, clock=lambda: 0.0)
    found = [
        await lists.find(web.url(path), authority.certificate, now=TIME, reach=None)  # one after the other
        for path in paths
    ]
    await lists.close()
    return [len(one) for one in found]


def _files(folder: Path) -> set[Path]:
    return set(folder.iterdir())


@pytest.mark.parametrize(
    ("bound", "value"), [("_DISK_FILES", 2), ("_DISK_BYTES", 2 * len(AUTHORITY.crl()) + 20)], ids=["files", "bytes"]
)
def test_what_was_fetched_longest_ago_leaves_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    monkeypatch.setattr(revocation_lists, bound, value)

    async def run() -> None:
        async with Web({f"/{n}": ok(AUTHORITY.crl()) for n in range(4)}) as web:
            for number in range(4):
                known = _files(tmp_path)
                await _find(web, tmp_path, f"/{number}")
                for path in _files(tmp_path) - known:
                    os.utime(path, (TIME - 10 + number, TIME - 10 + number))  # before what is written next

    asyncio.run(run())
    assert sorted(path.stat().st_mtime for path in tmp_path.iterdir()) == [TIME - 8, TIME - 7]


def test_a_list_of_another_key_at_the_same_address_is_not_taken(tmp_path: Path) -> None:
    """Two authorities of one name and one address: each list is known by the key that signed it."""
    twin = StatusAuthority()

    async def run() -> list[int]:
        async with Web({"/crl": ok(AUTHORITY.crl({1: None, 2: None}))}) as web:
            found = await _find(web, tmp_path, "/crl")
            with pytest.raises(RevocationError, match="its signature is not that of"):
                await _find(web, tmp_path, "/crl", authority=twin)
            return found

    assert asyncio.run(run()) == [2]


def test_a_file_that_is_too_large_is_fetched_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> int:
        async with Web({"/crl": ok(AUTHORITY.crl())}) as web:
            await _find(web, tmp_path, "/crl")
            (file,) = _files(tmp_path)
            file.write_bytes(b"x" * (len(AUTHORITY.crl()) + 100))
            monkeypatch.setattr(revocation_lists, "MAX_LIST_BYTES", len(AUTHORITY.crl()) + 50)
            await _find(web, tmp_path, "/crl")
            return len(web.requests)

    assert asyncio.run(run()) == 2


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    async def run() -> list[int]:
        async with Web({"/crl": ok(AUTHORITY.crl())}) as web:
            return await _find(web, None, "/crl", "/crl")

    assert asyncio.run(run()) == [0, 0]
    assert list(tmp_path.iterdir()) == []


def test_a_list_that_the_disk_does_not_take_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Or a disk that is full fills up with parts of lists, one a minute."""

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(tmp_path), "replace", full)

    async def run() -> list[int]:
        async with Web({"/crl": ok(AUTHORITY.crl({1: None}))}) as web:
            return await _find(web, tmp_path, "/crl")

    assert asyncio.run(run()) == [1]
    assert _files(tmp_path) == set()
    assert "cannot be kept: No space left on device" in caplog.text


def test_large_lists_are_read_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To read one takes several times its size, and whoever issues certificates may name many."""
    running, most = 0, 0
    lock = threading.Lock()

    def slow(der: bytes, issuer: x509.Certificate) -> RevocationList:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return read_list(der, issuer)

    monkeypatch.setattr(revocation_lists, "read_list", slow)

    async def run() -> None:
        async with Web({f"/{n}": ok(AUTHORITY.crl()) for n in range(5)}) as web:
            for _ in range(2):  # from the web, then from the disk
                lists = RevocationLists(
                    HttpClient(Resolver(Nameservers(["127.0.0.1:9"]))), tmp_path, timeout=5, clock=lambda: 0.0
                )
                await asyncio.gather(
                    *(lists.find(web.url(f"/{n}"), AUTHORITY.certificate, now=TIME, reach=None) for n in range(5))
                )
                await lists.close()

    asyncio.run(run())
    assert most == 1


def test_lists_of_tenants_authorities_hold_up_nobody_elses() -> None:
    """Whoever makes an authority may name a new list in each certificate, on hosts that keep silent."""

    async def run() -> list[int]:
        silent = {f"/{number}" for number in range(20)}
        async with Web({"/crl": ok(AUTHORITY.crl({1: None}))}, hanging=silent) as web:
            client = HttpClient(Resolver(Nameservers(["127.0.0.1:9"])))
            lists = RevocationLists(client, None, timeout=50, clock=lambda: 0.0)

            async def find(path: str, *, by_tenant: bool = False) -> int:
                where = web.url(path)
                return len(await lists.find(where, AUTHORITY.certificate, now=TIME, reach=None, by_tenant=by_tenant))

            waiting = [spawn(find(path, by_tenant=True), "test") for path in silent]
            while len(web.requests) < revocation_lists._TENANTS:  # noqa: ASYNC110 - a server that knows no event
                await asyncio.sleep(0.01)
            async with asyncio.timeout(20):
                found = [await find("/crl"), len(web.requests)]
            for task in waiting:
                task.cancel()
            await lists.close()
            return found

    assert asyncio.run(run()) == [1, revocation_lists._TENANTS + 1]


def test_lists_of_tenants_authorities_on_the_disk_are_read_by_turns_with_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[str] = []
    reading = RevocationLists._read
    asked = threading.Event()

    def noted(lists: RevocationLists, key: tuple[str, bytes], issuer: x509.Certificate) -> object:
        read.append(key[0])
        assert asked.wait(5), "all ask while the first is read"
        return reading(lists, key, issuer)

    monkeypatch.setattr(RevocationLists, "_read", noted)

    async def run() -> int:
        paths = [f"/{number}" for number in range(20)]
        async with Web({path: ok(AUTHORITY.crl({1: None})) for path in (*paths, "/crl")}) as web:
            lists = RevocationLists(
                HttpClient(Resolver(Nameservers(["127.0.0.1:9"]))), None, timeout=50, clock=lambda: 0.0
            )
            asking = [(web.url(path), True) for path in paths] + [(web.url("/crl"), False)]
            asyncio.get_running_loop().call_later(0.1, asked.set)
            await asyncio.gather(
                *(lists.find(url, AUTHORITY.certificate, now=TIME, reach=None, by_tenant=of) for url, of in asking)
            )
            await lists.close()
            return read.index(web.url("/crl"))

    assert asyncio.run(run()) <= 1


def test_what_is_too_large_of_a_tenants_authority_is_not_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation_lists, "_TENANTS_BYTES", 100)

    async def run() -> int:
        async with Web({"/crl": ok(AUTHORITY.crl({1: None}))}) as web:
            client = HttpClient(Resolver(Nameservers(["127.0.0.1:9"])))
            lists = RevocationLists(client, None, timeout=50, clock=lambda: 0.0)
            asking = web.url("/crl"), AUTHORITY.certificate
            with pytest.raises(RevocationError, match="larger than 100 bytes"):
                await lists.find(*asking, now=TIME, reach=None, by_tenant=True)
            return len(await lists.find(*asking, now=TIME, reach=None))

    assert asyncio.run(run()) == 1


@pytest.mark.parametrize("kind", ["list", "response"])
def test_organizations_whose_questions_to_nameservers_wait_hold_up_no_others(
    nameserver: Callable[..., Any], kind: str
) -> None:
    """Else its own users, who can fill its places, decide whether another one's partner counts as revoked."""
    leaf = AUTHORITY.leaf()

    async def run() -> tuple[object, bool, object]:
        async with nameserver({("authority.example", "A"): ["127.0.0.1"], ("authority.example", "AAAA"): []}) as double:
            resolver = Resolver(Nameservers([f"127.0.0.1:{double.port}"], timeout=5, attempts=1))
            client = HttpClient(resolver)
            async with Web({"/crl": ok(AUTHORITY.crl()), "/ocsp": ok(AUTHORITY.response(leaf))}) as web:
                lists = RevocationLists(client, None, timeout=1, clock=lambda: 0.0)
                responders = Responders(client, timeout=1, clock=lambda: 0.0)
                place = f"http://authority.example:{web.port}"

                async def find(organization: str) -> object:
                    asking_for.set(organization)
                    if kind == "list":
                        return await lists.find(f"{place}/crl", AUTHORITY.certificate, now=TIME, reach=None)
                    return await responders.ask(f"{place}/ocsp", leaf, AUTHORITY.certificate, now=TIME, reach=None)

                async with AsyncExitStack() as taken:
                    for _ in range(75):
                        await taken.enter_async_context(resolver._places.place("contoso"))
                    waiting = spawn(find("contoso"), "test")
                    await asyncio.sleep(1.1)  # longer than a request may take
                    other = await spawn(find("fabrikam"), "test")
                    done = waiting.done()
                found = await waiting
                await lists.close()
                await responders.close()
                return other, done, found

    other, done, found = asyncio.run(run())
    assert type(other) is type(found) is not None
    assert not done


def test_who_may_call_an_address_does_not_wait_for_who_may_not() -> None:
    leaf = AUTHORITY.leaf()

    async def run() -> list[object]:
        async with Web({"/crl": ok(AUTHORITY.crl()), "/ocsp": ok(AUTHORITY.response(leaf))}) as web:
            client = HttpClient(Resolver(Nameservers(["127.0.0.1:9"])))
            lists = RevocationLists(client, None, timeout=5, clock=lambda: 0.0)
            responders = Responders(client, timeout=5, clock=lambda: 0.0)
            nobodys = AddressPolicy()
            found = await asyncio.gather(
                *(lists.find(web.url("/crl"), AUTHORITY.certificate, now=TIME, reach=may) for may in (nobodys, None)),
                *(
                    responders.ask(web.url("/ocsp"), leaf, AUTHORITY.certificate, now=TIME, reach=may)
                    for may in (nobodys, None)
                ),
                return_exceptions=True,
            )
            await lists.close()
            await responders.close()
            return [type(one).__name__ for one in found]

    assert asyncio.run(run()) == ["RevocationError", "RevocationList", "RevocationError", "RevocationStatus"]


@pytest.mark.parametrize("late", ["an older list", "none"])
def test_a_list_that_another_organization_fetched_meanwhile_is_not_replaced_by_less(tmp_path: Path, late: str) -> None:
    old = AUTHORITY.crl(hours=(-2, 1))

    async def run() -> list[int]:
        async with Web({"/crl": ok(AUTHORITY.crl({1: None}))}) as web:
            client, go = HttpClient(Resolver(Nameservers(["127.0.0.1:9"]))), asyncio.Event()
            lists = RevocationLists(client, tmp_path, timeout=5, clock=lambda: 0.0)
            fetch = client.fetch

            async def slow(request: HttpRequest) -> HttpResponse:
                answer = await fetch(request)
                if asking_for.get() == "contoso":
                    await go.wait()
                    if late == "none":
                        raise HttpFailed("silent", temporary=True)
                    return replace(answer, body=old)
                return answer

            client.fetch = slow  # type: ignore[method-assign]

            async def find(organization: str) -> int:
                asking_for.set(organization)
                return len(await lists.find(web.url("/crl"), AUTHORITY.certificate, now=TIME, reach=None))

            waiting = spawn(find("contoso"), "test")
            await asyncio.sleep(0.1)
            first = await spawn(find("fabrikam"), "test")
            go.set()
            found = [first, await waiting, await spawn(find("fabrikam"), "test")]
            await lists.close()
            return found

    assert asyncio.run(run()) == [1, 1, 1]
    (file,) = _files(tmp_path)
    assert file.read_bytes() != old
