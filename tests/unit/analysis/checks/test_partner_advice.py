from __future__ import annotations

import pytest

from gatepost.analysis.checks import partner_advice as advice
from gatepost.protocols.tls.facts import ChainStatus

HANDSHAKES = [
    ("STARTTLS was answered with 454 4.7.0 no", "certificate or key is broken"),
    ("250 in reply to nothing", "somebody between"),
    ("wrong version number", "not TLS"),
    ("plaintext behind the reply", "not TLS"),
    ("tlsv1 alert protocol version", "TLS 1.2 or 1.3"),
    ("unsupported protocol", "TLS 1.2 or 1.3"),
    ("sslv3 alert handshake failure", "gatepost tls profiles"),
    ("no shared cipher", "gatepost tls profiles"),
    ("connection reset", "server's log"),
]


@pytest.mark.parametrize(("error", "words"), HANDSHAKES)
def test_a_handshake_that_failed(error: str, words: str) -> None:
    assert words in advice.handshake(error)


@pytest.mark.parametrize("status", [one for one in ChainStatus if one is not ChainStatus.TRUSTED])
def test_every_kind_of_chain_has_an_advice(status: ChainStatus) -> None:
    assert advice.certificate(status).endswith(".")


@pytest.mark.parametrize(
    ("keywords", "words"), [(["XXXXXXXA"], "firewall"), (["SIZE"], "at mx.b.example"), ([], "switch")]
)
def test_without_starttls(keywords: list[str], words: str) -> None:
    assert words in advice.no_starttls("mx.b.example", keywords)


def test_every_text_is_a_sentence_about_somebody() -> None:
    texts = [value for name, value in vars(advice).items() if name.isupper() and isinstance(value, str)]
    texts += [advice.alias("a", "b"), advice.name("a"), advice.no_address("a"), advice.refused(25), advice.silent(25)]
    texts += [advice.no_way("IPv6"), advice.no_way("IPv4"), advice.spelling("a")]
    assert len(texts) > 20
    assert all(text.endswith(".") and text[0].isupper() and text.isprintable() for text in texts)
