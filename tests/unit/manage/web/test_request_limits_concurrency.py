from __future__ import annotations

import asyncio

import pytest

from gatepost.manage.access.principal import Principal
from gatepost.manage.web import request_limits
from gatepost.manage.web.request_limits import ConcurrencyMiddleware
from gatepost.net.tasks import spawn


class Pages:
    """Answers after `go`; what is worked at is counted by asker. kind: of the answers that have begun before that."""

    def __init__(self, kind=""):
        self.go = asyncio.Event()
        self.busy = {}
        self.kind = kind

    async def __call__(self, scope, receive, send):
        name = getattr(scope["state"]["principal"], "name", "")
        self.busy[name] = self.busy.get(name, 0) + 1
        if self.kind:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", self.kind)]})
        await self.go.wait()
        if not self.kind:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        self.busy[name] -= 1


async def asked(app, name):
    found = {}

    async def send(message):
        found.update({"status": message["status"], **dict(message["headers"])} if "status" in message else {})

    name, _, organizations = name.partition(" of ")
    seen = frozenset(organizations.split()) or None
    principal = Principal(name, frozenset(), seen) if name else None
    scope = {"type": "http", "method": "GET", "path": "/api/v1/trace", "state": {"principal": principal}}
    await app(scope, None, send)
    return found


def taken(app):
    return app._of_gateway._taken + app._of_tenants._taken


async def settled(app, names):
    begun = [spawn(asked(app, name), "a request") for name in names]
    for _ in range(5):
        await asyncio.sleep(0)
    return begun


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(request_limits, "_PATIENCE", 0.05)


def test_one_asker_leaves_threads_to_others():
    async def test():
        pages = Pages()
        app = ConcurrencyMiddleware(pages)
        begun = await settled(app, ["tina"] * 40 + ["ann", ""])
        assert pages.busy == {"tina": 16, "ann": 1, "": 1}
        pages.go.set()
        assert {one["status"] for one in await asyncio.gather(*begun)} == {200}, "all of them have their turn"
        assert not taken(app), "nothing is kept of who has gone"

    asyncio.run(test())


def test_the_users_and_tokens_of_one_tenant_leave_threads_to_others():
    """A call may wait for 25 seconds, and there are 40 threads."""

    async def test():
        pages = Pages()
        app = ConcurrencyMiddleware(pages)
        tenant = [f"{name} of contoso" for name in ("tim", "tina", "token")]
        begun = await settled(app, tenant * 15 + ["ann", "tim of fabrikam", "boss of contoso fabrikam"])
        others = {"ann", "boss"}
        assert sum(pages.busy.get(name, 0) for name in ("tim", "tina", "token")) == 16 + 1
        assert others <= pages.busy.keys()
        pages.go.set()
        await asyncio.gather(*begun)
        assert not taken(app)

    asyncio.run(test())


def test_tenants_that_come_together_leave_threads_to_the_owner_and_to_other_tenants():
    """Three of them with sixteen requests each would have more than the 40 threads."""

    async def test():
        pages = Pages()
        app = ConcurrencyMiddleware(pages)
        begun = await settled(app, [f"{name} of {name}" for name in ("a", "b", "c") for _ in range(16)])
        assert pages.busy == {"a": 16, "b": 4, "c": 2}
        others = [f"{name} of {name}" for name in ("d", "e", "f", "g") for _ in range(3)]
        begun += await settled(app, [*others, *["ann"] * 9])
        assert pages.busy == {"a": 16, "b": 4, "c": 2, "d": 2, "e": 2, "f": 2, "g": 2, "ann": 9}
        pages.go.set()
        assert {one["status"] for one in await asyncio.gather(*begun)} == {200}
        assert not taken(app)

    asyncio.run(test())


def test_who_has_no_turn_in_time_is_told_when_to_come_back(short):
    async def test():
        pages = Pages()
        app = ConcurrencyMiddleware(pages)
        begun = await settled(app, ["tina"] * 17)
        done, _ = await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED, timeout=5)
        (late,) = [one.result() for one in done]
        assert late["status"] == 429
        assert late[b"retry-after"] == b"10"
        assert late[b"content-type"] == b"application/problem+json"
        pages.go.set()
        await asyncio.gather(*begun)
        assert (await asked(app, "tina"))["status"] == 200

    asyncio.run(test())


@pytest.mark.parametrize(("kind", "worked_at"), [(b"text/event-stream; charset=utf-8", 40), (b"text/csv", 16)])
def test_what_is_only_followed_takes_no_turn(kind, worked_at):
    async def test():
        pages = Pages(kind)
        app = ConcurrencyMiddleware(pages)
        begun = await settled(app, ["tina"] * 40)
        assert pages.busy == {"tina": worked_at}
        pages.go.set()
        await asyncio.gather(*begun)

    asyncio.run(test())


def test_a_page_that_fails_gives_its_turn_back():
    async def failing(scope, receive, send):
        raise LookupError

    async def test():
        app = ConcurrencyMiddleware(failing)
        for _ in range(20):
            with pytest.raises(LookupError):
                await asked(app, "tina")
        assert not taken(app)

    asyncio.run(test())
