"""The server over real sockets on loopback; its certificate is in `test_certificate.py`."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import ssl

import pytest

from gatepost.net.listener import bind
from gatepost.settings.loader import load
from gatepost.web.server import WebServer


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
        server = WebServer(echo, settings, bind("127.0.0.1:0"))
        await server.start()
        shown, text = await answer(server.port)
        assert shown == server.certificate.sha256
        assert text.startswith(b"HTTP/1.1 200")
        assert b"server:" not in text.lower()

        server.certificate.key.write_text("no key")
        server.certificate.key.with_name("certificate.pem").unlink()
        server.reload()
        renewed, _ = await answer(server.port)
        assert renewed == server.certificate.sha256 != shown
        await server.close(5)
        with pytest.raises(ConnectionRefusedError):
            await answer(server.port)

    with caplog.at_level(logging.INFO):
        asyncio.run(story())
    assert not caplog.records


def test_a_certificate_that_cannot_be_used_leaves_the_old_one(settings, echo, caplog):
    async def story():
        server = WebServer(echo, settings, bind("127.0.0.1:0"))
        await server.start()
        folder = server.certificate.key.parent
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        folder.write_text("in the way")
        server.reload()
        assert (await answer(server.port))[0] == server.certificate.sha256
        await server.close(5)

    asyncio.run(story())
    assert "keeps its certificate" in caplog.text
