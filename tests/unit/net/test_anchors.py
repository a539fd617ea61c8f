from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.exhaustion import no_descriptors

from gatepost.net import anchors as module
from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.shortage import shortage


def test_a_file_with_several_certificates(pki, tmp_path):
    file = tmp_path / "roots.pem"
    file.write_bytes(b"# two roots, one of them twice\n" + pki.root.pem + pki.stranger.pem + pki.root.pem)
    anchors = TrustAnchors.load(str(file))
    assert (len(anchors), anchors.source) == (2, str(file))
    assert repr(anchors) == f"TrustAnchors('{file}', 2 certificates)"
    assert set(anchors.certificates) == {pki.root.der, pki.stranger.der}
    assert anchors.der == b"".join(anchors.certificates)


def test_a_file_in_der(pki, tmp_path):
    (tmp_path / "root.der").write_bytes(pki.root.der)
    assert len(TrustAnchors.load(str(tmp_path / "root.der"))) == 1


def test_a_directory_takes_its_certificate_files_and_leaves_the_others(pki, tmp_path):
    (tmp_path / "a.pem").write_bytes(pki.root.pem)
    (tmp_path / "b.cer").write_bytes(pki.stranger.der)
    (tmp_path / "README").write_text("not a certificate")
    (tmp_path / ".hidden.pem").write_text("not one either")
    anchors = TrustAnchors.load(str(tmp_path))
    assert len(anchors) == 2
    assert anchors.identity == TrustAnchors([pki.stranger.der, pki.root.der], "memory").identity
    assert anchors.identity != TrustAnchors([pki.root.der], "memory").identity


BROKEN = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no certificate in it"),
        (b"hello", "no certificate in it"),
        (BROKEN, "certificate 1: it is not an X.509 certificate"),
        (b"0\x03\x02\x01\x01", "certificate 1: it is not an X.509 certificate"),
        (b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n", "not base64"),
        (b"x" * (16 * 1024 * 1024 + 1), "larger than"),
    ],
    ids=range(6),
)
def test_what_cannot_be_read_is_named_with_the_reason(tmp_path, content, words):
    file = tmp_path / "roots.pem"
    file.write_bytes(content)
    for spec in (file, tmp_path):
        with pytest.raises(AnchorsError, match=rf"roots\.pem: {words}"):
            TrustAnchors.load(str(spec))


def test_a_second_certificate_that_is_broken_is_counted(pki, tmp_path):
    file = tmp_path / "roots.pem"
    file.write_bytes(pki.root.pem + BROKEN)
    with pytest.raises(AnchorsError, match="certificate 2: "):
        TrustAnchors.load(str(file))


def test_a_missing_file_and_an_empty_directory(tmp_path):
    with pytest.raises(AnchorsError, match=r"missing\.pem: No such file"):
        TrustAnchors.load(str(tmp_path / "missing.pem"))
    with pytest.raises(AnchorsError, match="no certificate in it"):
        TrustAnchors.load(str(tmp_path))


def test_a_shortage_of_our_own_is_told_from_a_file_that_is_not_there(pki, tmp_path):
    (tmp_path / "a.pem").write_bytes(pki.root.pem)
    for spec in (tmp_path, tmp_path / "a.pem", "system"):
        with no_descriptors(), pytest.raises(AnchorsError, match="Too many open files") as caught:
            TrustAnchors.load(str(spec))
        assert shortage(caught.value)
    with pytest.raises(AnchorsError) as caught:
        TrustAnchors.load(str(tmp_path / "missing.pem"))
    assert not shortage(caught.value)


def test_what_openssl_alone_cannot_read(pki):
    with pytest.raises(AnchorsError, match="memory: a certificate that OpenSSL cannot read"):
        TrustAnchors([pki.root.der, b"0\x03\x02\x01\x01"], "memory")


def test_the_system_takes_the_first_bundle_there_is_and_leaves_out_what_is_broken(pki, tmp_path, monkeypatch):
    (tmp_path / "second.pem").write_bytes(BROKEN + pki.root.pem)
    (tmp_path / "third.pem").write_bytes(pki.stranger.pem)
    bundles = tuple(str(tmp_path / name) for name in ("first.pem", "second.pem", "third.pem"))
    monkeypatch.setattr(module, "_SYSTEM_BUNDLES", bundles)
    anchors = TrustAnchors.load("system")
    assert (len(anchors), anchors.source) == (1, "system")
    assert anchors.identity == TrustAnchors([pki.root.der], "").identity


def test_a_system_without_any_bundle(monkeypatch):
    monkeypatch.setattr(module, "_SYSTEM_BUNDLES", ("/nonexistent/bundle.pem",))
    with pytest.raises(AnchorsError, match=r"none of /nonexistent/bundle\.pem"):
        TrustAnchors.load("system")


def test_all_of_them_for_the_ssl_module(pki, tmp_path):
    anchors = TrustAnchors([pki.root.der, pki.stranger.der], "memory")
    assert anchors.der == b"".join(sorted([pki.root.der, pki.stranger.der]))


def test_what_was_read_is_not_read_again(pki, tmp_path, monkeypatch):
    for remembered in (module._subject, module._openssl_form):
        remembered.cache_clear()
    file = tmp_path / "root.pem"
    file.write_bytes(pki.root.pem)
    first = TrustAnchors.load(str(file))
    monkeypatch.setattr(module, "parse", None)
    monkeypatch.setattr(module.crypto, "load_certificate", None)
    assert TrustAnchors.load(str(file)).identity == first.identity
    file.write_bytes(pki.stranger.pem)
    with pytest.raises(TypeError):  # another one is
        TrustAnchors.load(str(file))


PIECES = (
    "-----BEGIN CERTIFICATE-----", "-----BEGIN X509 CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----", "MIIB", "\n", "-",
    "-----END CERTIFICATE-----", "-----END TRUSTED CERTIFICATE-----", "-----END PRIVATE KEY-----", "-----", "-----END ",
)  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_a_certificate_goes_from_its_begin_to_the_next_end(text):
    expected, rest = [], text
    while begin := re.search("-----BEGIN (X509 |TRUSTED )?CERTIFICATE-----", rest):
        end = re.search("-----END (X509 |TRUSTED )?CERTIFICATE-----", rest[begin.end() :])
        if end is None:
            break
        expected.append(rest[begin.end() :][: end.start()])
        rest = rest[begin.end() + end.end() :]
    assert module._PEM.findall(text.encode()) == [body.encode() for body in expected]
