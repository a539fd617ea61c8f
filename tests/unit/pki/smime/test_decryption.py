from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.pki.smime.ber import DATA, ENVELOPED, OCTET_STRING, OID, SEQUENCE, context, oid, read, write
from gatepost.pki.smime.decryption import CannotDecrypt, Opener, decrypted, is_enveloped
from gatepost.pki.smime.encryption import encrypted

CONTENT = b"Content-Type: text/plain\r\n\r\n" + b"figures " * 3000
NEEDS_OPENSSL = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl encrypts it")

# Options of `openssl cms -encrypt` before and after the recipient.
WAYS: dict[str, tuple[str, list[str], list[str]]] = {
    "cbc": ("rsa", ["-aes-256-cbc"], []),
    "128": ("rsa", ["-aes-128-cbc"], []),
    "192": ("rsa", ["-aes-192-cbc"], []),
    "indefinite": ("rsa", ["-aes-256-cbc", "-stream"], []),
    "gcm": ("rsa", ["-aes-256-gcm"], []),
    "gcm indefinite": ("rsa", ["-aes-128-gcm", "-stream"], []),
    "key identifier": ("rsa", ["-aes-256-cbc", "-keyid"], []),
    "oaep": ("rsa", ["-aes-256-cbc"], ["-keyopt", "rsa_padding_mode:oaep"]),
    "oaep sha256": (
        "rsa",
        ["-aes-256-cbc"],
        ["-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256", "-keyopt", "rsa_mgf1_md:sha384"],
    ),
    "ecdh": ("p256", ["-aes-256-cbc"], []),
    "ecdh key identifier": ("p384", ["-aes-128-gcm", "-keyid"], []),
    "ecdh sha512": ("p256", ["-aes-256-cbc", "-aes256-wrap"], ["-keyopt", "ecdh_kdf_md:sha512"]),
    "brainpool": ("brainpool", ["-aes-256-cbc"], []),
}


def by_openssl(folder: Path, person: Any, before: list[str], after: list[str], content: bytes = CONTENT) -> bytes:
    (folder / "certificate").write_bytes(person.chain_pem)
    command = ["openssl", "cms", "-encrypt", "-binary", "-outform", "DER", *before, "-recip", "certificate", *after]
    done = subprocess.run(command, input=content, cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@NEEDS_OPENSSL
@pytest.mark.parametrize("name", WAYS)
def test_what_openssl_encrypts_is_opened(make: Any, tmp_path: Path, name: str) -> None:
    key, before, after = WAYS[name]
    person, other = make(key=key), make(key="rsa" if key != "rsa" else "p256")
    cms = by_openssl(tmp_path, person, before, after)
    assert is_enveloped(cms)
    openers = [Opener(other.certificate, other.key), Opener(person.certificate, person.key)]
    assert decrypted(cms, openers) == (CONTENT, openers[1])


@NEEDS_OPENSSL
@pytest.mark.parametrize(
    ("options", "why"),
    [(["-des3"], "a cipher that is not allowed"), (["-aes-256-cbc", "-keyid"], "not encrypted to any key")],
)
def test_what_is_not_opened(make: Any, tmp_path: Path, options: list[str], why: str) -> None:
    """An old cipher; and a certificate without an identifier, where the message names only that."""
    cms = by_openssl(tmp_path, make(), options, [])
    assert is_enveloped(cms) is ("-des3" not in options)
    if "-keyid" in options:
        person = make(identifier=False)
    else:
        person = make()
        cms = by_openssl(tmp_path, person, options, [])
    with pytest.raises(CannotDecrypt, match=why):
        decrypted(cms, [Opener(person.certificate, person.key)])


def test_a_wrong_key_for_a_right_name_is_said_and_tells_nothing(make: Any) -> None:
    person, other = make(), make(key="p256")
    cms = encrypted(CONTENT, [person.certificate, other.certificate])
    wrong = make(key="rsa1024").key
    with pytest.raises(CannotDecrypt) as failure:
        decrypted(cms, [Opener(person.certificate, wrong)])
    assert "figures" not in str(failure.value)
    with pytest.raises(CannotDecrypt, match="does not open it"):
        decrypted(cms, [Opener(other.certificate, make(key="p384").key)])


def test_what_was_changed_on_its_way(make: Any, tmp_path: Path) -> None:
    person = make()
    opener = Opener(person.certificate, person.key)
    if shutil.which("openssl"):
        cms = bytearray(by_openssl(tmp_path, person, ["-aes-256-gcm"], []))
        cms[-200] ^= 1
        with pytest.raises(CannotDecrypt, match="InvalidTag"):
            decrypted(bytes(cms), [opener])
    cms = bytearray(encrypted(CONTENT, [person.certificate]))
    cms = cms[:-16] + bytes(16)
    with pytest.raises(CannotDecrypt):
        decrypted(bytes(cms), [opener])


def named(content: bytes, kind: bytes = ENVELOPED) -> bytes:
    return write(SEQUENCE, write(OID, kind), write(context(0), content))


AES_256 = "2.16.840.1.101.3.4.1.42"


def data(*, recipients: bytes = b"\x30\0", cipher: str = AES_256, content: bytes = b"x" * 32) -> bytes:
    algorithm = write(SEQUENCE, write(OID, oid(cipher)), write(OCTET_STRING, b"v" * 16))
    info = write(SEQUENCE, write(OID, DATA), algorithm, content and write(context(0, constructed=False), content))
    return write(SEQUENCE, b"\x02\x01\0", write(0x31, recipients), info)


@pytest.mark.parametrize(
    ("cms", "yes"),
    [
        (named(data()), True),
        (named(data(cipher="2.16.840.1.101.3.4.1.46")), True),
        (named(data(cipher="1.2.840.113549.3.7")), False),  # triple DES
        (named(data(), oid("1.2.840.113549.1.7.2")), False),  # signed
        (named(data(recipients=b"")), False),
        (named(data(content=b"")), False),
        (named(data()) + b"\r\n", True),
        (named(data()) + b"and the figures in clear", False),
        (named(write(SEQUENCE, b"\x02\x01\0")), False),
        (write(SEQUENCE, write(OID, ENVELOPED)), False),
        (b"Hello.", False),
        (b"", False),
    ],
)
def test_what_counts_as_encrypted(cms: bytes, yes: bool) -> None:
    assert is_enveloped(cms) is yes


def test_with_originator_info() -> None:
    inner = read(data())
    parts = [bytes(one.raw) for one in inner.parts]
    assert is_enveloped(named(write(SEQUENCE, parts[0], write(context(0)), *parts[1:])))


def test_no_octet_makes_the_look_fail(make: Any) -> None:
    cms = encrypted(b"figures" * 20, [make().certificate])
    for place in range(len(cms)):
        for octet in (0, OCTET_STRING, OID, SEQUENCE):
            is_enveloped(cms[:place] + bytes([octet]) + cms[place + 1 :])


@given(place=st.integers(0, 2000), octet=st.integers(0, 255), cut=st.integers(0, 2000))
def test_nothing_that_comes_breaks_it(make: Any, place: int, octet: int, cut: int) -> None:
    person, other = make(), make(key="p256")
    cms = bytearray(encrypted(b"figures" * 20, [person.certificate, other.certificate]))
    cms[place % len(cms)] = octet
    changed = bytes(cms[: len(cms) - cut % len(cms)])
    is_enveloped(changed)
    for one in (person, other):
        with suppress(CannotDecrypt):  # CBC does not tell every change
            decrypted(changed, [Opener(one.certificate, one.key)])
