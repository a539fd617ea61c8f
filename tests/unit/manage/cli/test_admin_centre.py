"""The process of the admin centre: pages are loaded when somebody connects, and a failure then is not for ever."""

from __future__ import annotations

import asyncio
import logging
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from gatepost.manage.cli import admin_centre
from gatepost.net.listener import bind
from gatepost.net.tasks import spawn
from gatepost.settings.loader import load
from gatepost.testing.process import wait_until

PAGES = {"gatepost.manage.pages", "gatepost.manage.rest", "starlette", "uvicorn", "jinja2"}


@pytest.fixture
def settings(tmp_path):
    file = tmp_path / "gatepost.toml"
    file.write_text(f'[server]\nhostname = "mx1.contoso.example"\ndata_dir = "{tmp_path}"\n')
    return load(str(file), {})


async def answer(port):
    """The first word of an answer: the protocol."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(b"GET /setup HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    said = await reader.read()
    writer.close()
    return said.partition(b" ")[0]


def test_pages_are_not_loaded_with_it():
    script = "import gatepost.manage.cli.admin_centre, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not PAGES & set(loaded)


def test_the_first_connection_gets_its_answer(settings):
    async def story():
        sockets = bind("127.0.0.1:0")
        parts = admin_centre._parts(settings, sockets)
        await parts.start()
        answers = [await answer(sockets[0].getsockname()[1]) for _ in range(2)]
        parts.reload()
        await parts.close(5)
        return answers

    assert asyncio.run(story()) == [b"HTTP/1.1"] * 2


def test_what_fails_at_the_first_connection_is_tried_again(settings, monkeypatch, caplog):
    async def story():
        sockets = bind("127.0.0.1:0")
        parts = admin_centre._parts(settings, sockets)
        await parts.start()
        chain = Path(settings.server.data_dir) / "admin/certificate.pem"
        whole = chain.read_bytes()
        chain.unlink()
        chain.mkdir()  # it cannot be read, nor written anew
        waiting = spawn(answer(sockets[0].getsockname()[1]), "a client")
        await asyncio.to_thread(wait_until, lambda: caplog.records, "the failure")
        chain.rmdir()
        chain.write_bytes(whole)
        said = await waiting
        await parts.close(5)
        return said

    monkeypatch.setattr(admin_centre, "_RETRY", 0.2)
    with caplog.at_level(logging.CRITICAL):
        assert asyncio.run(story()) == b"HTTP/1.1"
    assert "the admin centre cannot be served; it tries again in" in caplog.text


def test_it_ends_without_any_connection(settings):
    async def story():
        sockets = bind("127.0.0.1:0")
        parts = admin_centre._parts(settings, sockets)
        await parts.start()
        parts.reload()
        await parts.close(5)

    asyncio.run(story())
