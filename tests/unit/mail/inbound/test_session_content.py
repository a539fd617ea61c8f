"""Content hooks as a session meets them: it waits before it answers, and nothing is promised before."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from gatepost.mail.inbound.authentication import AuthenticationReport
from gatepost.mail.inbound.transaction import _NO_RESULTS
from gatepost.net.stream import Loss, LossKind
from gatepost.policy.connectors.values import HookFailure
from gatepost.policy.decisions.content import ScanResult
from gatepost.protocols.message.authentication_results import MethodResult
from gatepost.protocols.message.edit import HeaderEdits
from gatepost.protocols.scanners.finding import ScanAction, ScanFinding
from gatepost.store.interface import StoreBusy

HOOK = '[[organization.contoso.content_hook]]\nname = "av"\ntype = "clamav"\naddress = "127.0.0.1"\n'
REFUSED = "554 5.7.1 Message refused because of its content"
ANN = "ann@contoso.example"


class Hooks:
    """Stands where the scanners stand: what it finds is set by the test, when is, too."""

    def __init__(self):
        self.finding = ScanFinding(ScanAction.NO_ACTION)
        self.fault = None
        self.ready = asyncio.Event()
        self.ready.set()
        self.seen, self.cancelled = [], 0

    async def ask(self, hooks, message):
        content = b"".join([chunk async for chunk in message.content()])
        assert len(content) == message.size
        self.seen.append((message.described, content))
        try:
            await self.ready.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.fault is not None:
            raise self.fault
        failure = "" if self.finding else "it hangs"
        return [ScanResult(one, self.finding, failure) for one in hooks]


@contextlib.asynccontextmanager
async def hooked(gate, more=""):
    async with gate.open():
        gate.service.directory = gate.directory(gate.resources + HOOK + more)
        gate.service.hooks = Hooks()
        yield gate.service.hooks


async def test_without_a_hook_nobody_is_asked(gate):
    async with gate.open():
        gate.service.hooks = None  # asking it would be an error
        client = await gate.greeted()
        await client.envelope("eve@elsewhere.example", ANN)
        assert (await client.say("Subject: x\r\n\r\nhello\r\n.")).startswith("250")


async def test_what_is_found_decides_before_the_answer(gate):
    async with hooked(gate) as hooks:
        client = await gate.greeted()
        hooks.finding = ScanFinding(ScanAction.REJECT, signature="Eicar")
        await client.envelope("eve@elsewhere.example", ANN, "joe@contoso.example")
        assert await client.say("Subject: x\r\n\r\nhello\r\n.") == REFUSED
        assert gate.left_behind() == []
        rows = [row for row in gate.traced if row.event == "REFUSE"]
        assert [row.recipient for row in rows] == [ANN, "joe@contoso.example"]
        assert rows[0].detail["content_hooks"][0]["signature"] == "Eicar"
        hooks.finding = ScanFinding(ScanAction.NO_ACTION)
        await client.envelope("eve@elsewhere.example", ANN)
        assert (await client.say("Subject: y\r\n\r\nhello\r\n.")).startswith("250 2.0.0 Queued as")
        assert gate.traced[-1].detail["content_hooks"][0]["action"] == "no-action"
        described, content = hooks.seen[-1]
        assert content.endswith(b"Subject: y\r\n\r\nhello\r\n")
        assert content.startswith(b"Received: from client.example")
        assert (described.ip, described.hello, described.recipients) == ("203.0.113.9", "client.example", (ANN,))
        assert gate.traced[-1].message == described.queue_id


async def test_nothing_moves_while_the_scanner_thinks(gate):
    async with hooked(gate) as hooks:
        hooks.ready.clear()
        client = await gate.greeted()
        await client.envelope("eve@elsewhere.example", ANN)
        client.send("Subject: x\r\n\r\nhello\r\n.", "NOOP", "MAIL FROM:<b@b.example>")
        await gate.until(lambda: hooks.seen)
        await gate.pass_time(3000)  # it is we who keep the client waiting
        assert client.loss is None
        assert gate.entries() == []
        hooks.ready.set()
        assert [(await client.reply())[:3] for _ in range(3)] == ["250", "250", "250"]
        assert len(gate.entries()) == 1


@pytest.mark.parametrize("size", [10, 300_000], ids=["small", "big"])
async def test_who_hangs_up_meanwhile_ends_the_question_and_leaves_nothing(gate, size):
    async with hooked(gate) as hooks:
        hooks.ready.clear()
        client = await gate.greeted()
        await client.envelope("eve@elsewhere.example", ANN)
        client.send("Subject: x\r\n\r\n" + "x" * 70 + ("\r\n" + "y" * 70) * (size // 72) + "\r\n.")
        await gate.until(lambda: hooks.seen)
        client.session.lost(Loss(LossKind.RESET))  # one that only stops sending gets its answer
        await gate.until(lambda: hooks.cancelled == 1)
        await gate.until(lambda: gate.left_behind() == [])
        assert [row.event for row in gate.traced] == []


@pytest.mark.parametrize("size", [10, 300_000], ids=["small", "big"])
async def test_the_header_becomes_what_is_wanted(gate, size):
    async with hooked(gate) as hooks:
        kind = 'type = "rspamd"\naddress = "http://127.0.0.1:1"'
        text = gate.resources + HOOK.replace('type = "clamav"\naddress = "127.0.0.1"', kind)
        gate.service.directory = gate.directory(text)
        edits = HeaderEdits((("X-A", "1"),), (("X-Old", 0),))
        hooks.finding = ScanFinding(ScanAction.REWRITE_SUBJECT, edits=edits, subject="new")
        client = await gate.greeted()
        await client.envelope("eve@elsewhere.example", ANN)
        body = ("y" * 70 + "\r\n") * (size // 72 + 1)
        client.send(f"X-Old: 1\r\nSubject: old\r\n\r\n{body}.")
        assert (await client.reply()).startswith("250")
        (row,) = gate.traced
        stored = await gate.body(gate.offered[0].message.id)
        assert stored.startswith(b"X-A: 1\r\nReceived: from")
        assert stored.endswith(b"\r\nSubject: new\r\n\r\n" + body.encode())
        assert len(stored) == row.size == gate.offered[0].message.size
        assert gate.offered[0].body in {None, stored}


@pytest.mark.parametrize(("on_failure", "code"), [(HookFailure.DEFER, "451 4.7.1"), (HookFailure.ACCEPT, "250 2.0.0")])
async def test_no_answer_is_what_was_said_of_it(gate, on_failure, code):
    async with hooked(gate, f'on_failure = "{on_failure}"\n') as hooks:
        hooks.finding = None
        client = await gate.greeted()
        await client.envelope("eve@elsewhere.example", ANN)
        assert (await client.say("Subject: x\r\n\r\nhello\r\n.")).startswith(code)
        assert gate.traced[-1].detail["content_hooks"][0]["failure"] == "it hangs"


async def test_a_store_that_cannot_be_read_defers(gate):
    async with hooked(gate) as hooks:
        hooks.fault = StoreBusy("gone")
        client = await gate.greeted()
        await client.envelope("eve@elsewhere.example", ANN)
        assert (await client.say("Subject: x\r\n\r\nhello\r\n.")).startswith("451 4.3.0")
        assert gate.left_behind() == []


async def test_a_fault_of_ours_lets_nothing_pass(gate, caplog):
    async with hooked(gate) as hooks:
        hooks.fault = ZeroDivisionError("a bug")
        client = await gate.greeted()
        await client.envelope("eve@elsewhere.example", ANN)
        assert (await client.say("Subject: x\r\n\r\nhello\r\n.")).startswith("421 4.3.0")
        await client.ends()
        await gate.until(lambda: gate.left_behind() == [])
    assert "content hooks failed" in caplog.text


async def test_the_memory_for_heads_is_bounded(gate):
    gate.store_settings = gate.store_settings.__class__(free_space_mark=0, memory_budget=100)
    async with hooked(gate):
        client = await gate.greeted()
        await client.envelope("eve@elsewhere.example", ANN)
        assert (await client.say("Subject: x\r\n\r\nhello\r\n.")).startswith("451 4.3.0")
        assert gate.left_behind() == []


ON = '\n[organization.authenticated]\nauthentication_results = "{}"\naccepted_domain = [{{ name = "on.example" }}]\n'


class Results:
    """Stands where SPF, DKIM, DMARC and ARC are checked."""

    def __init__(self):
        self.fault, self.seen = None, []

    async def authenticate(self, arrival):
        content = b"".join([chunk async for chunk in arrival.content()])
        self.seen.append((arrival, content))
        if self.fault is not None:
            raise self.fault
        return AuthenticationReport((MethodResult("spf", "pass"), MethodResult("arc", "none")), "none")


@contextlib.asynccontextmanager
async def authenticated(gate, by="gateway", more=""):
    async with gate.open():
        gate.service.directory = gate.directory(gate.resources + ON.format(by) + more)
        gate.service.authenticator = Results()
        gate.service.hooks = Hooks()
        yield gate.service


FORGED = "Authentication-Results: mx.gate.example; dkim=pass\r\nSubject: x\r\n\r\nhello\r\n."


async def test_results_stand_before_everything_else(gate):
    async with authenticated(gate) as service:
        client = await gate.greeted()
        await client.envelope("eve@elsewhere.example", "x@on.example")
        assert (await client.say(FORGED)).startswith("250")
        ((arrival, content),) = service.authenticator.seen
        assert arrival.header == b"Authentication-Results: mx.gate.example; dkim=pass\r\nSubject: x\r\n"
        assert (arrival.hello, arrival.reverse_path.text) == ("client.example", "eve@elsewhere.example")
        assert b"dkim=pass" not in content
        ours = b"Authentication-Results: mx.gate.example;\r\n\tspf=pass;\r\n\tarc=none\r\nReceived:"
        kept = await gate.body(gate.entries()[0].delivery.message.id)
        assert kept.startswith(ours)
        assert b"dkim=pass" not in kept
        row = gate.traced[-1]
        assert row.detail["authentication"] == {"by": "gateway", "results": ["spf=pass", "arc=none"]}
        assert row.detail["forged_results"] == 1


async def test_what_cannot_be_read_is_deferred(gate):
    async with authenticated(gate) as service:
        service.authenticator.fault = StoreBusy("x")
        client = await gate.greeted()
        await client.envelope("eve@elsewhere.example", "x@on.example")
        assert (await client.say(FORGED)).startswith("451")
        assert gate.left_behind() == []


async def test_who_does_not_want_results_gets_none(gate):
    async with authenticated(gate) as service:
        client = await gate.greeted()
        await client.envelope("eve@elsewhere.example", ANN)
        assert (await client.say(FORGED)).startswith("250")
        assert service.authenticator.seen == []
        assert b"dkim=pass" in await gate.body(gate.entries()[0].delivery.message.id)


FILTER_ON = """
[[organization.authenticated.inbound_connector]]
name = "filter"
sender_domains = ["*"]
require_tls = false
sender_ip_addresses = ["203.0.113.0/24"]
restrict_domains_to_ip_addresses = true
ef_skip_last_ip = true
"""


async def test_mail_through_a_filter_is_authenticated_by_the_client_that_the_filter_names(gate):
    async with authenticated(gate, more=FILTER_ON) as service:
        client = await gate.greeted()
        await client.envelope("eve@elsewhere.example", "x@on.example")
        received = "Received: from a (a [198.51.100.9]) by filter; Mon, 30 Nov 2026 12:00:00 +0000\r\n"
        assert (await client.say(received + FORGED)).startswith("250")
        assert [arrival.ip for arrival, _ in service.authenticator.seen] == ["198.51.100.9"]
        assert (await gate.body(gate.entries()[0].delivery.message.id)).startswith(b"Authentication-Results: mx.gate")
        assert gate.traced[-1].detail["authentication"]["by"] == "gateway"


HOOK_ON = '[[organization.authenticated.content_hook]]\nname = "r"\ntype = "rspamd"\naddress = "http://127.0.0.1:1"\n'


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ("mx.gate.example; spf=fail; arc=reject", {"by": "rspamd", "results": ["spf=fail", "arc=reject"]}),
        ("other.example; spf=fail", {"by": "rspamd", "missing": _NO_RESULTS}),
    ],
)
async def test_results_of_rspamd(gate, added, expected):
    async with authenticated(gate, "rspamd", HOOK_ON) as service:
        edits = HeaderEdits((("Authentication-Results", added),))
        service.hooks.finding = ScanFinding(ScanAction.NO_ACTION, edits=edits)
        client = await gate.greeted()
        await client.envelope("eve@elsewhere.example", "x@on.example")
        assert (await client.say(FORGED)).startswith("250")
        assert service.authenticator.seen == []
        assert gate.traced[-1].detail["authentication"] == expected
