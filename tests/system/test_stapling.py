"""Proves that a gateway staples what the authority says of its certificate, as `openssl s_client -status` sees it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.clients import openssl_s_client
from support.gateway import Gateway
from support.scenes import contoso

from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until
from gatepost.testing.status_server import StatusServer

NAME = "mx1.contoso.example"


def _status(port: int) -> str:
    return openssl_s_client(port, options=["-status"]).transcript


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_good_answer_is_stapled_and_lasts_while_the_responder_is_down(
    gateway: Callable[..., Gateway], pki: Pki, status_server: StatusServer, version: str
) -> None:
    leaf = pki.leaf(NAME, ocsp=status_server.ocsp)
    mx = gateway(contoso(), certificates=[leaf])
    wait_until(lambda: "Cert Status: good" in _status(mx.port), "the first response is stapled")
    found = openssl_s_client(mx.port, options=["-status", version]).transcript
    assert "OCSP Response Status: successful" in found
    assert f"{leaf.x509.serial_number:X}" in found.upper()
    status_server.stop()
    asked = len(status_server.requests)
    mx.stop()
    mx.start()
    assert "Cert Status: good" in _status(mx.port)
    assert len(status_server.requests) == asked


def test_nothing_is_stapled_that_says_revoked(
    gateway: Callable[..., Gateway], pki: Pki, status_server: StatusServer
) -> None:
    leaf = pki.leaf(NAME, ocsp=status_server.ocsp)
    pki.revoke(leaf, "keyCompromise")
    mx = gateway(contoso(), certificates=[leaf])
    wait_until(lambda: "it says that the certificate is revoked" in mx.log(), "the response was looked at")
    assert "OCSP response: no response sent" in _status(mx.port)
