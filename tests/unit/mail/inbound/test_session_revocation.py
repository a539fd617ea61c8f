"""What a session does while it is found out whether its client's certificate was revoked: wait, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from gatepost.protocols.tls.facts import Revocation

NAME = "mail.contoso.example"


class Asked:
    """The question is answered when the test says so."""

    def __init__(self, gate):
        self.count = 0
        self.answer = asyncio.get_running_loop().create_future()
        gate.service.check_revocation = self.check

    async def check(self, chain):
        assert chain.trusted
        self.count += 1
        return await self.answer


async def _secured(gate):
    client = await gate.greeted()
    await client.starttls(gate.identity(NAME))
    return client


@pytest.mark.parametrize(
    ("status", "connector"), [("good", "by certificate"), ("revoked", ""), ("unknown", "by certificate")]
)
async def test_nothing_is_answered_before_it_is_known(gate, status, connector):
    async with gate.open():
        asked = Asked(gate)
        client = await _secured(gate)
        client.send("EHLO mail.contoso.example", "MAIL FROM:<ann@contoso.example>")
        await gate.until(lambda: asked.count)
        await gate.pass_time(200)
        await asyncio.sleep(0.01)
        assert client._data == b""
        asked.answer.set_result(Revocation(status, "says the list", "crl"))
        assert (await client.reply()).startswith("250")
        assert (await client.reply()).startswith("250 2.1.0")
        answer = await client.say("RCPT TO:<bob@elsewhere.example>")
        assert answer.startswith("250" if connector else "550 5.7.64")
        attribution = client.session._attribution
        assert (attribution.connector.name if attribution.connector else "") == connector
    assert asked.count == 1


async def test_who_shows_no_certificate_waits_for_nothing(gate):
    async with gate.open():
        asked = Asked(gate)
        client = await gate.greeted()
        await client.starttls()
        assert (await client.say("EHLO client.example")).startswith("250")
    assert asked.count == 0


async def test_what_comes_meanwhile_is_bounded(gate):
    async with gate.open():
        asked = Asked(gate)
        client = await _secured(gate)
        client.send(*["NOOP"] * 20000)
        await gate.until(lambda: asked.count)
        await gate.until(lambda: client.session._core.full)
        asked.answer.set_result(Revocation("good", "", "crl"))
        assert (await client.reply())[:3] in {"250", "421", "503"}


async def test_the_client_may_leave_meanwhile(gate):
    async with gate.open():
        asked = Asked(gate)
        client = await _secured(gate)
        await gate.until(lambda: asked.count)
        client.vanish()
        await gate.until(lambda: not len(gate.registry))
        asked.answer.set_result(Revocation("good", "", "crl"))
        await asyncio.sleep(0.01)
        assert client.session._lost


async def test_a_shutdown_does_not_wait_for_it(gate):
    async with gate.open():
        asked = Asked(gate)
        client = await _secured(gate)
        await gate.until(lambda: asked.count)
        gate.registry.drain()
        assert (await client.reply()).startswith("421 4.3.2")
        await client.ends()
        asked.answer.set_result(Revocation("good", "", "crl"))
        await asyncio.sleep(0.01)


async def test_a_fault_of_ours_lets_nobody_pass_unchecked(gate, caplog):
    async with gate.open():
        asked = Asked(gate)
        client = await _secured(gate)
        await gate.until(lambda: asked.count)
        asked.answer.set_exception(RuntimeError("a fault"))
        assert (await client.reply()).startswith("421 4.3.0")
        await client.ends()
        await asyncio.sleep(0.01)
    assert "a fault" in caplog.text


async def test_a_message_waits_where_the_configuration_asks_for_the_first_time(gate):
    async with gate.open():
        gate.service.directory = gate.directory("[organization.nobody]")
        asked = Asked(gate)
        client = await _secured(gate)
        assert (await client.say("EHLO mail.contoso.example"))[:3] == "250"
        gate.service.directory = gate.directory()
        client.send("MAIL FROM:<ann@contoso.example>", "RCPT TO:<bob@elsewhere.example>")
        await gate.until(lambda: asked.count)
        assert client._data == b""
        asked.answer.set_result(Revocation("revoked", "says the list", "crl"))
        assert (await client.reply()).startswith("250 2.1.0")
        assert (await client.reply()).startswith("550 5.7.64")
        assert (await client.say("RSET", "MAIL FROM:<ann@contoso.example>")).startswith("250")
    assert asked.count == 1


async def test_a_client_may_leave_while_its_message_waits(gate):
    async with gate.open():
        gate.service.directory = gate.directory("[organization.nobody]")
        asked = Asked(gate)
        client = await _secured(gate)
        await client.say("EHLO mail.contoso.example")
        gate.service.directory = gate.directory()
        client.send("MAIL FROM:<ann@contoso.example>")
        await gate.until(lambda: asked.count)
        client.vanish()
        await gate.until(lambda: not len(gate.registry))
        asked.answer.set_result(Revocation("good", "", "crl"))
        await asyncio.sleep(0.01)
        assert client.session._transaction is None
