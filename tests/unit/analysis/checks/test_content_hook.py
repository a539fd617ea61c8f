from __future__ import annotations

import asyncio
from email import message_from_bytes, policy

import pytest

from gatepost.analysis.checks.content_hook import Trial, samples, try_hook
from gatepost.net.lookups.dns import Resolver
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.policy.connectors.addresses import PUBLIC_ADDRESSES
from gatepost.policy.connectors.content_hook import ContentHook
from gatepost.policy.connectors.hook_index import ApplicableHook
from gatepost.policy.connectors.values import HookType

HOST = "mx.contoso.example"


@pytest.mark.parametrize("kind", HookType)
def test_the_samples_are_whole_messages(kind: HookType) -> None:
    for content, _ in samples(kind, HOST, 1_700_000_000.0).values():
        parsed = message_from_bytes(content, policy=policy.default)
        assert not parsed.defects
        assert parsed["Date"].datetime.timestamp() == 1_700_000_000
        assert b"\n" not in content.replace(b"\r\n", b"")


def test_each_kind_gets_what_it_must_find() -> None:
    (_, harmless), (eicar, infected) = samples(HookType.CLAMAV, HOST, 0.0).values()
    assert (harmless, infected) == (False, True)
    file = message_from_bytes(eicar).get_payload(decode=True)
    assert isinstance(file, bytes)
    assert (len(file), file[:11], file[-4:]) == (68, b"X5O!P%@AP[4", b"$H+H"[:2] + b"H*") or file.endswith(b"$H+H*")
    gtube = samples(HookType.RSPAMD, HOST, 0.0)["GTUBE"][0]
    assert b"*C.34X\r\n" in gtube


@pytest.mark.parametrize(
    ("refused", "answered", "reply", "right"),
    [
        (True, True, "554", True),
        (True, True, "", False),
        (False, True, "", True),
        (False, True, "554", False),
        (None, True, "554", True),
        (None, True, "", True),
        (True, False, "451", False),
    ],
)
def test_what_is_right(refused: bool | None, answered: bool, reply: str, right: bool) -> None:
    assert Trial("x", refused, answered, {}, reply).right is right


def test_a_hook_in_rehearsal_is_tried_as_if_it_were_in_force() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        content = await reader.readuntil(b"\0\0\0\0")
        writer.write(b"stream: X FOUND\0" if b"WDVPIVAl" in content else b"stream: OK\0")
        writer.close()

    async def run() -> list[Trial]:
        resolver = Resolver(Nameservers(["127.0.0.1:9"]))
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        hook = ContentHook.model_validate({"name": "av", "type": "clamav", "address": address, "mode": "rehearse"})
        try:
            return await try_hook(
                ApplicableHook("contoso", hook), samples(HookType.CLAMAV, HOST, 0.0), HOST, resolver, PUBLIC_ADDRESSES
            )
        finally:
            server.close()
            await resolver.close()

    harmless, eicar = asyncio.run(run())
    assert harmless.right
    assert eicar.right
    assert eicar.reply.startswith("554 5.7.1")
    assert eicar.record["signature"] == "X"
