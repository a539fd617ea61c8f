"""What only a server that lies does; real ones are asked in tests/system/test_recipient_directory.py."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any, cast

import pytest

from gatepost.net.lookups.dns import Resolver
from gatepost.net.lookups.ldap import LdapClient, LdapDirectory, LdapSearch, LdapServer, LdapUnavailable
from gatepost.protocols.ldap.ber import ENUMERATED, OCTET_STRING, SEQUENCE, encode, encode_number

_STARTED, _ENTRY, _DONE = 0x78, 0x64, 0x65
PRESENT = encode(0x87, b"mail")
_READ = 16384  # octets that the client takes at a time


def result(number: int, operation: int, diagnostic: bytes = b"") -> bytes:
    parts = encode_number(0, ENUMERATED), encode(OCTET_STRING, b""), encode(OCTET_STRING, diagnostic)
    return encode(SEQUENCE, encode_number(number), encode(operation, *parts))


def entry(number: int) -> bytes:
    return encode(SEQUENCE, encode_number(number), encode(_ENTRY, encode(OCTET_STRING, b"cn=forged"), encode(SEQUENCE)))


def started(size: int) -> bytes:
    """The answer to StartTLS, of so many octets."""
    return next(answer for pad in range(size) if len(answer := result(1, _STARTED, b"x" * (size - pad))) == size)


@pytest.mark.parametrize("size", [100, _READ])
def test_what_stands_behind_the_answer_to_starttls_answers_nothing(pki: Any, tmp_path: Path, size: int) -> None:
    """Nor where it is not read with that answer: it would be taken for what the server says under TLS."""
    leaf = pki.leaf("127.0.0.1")
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (tmp_path / "chain.pem").write_bytes(leaf.identity().chain_pem)
    (tmp_path / "key.pem").write_bytes(leaf.key_pem)
    served.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(_READ)
        writer.write(started(size) + entry(2) + result(2, _DONE))
        await writer.start_tls(served)
        if await reader.read(_READ):
            writer.write(result(2, _DONE))
        writer.close()

    async def run() -> None:
        async with await asyncio.start_server(session, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            anchors = pki.root.pem.decode()
            directory = LdapDirectory((LdapServer("127.0.0.1", port, implicit=False),), "", anchors, "contoso")
            client = LdapClient(cast("Resolver", None))
            search = LdapSearch("dc=contoso", PRESENT)
            with pytest.raises(LdapUnavailable, match="sent something before TLS began"):
                await client.search(directory, search, str)
            await client.close()

    asyncio.run(run())
