"""What is asked of a responder; how its answers are used and kept is shown by test_revocation.py."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cryptography.x509 import ocsp
from support.status_authority import NOW, StatusAuthority
from support.web import Web, ok

from gatepost.net.lookups.dns import Resolver, asking_for
from gatepost.net.lookups.http import HttpClient, HttpRequest, HttpResponse
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.net.lookups.revocation_lists import Responders
from gatepost.net.revocation import RevocationError
from gatepost.net.tasks import spawn
from gatepost.values import replace

AUTHORITY = StatusAuthority()
LEAF, OTHER = AUTHORITY.leaf(), AUTHORITY.leaf()
TIME = NOW.timestamp()


def test_the_certificate_is_asked_for_once_by_however_many() -> None:
    bodies: list[bytes] = []

    def answer(body: bytes) -> bytes:
        bodies.append(body)
        return ok(AUTHORITY.response(LEAF))

    async def run() -> Any:
        async with Web({"/ocsp": answer}) as web:
            responders = Responders(HttpClient(Resolver(Nameservers(["127.0.0.1:9"]))), timeout=5, clock=lambda: 0.0)

            def ask() -> Any:
                return responders.ask(web.url("/ocsp"), LEAF, AUTHORITY.certificate, now=TIME, reach=None)

            found = await asyncio.gather(*(ask() for _ in range(5)))
            return {one.status for one in found}, web.heads

    states, heads = asyncio.run(run())
    assert states == {"good"}
    assert [ocsp.load_der_ocsp_request(body).serial_number for body in bodies] == [LEAF.serial_number]
    assert b"Content-Type: application/ocsp-request" in heads[0]
    assert b"Accept: application/ocsp-response" in heads[0]


def test_an_unusable_answer_about_one_says_nothing_of_another() -> None:
    answers = {
        LEAF.serial_number: AUTHORITY.response(LEAF, forged=True),
        OTHER.serial_number: AUTHORITY.response(OTHER),
    }

    def answer(body: bytes) -> bytes:
        return ok(answers[ocsp.load_der_ocsp_request(body).serial_number])

    async def run() -> tuple[list[str], int]:
        async with Web({"/ocsp": answer}) as web:
            responders = Responders(HttpClient(Resolver(Nameservers(["127.0.0.1:9"]))), timeout=5, clock=lambda: 0.0)
            found = []
            for certificate in (LEAF, LEAF, OTHER):
                try:
                    standing = await responders.ask(
                        web.url("/ocsp"), certificate, AUTHORITY.certificate, now=TIME, reach=None
                    )
                    found.append(standing.status)
                except RevocationError as failure:
                    found.append(str(failure).replace(web.url("/ocsp"), "URL")[:35])
            return found, len(web.requests)

    assert asyncio.run(run()) == (["URL: its signature is not that of C"] * 2 + ["good"], 2)


def test_an_older_answer_that_comes_late_does_not_replace_a_newer_one() -> None:
    older = AUTHORITY.response(LEAF, hours=(-2, 2))

    async def run() -> list[str]:
        async with Web({"/ocsp": ok(AUTHORITY.response(LEAF, status="revoked", hours=(-1, 1)))}) as web:
            client, go = HttpClient(Resolver(Nameservers(["127.0.0.1:9"]))), asyncio.Event()
            responders = Responders(client, timeout=5, clock=lambda: 0.0)
            fetch = client.fetch

            async def slow(request: HttpRequest) -> HttpResponse:
                answer = await fetch(request)
                if asking_for.get() == "contoso":
                    await go.wait()
                    return replace(answer, body=older)
                return answer

            client.fetch = slow  # type: ignore[method-assign]

            async def ask(organization: str, now: float = TIME) -> str:
                asking_for.set(organization)
                found = await responders.ask(web.url("/ocsp"), LEAF, AUTHORITY.certificate, now=now, reach=None)
                return found.status

            waiting = spawn(ask("contoso"), "test")
            await asyncio.sleep(0.1)
            first = await spawn(ask("fabrikam"), "test")
            go.set()
            found = [first, await waiting, await spawn(ask("fabrikam"), "test")]
            await responders.close()
            return found

    assert asyncio.run(run()) == ["revoked"] * 3


def test_a_responder_that_is_not_there_is_not_asked_for_the_next() -> None:
    async def run() -> int:
        async with Web() as web:
            responders = Responders(HttpClient(Resolver(Nameservers(["127.0.0.1:9"]))), timeout=5, clock=lambda: 0.0)
            for certificate in (LEAF, OTHER):
                with pytest.raises(RevocationError, match="status 404"):
                    await responders.ask(web.url("/x"), certificate, AUTHORITY.certificate, now=TIME, reach=None)
            await responders.close()
            return len(web.requests)

    assert asyncio.run(run()) == 1
