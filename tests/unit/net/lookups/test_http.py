from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from support.key_updates import key_updates
from support.web import Web, ok, serving, status

from gatepost.net import openssl_private as private
from gatepost.net.anchors import TrustAnchors
from gatepost.net.lookups.dns import Resolver
from gatepost.net.lookups.http import HttpClient, HttpFailed, HttpRequest, HttpResponse, https_context
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.policy.connectors.addresses import AddressPolicy
from gatepost.testing.pki import Pki
from gatepost.testing.process import free_port

ANSWERS: dict[str, Any] = {
    "/good": ok(b"hello", headers="Content-Type: Text/Plain\r\n"),
    "/unsized": ok(b"hello", length=-1),
    "/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "/limit": ok(b"x" * 1000),
    "/large": ok(b"x" * 1001),
    "/large-unsized": ok(b"x" * 5_000_000, length=-1),
    "/large-chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n" + b"x" * 255 + b"\r\n" + b"ff\r\n",
    "/truncated": ok(b"hello", length=10),
    "/compressed": ok(b"hello", headers="Content-Encoding: gzip\r\n"),
    "/identity": ok(b"hello", headers="Content-Encoding: identity\r\n"),
    "/junk": b"\x00\x01\x02 this is not HTTP\r\n\r\n",
    "/nothing": b"",
    "/endless-header": b"HTTP/1.1 200 OK\r\n" + b"X-Filler: " + b"x" * 300_000,
    "/interim-without-end": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20_000,
    "/chunks-of-extensions": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + (b"1;" + b"a" * 50_000 + b"\r\nx\r\n") * 10,
    "/crumbs": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1500 + b"0\r\n\r\n",
    "/interim": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3 + ok(b"hello"),
    "/404": status(404),
    "/429": status(429),
    "/503": status(503),
    "/204": status(204),
    "/moved": status(302, "Location: /good\r\n"),
    "/moved-twice": status(301, "Location: /moved\r\n"),
    "/moved-nowhere": status(301),
    "/loop": status(308, "Location: /loop\r\n"),
    "/moved-to-file": status(302, "Location: file:///etc/passwd\r\n"),
    "/moved-to-https": status(302, "Location: https://127.0.0.1/\r\n"),
    "/moved-to-nonsense": status(302, "Location: //[\r\n"),
    "/moved-to-ldap": status(302, "Location: ldap://127.0.0.1/\r\n"),
    "/echo": lambda body: ok(b"got " + body),
}

# Path -> fields of the request -> the body, or words of the failure and whether it is temporary.
CASES: dict[str, tuple[str, dict[str, Any], bytes | tuple[str, bool]]] = {
    "sized": ("/good", {}, b"hello"),
    "until the end": ("/unsized", {}, b"hello"),
    "chunked": ("/chunked", {}, b"hello"),
    "post": ("/echo", {"body": b"question", "content_type": "application/ocsp-request"}, b"got question"),
    "just within the limit": ("/limit", {}, b"x" * 1000),
    "too large": ("/large", {}, ("larger than 1000 bytes", False)),
    "too large, unsized": ("/large-unsized", {}, ("larger than 1000 bytes", False)),
    "too large, chunked": ("/large-chunked", {"limit": 200}, ("larger than 200 bytes", False)),
    "truncated": ("/truncated", {}, ("peer closed connection", True)),
    "compressed": ("/compressed", {}, ("compressed", False)),
    "identity": ("/identity", {}, b"hello"),
    "not HTTP": ("/junk", {}, ("illegal", True)),
    "no answer": ("/nothing", {}, ("disconnected", True)),
    "endless header": ("/endless-header", {}, ("too long|too much", True)),
    "interim answers": ("/interim", {}, b"hello"),
    "interim answers without end": ("/interim-without-end", {}, ("too much around its content", False)),
    "chunks of extensions": ("/chunks-of-extensions", {}, ("too much around its content", False)),
    "chunks of one octet": ("/crumbs", {"limit": 2000}, ("too many small parts", False)),
    "404": ("/404", {}, ("status 404", False)),
    "429": ("/429", {}, ("status 429", True)),
    "503": ("/503", {}, ("status 503", True)),
    "204": ("/204", {}, ("status 204", False)),
    "204 to be discarded": ("/204", {"discard": True}, b""),
    "200 to be discarded": ("/large-unsized", {"discard": True}, b""),
    "404 to be discarded": ("/404", {"discard": True}, ("status 404", False)),
    "redirection to be discarded": ("/moved", {"discard": True}, ("redirects to /good, which is not followed", False)),
    "redirection not asked for": ("/moved", {}, ("redirects to /good, which is not followed", False)),
    "redirection": ("/moved", {"redirects": 1}, b"hello"),
    "one too many": ("/moved-twice", {"redirects": 1}, ("redirects to /good", False)),
    "two": ("/moved-twice", {"redirects": 2}, b"hello"),
    "without a place": ("/moved-nowhere", {"redirects": 1}, ("status 301", False)),
    "in circles": ("/loop", {"redirects": 5}, ("redirects to /loop", False)),
    "to a file": ("/moved-to-file", {"redirects": 5}, ("only http and https are allowed", False)),
    "to ldap": ("/moved-to-ldap", {"redirects": 5}, ("only http and https are allowed", False)),
    "to what is not an address": ("/moved-to-nonsense", {"redirects": 5}, ("redirects to //[: no address", False)),
    "to another scheme": ("/moved-to-https", {"redirects": 5}, ("redirects to another scheme", False)),
}


