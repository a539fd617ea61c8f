"""The server over real sockets on loopback; its certificate is in `test_certificate.py`."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import ssl
import time
from email.utils import parsedate_to_datetime

import pytest

from gatepost.manage.web.server import WebServer
from gatepost.net.listener import bind
from gatepost.pki.certificates.authority import self_signed
from gatepost.settings.loader import load


@pytest.fixture
def settings(tmp_path):
    file = tmp_path / "gatepost.toml"
    file.write_text(f'[server]\nhostname = "mx1.contoso.example"\ndata_dir = "{tmp_path}/data"\n')
    return load(str(file), {})


async def answer(port):
    """(the certificate's fingerprint, what was answered) of one request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    text = await reader.read()
    writer.close()
    return hashlib.sha256(shown).hexdigest(), text


def test_it_serves_over_https_and_takes_up_a_new_certificate(settings, echo, caplog):
    async def story():
        sockets = bind("127.0.0.1:0")
        port = sockets[0].getsockname()[1]
        server = WebServer(echo, settings, sockets)
        server.start()
        shown, text = await answer(port)
        assert shown == server.certificate.sha256
        assert text.startswith(b"HTTP/1.1 200")
        assert b"server:" not in text.lower()

        server.certificate.key.write_text("no key")
        server.certificate.key.with_name("certificate.pem").unlink()
        server.reload()
        renewed, _ = await answer(port)
        assert renewed == server.certificate.sha256 != shown
        await server.close(5)
        with pytest.raises(ConnectionRefusedError):
            await answer(port)

    with caplog.at_level(logging.INFO):
        asyncio.run(story())
    assert not caplog.records


def test_a_certificate_that_cannot_be_used_leaves_the_old_one(settings, echo, caplog):
    async def story():
        sockets = bind("127.0.0.1:0")
        port = sockets[0].getsockname()[1]
        server = WebServer(echo, settings, sockets)
        server.start()
        folder = server.certificate.key.parent
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        folder.write_text("in the way")
        server.reload()
        assert (await answer(port))[0] == server.certificate.sha256
        await server.close(5)

    asyncio.run(story())
    assert "keeps its certificate" in caplog.text


def test_a_file_of_the_settings_that_breaks_leaves_the_old_certificate(settings, echo, caplog, tmp_path):
    chain, key = tmp_path / "admin.pem", tmp_path / "admin.key"
    key.touch(0o600)
    for file, content in zip((chain, key), self_signed(["mx1.contoso.example"]), strict=True):
        file.write_bytes(content)
    file = tmp_path / "gatepost.toml"
    file.write_text(f'{file.read_text()}[admin]\nchain = "{chain}"\nkey = "{key}"\n')
    settings = load(str(file), {})

    async def story():
        sockets = bind("127.0.0.1:0")
        server = WebServer(echo, settings, sockets)
        server.start()
        before = server.certificate
        chain.write_bytes(b"half a renewal")
        server.reload()
        assert server.certificate is before
        assert (await answer(sockets[0].getsockname()[1]))[0] == before.sha256
        await server.close(5)

    asyncio.run(story())
    assert "the admin centre keeps its certificate: " in caplog.text


def test_it_sleeps_while_nobody_asks_and_knows_the_time_all_the_same(settings, echo):
    """Its clock would otherwise wake the process ten times a second, day and night."""

    async def story():
        loop = asyncio.get_running_loop()
        sockets = bind("127.0.0.1:0")
        port = sockets[0].getsockname()[1]
        server = WebServer(echo, settings, sockets)
        server.start()
        await asyncio.sleep(0.5)
        waking, later = [], loop.call_at
        loop.call_at = lambda when, *more, **named: waking.append(when) or later(when, *more, **named)
        await asyncio.sleep(0.3)
        assert len(waking) == 1  # this very sleep
        del loop.call_at
        _, text = await answer(port)
        said = re.search(rb"^date: (.*)\r$", text, re.MULTILINE | re.IGNORECASE)[1].decode()
        assert abs(parsedate_to_datetime(said).timestamp() - time.time()) < 2
        begun = time.monotonic()
        await server.close(30)
        assert time.monotonic() - begun < 15

    asyncio.run(story())
