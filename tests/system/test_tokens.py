"""Private keys in a PKCS#11 token (SoftHSM): listeners and connectors use them, and everything that can go wrong."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.debian import need
from support.gateway import Gateway
from support.mail import message
from support.peers import Postfix
from support.pki import Pki
from support.process import GATEPOST, wait_until
from support.tokens import PIN, Token

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "mx1.contoso.example"


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> Iterator[Token]:
    made = Token(spied=True)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    made.remove()


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path / "pki")


def s_client(gateway: Gateway, anchors: Path, *more: str) -> str:
    """What OpenSSL says of a handshake with the gateway, chain and signature verified."""
    need("openssl")
    command = ["openssl", "s_client", "-connect", gateway.address, "-starttls", "smtp", "-servername", HOST]
    command += ["-CAfile", str(anchors), "-verify_return_error", "-verify_hostname", HOST, "-brief", *more]
    done = subprocess.run(command, input=b"QUIT\r\n", capture_output=True, timeout=20, check=False)
    return (done.stdout + done.stderr).decode(errors="replace")


def with_token(token: Token, chain: Path, name: str = "mx") -> Gateway:
    """A gateway whose settings name a certificate with its key in the token."""
    return Gateway(
        settings={"pkcs11": token.settings, "certificate": [{"chain": str(chain), "key": token.uri(name)}]},
    )


@pytest.mark.parametrize("kind", ["EC:prime256v1", "rsa:2048"])
def test_a_listener_presents_a_certificate_whose_key_is_in_the_token(token: Token, pki: Pki, kind: str) -> None:
    with with_token(token, token.certificate(pki, "mx", HOST, kind=kind)) as gateway:
        said = s_client(gateway, pki.root)
        assert "Verification: OK" in said, said
        assert "Verification: OK" in s_client(gateway, pki.root, "-tls1_2")
        listed = gateway.cli("certificate", "list", json=True).data
        assert [(row["state"], row["names"]) for row in listed["certificates"]] == [("current", [HOST])]
        shown = gateway.cli("certificate", "show", listed["certificates"][0]["id"]).stdout
        assert token.uri("mx") in shown
        assert "OPENSSL_CONF" not in (gateway.folder / "log.txt").read_text()