def fetched(path: str, **fields: Any) -> HttpResponse | HttpFailed:
    async def run() -> HttpResponse | HttpFailed:
        async with Web(ANSWERS, hanging={"/silent"}, dripping={"/drip"}) as web:
            url = path if ":" in path else web.url(path)
            try:
                return await HttpClient(Resolver(Nameservers(["127.0.0.1:9"]))).fetch(
                    HttpRequest(url, **{"limit": 1000, "timeout": 5, "private": True} | fields)
                )
            except HttpFailed as failure:
                return failure

    return asyncio.run(run())


@pytest.mark.parametrize("name", CASES)
def test_what_comes_of_a_request(name: str) -> None:
    path, fields, expected = CASES[name]
    found = fetched(path, **fields)
    if isinstance(expected, bytes):
        assert isinstance(found, HttpResponse), found
        assert found.body == expected
    else:
        assert isinstance(found, HttpFailed), found
        words, temporary = expected
        assert any(word in found.detail for word in words.split("|")), found.detail
        assert found.temporary is temporary
        assert not found.untrusted


def test_the_content_type_and_the_place_are_told() -> None:
    found = fetched("/moved", redirects=1)
    assert isinstance(found, HttpResponse)
    assert found.content_type == "text/plain"
    assert found.url.endswith("/good")


@pytest.mark.parametrize("path", ["/silent", "/drip"])
def test_every_wait_ends(path: str) -> None:
    begin = time.monotonic()
    found = fetched(path, timeout=0.3)
    assert isinstance(found, HttpFailed)
    assert "no whole answer within 0.3 s" in found.detail
    assert found.temporary
    assert time.monotonic() - begin < 20


def test_a_server_that_keeps_silent_in_the_handshake_keeps_no_connection() -> None:
    async def run() -> HttpFailed:
        ended = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            ended.set()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            client = HttpClient(Resolver(Nameservers(["127.0.0.1:9"])))
            with pytest.raises(HttpFailed) as caught:
                await client.fetch(HttpRequest(f"https://127.0.0.1:{port}/", 1000, 0.3, private=True))
            async with asyncio.timeout(10):
                await ended.wait()
        return caught.value

    assert "no whole answer within 0.3 s" in asyncio.run(run()).detail


def test_a_server_that_sends_tls_messages_without_data_is_given_up(tmp_path: Path) -> None:
    """A KeyUpdate takes 7 us of the loop: 40 Mbit/s of them kept it busy for the minute that a policy host has."""
    pki, secrets = Pki(tmp_path), {}
    leaf, trusting = pki.leaf("127.0.0.1", names=["127.0.0.1"]), https_context(TrustAnchors.load(str(pki.root)))

    def keep(_: SSL.Connection, line: bytes) -> None:
        label, _, secret = line.decode("ascii").split()
        secrets[label] = bytes.fromhex(secret)

    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(leaf.chain)
    context.use_privatekey_file(leaf.key)
    context.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256")
    context.set_keylog_callback(keep)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = SSL.Connection(context, None)
        connection.set_accept_state()
        private.put_input(connection, await reader.read(65_536))
        private.shake_hands(connection)
        writer.write(private.take_output(connection))
        await reader.read(65_536)
        writer.write(key_updates(secrets["SERVER_TRAFFIC_SECRET_0"], 12_000)[0])
        await reader.read()
        writer.close()

    async def run() -> str:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            client = HttpClient(Resolver(Nameservers(["127.0.0.1:9"])), trusting)
            with pytest.raises(HttpFailed) as caught:
                await client.fetch(HttpRequest(f"https://127.0.0.1:{port}/", 1000, 20, private=True))
        return caught.value.detail

    assert "too much around its content" in asyncio.run(run())


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])
@pytest.mark.parametrize("octets", [None, -40], ids=["whole", "all but its end"])
def test_a_server_with_hundreds_of_certificates_is_given_up(tmp_path: Path, version: int, octets: int | None) -> None:
    """Each takes 2 KB of OpenSSL's memory for as long as the handshake waits, and after it."""
    pki = Pki(tmp_path)
    leaf, trusting = pki.leaf("127.0.0.1", names=["127.0.0.1"]), https_context(TrustAnchors.load(str(pki.root)))
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_max_proto_version(version)
    (long := tmp_path / "long.pem").write_bytes(leaf.chain.read_bytes() + pki.root.read_bytes() * 31)
    context.use_certificate_chain_file(long)
    context.use_privatekey_file(leaf.key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = SSL.Connection(context, None)
        connection.set_accept_state()
        while data := await reader.read(65_536):
            private.put_input(connection, data)
            private.shake_hands(connection)
            writer.write(private.take_output(connection)[:octets])
        writer.close()

    async def run() -> str:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            client = HttpClient(Resolver(Nameservers(["127.0.0.1:9"])), trusting)
            with pytest.raises(HttpFailed) as caught:
                await client.fetch(HttpRequest(f"https://127.0.0.1:{port}/", 1000, 20, private=True))
        return caught.value.detail

    assert "the server sent 33 certificates, at most 32 are taken" in asyncio.run(run())


@pytest.mark.parametrize(
    ("url", "words", "temporary"),
    [
        ("ftp://127.0.0.1/", "only http and https", False),
        ("file:///etc/passwd", "only http and https", False),
        ("http:///list", "only http and https", False),
        ("nonsense: here", "only http and https|no address", False),
        ("http://127.0.0.1:99999/", "no address", False),
        ("http://caf\u00e9.example/", "no usable address", False),
        (f"http://127.0.0.1/{'x' * 3000}", "no usable address", False),
        ("http://127.0.0.1:PORT/", "refused|failed", True),
        ("http://localhost:PORT/", "refused|failed", True),
        ("http://name.example/", "name.example", True),
    ],
)
def test_addresses_that_give_nothing(url: str, words: str, temporary: bool) -> None:
    found = fetched(url.replace("PORT", str(free_port())))
    assert isinstance(found, HttpFailed)
    assert any(word in found.detail for word in words.split("|")), found.detail
    assert found.temporary is temporary


@pytest.mark.parametrize(
    ("records", "private", "expected"),
    [
        ({("www.example", "A"): ["127.0.0.1"]}, True, b"hello"),
        ({("www.example", "A"): ["127.0.0.2", "127.0.0.1"]}, True, b"hello"),
        ({("www.example", "AAAA"): ["::2"], ("www.example", "A"): ["127.0.0.1"]}, True, b"hello"),
        ({("www.example", "A"): ["127.0.0.1"]}, False, "www.example is at 127.0.0.1, which is not a public address"),
        ({("www.example", "A"): ["10.1.2.3", "192.168.7.7"]}, False, "which is not a public address"),
        ({("www.example", "AAAA"): ["::ffff:127.0.0.1"]}, False, "which is not a public address"),
        ({("www.example", "AAAA"): ["::1", "fe80::1"]}, False, "which is not a public address"),
        ({("www.example", "A"): ["224.0.0.1"]}, False, "which is not a public address"),
        ({("www.example", "AAAA"): ["64:ff9b::10.0.0.1"]}, False, "which is not a public address"),
        ({("www.example", "AAAA"): ["::10.0.0.1", "::ffff:0:10.0.0.1"]}, False, "which is not a public address"),
        ({("www.example", "AAAA"): ["fec0::1", "fd00::1"]}, False, "which is not a public address"),
        ({("www.example", "TXT"): ["nothing"]}, True, "www.example has no address"),
        ({}, True, "www.example has no address"),
    ],
)
def test_names_are_found_by_our_resolver(
    nameserver: Callable[..., Any], records: Any, private: bool, expected: bytes | str
) -> None:
    async def run() -> Any:
        async with nameserver(records) as double, Web(ANSWERS) as web:
            client = HttpClient(Resolver(Nameservers([f"127.0.0.1:{double.port}"])))
            url = web.url("/good", host="www.example")
            try:
                found = await client.fetch(HttpRequest(url, 1000, 5, private=private))
            except HttpFailed as failure:
                return (failure.detail, failure.forbidden), web.heads
            return found.body, web.heads

    found, heads = asyncio.run(run())
    if isinstance(expected, bytes):
        assert found == expected
        assert b"Host: www.example:" in heads[0]
    else:
        said, forbidden = found
        assert expected in said
        assert forbidden == ("not a public address" in said)
        assert heads == [], "nobody was called"


@pytest.mark.parametrize(
    ("networks", "path", "expected"),
    [
        (["127.0.0.0/8"], "/good", b"hello"),
        ([], "/good", "tenants_may_reach"),
        (["10.0.0.0/8"], "/good", "tenants_may_reach"),
        (["127.0.0.0/8"], "/inside", "tenants_may_reach"),  # an address with leave redirects to one without
    ],
)
def test_what_tenants_ask_for_is_bound_at_each_address(networks: list[str], path: str, expected: bytes | str) -> None:
    answers = ANSWERS | {"/inside": status(302, "Location: http://10.0.0.1/good\r\n")}

    async def run() -> bytes | str:
        async with Web(answers) as web:
            tenants = AddressPolicy.of(networks)
            client = HttpClient(Resolver(Nameservers(["127.0.0.1:9"])), tenants=tenants)
            try:
                return (await client.fetch(HttpRequest(web.url(path), 1000, 5, private=True, redirects=2))).body
            except HttpFailed as failure:
                return failure.detail if failure.forbidden else repr(failure)

    found = asyncio.run(run())
    assert found == expected if isinstance(expected, bytes) else expected in found


def test_https_checks_the_certificate(tmp_path: Path) -> None:
    ours, strange = Pki(tmp_path / "ours"), Pki(tmp_path / "strange")

    async def run(pki: Pki, name: str) -> Any:
        leaf = pki.leaf("127.0.0.1", names=[name])
        trusting = https_context(TrustAnchors.load(str(ours.root)))
        async with Web(ANSWERS, context=serving(leaf)) as web:
            client = HttpClient(Resolver(Nameservers(["127.0.0.1:9"])), lambda: trusting)
            try:
                return (await client.fetch(HttpRequest(web.url("/good"), 1000, 5, private=True))).body
            except HttpFailed as failure:
                return failure.detail, failure.untrusted

    assert asyncio.run(run(ours, "127.0.0.1")) == b"hello"
    for pki, name, words in (
        (ours, "127.0.0.9", "mismatch"),
        (strange, "127.0.0.1", "its certificate is not trusted: "),
    ):
        detail, untrusted = asyncio.run(run(pki, name))
        assert words in detail
        assert untrusted


def test_https_trusts_the_systems_roots_by_default(tmp_path: Path) -> None:
    leaf = Pki(tmp_path).leaf("127.0.0.1")

    async def run() -> None:
        async with Web(ANSWERS, context=serving(leaf)) as web:
            await HttpClient(Resolver(Nameservers(["127.0.0.1:9"]))).fetch(
                HttpRequest(web.url("/good"), 1000, 5, private=True)
            )

    with pytest.raises(HttpFailed, match="its certificate is not trusted: "):
        asyncio.run(run())
