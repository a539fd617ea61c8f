from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from gatepost.pki.smime.signing import SmimeSigner, signature, signed


@pytest.mark.parametrize("key", ["rsa", "p256"])
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl verifies it")
def test_openssl_verifies_it(make: Any, key: str, tmp_path: Path) -> None:
    person = make(key=key)
    signer = SmimeSigner(person.certificate, person.key, (make().certificate,))
    content = "Content-Type: text/plain\r\n\r\nGrüße\r\n".encode()
    (tmp_path / "content").write_bytes(content)
    for made, options in ((signed(content, signer), []), (signature(content, signer), ["-content", "content"])):
        (tmp_path / "cms").write_bytes(made)
        command = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", "cms", "-noverify", *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout == content
        assert {one.public_bytes(Encoding.DER) for one in pkcs7.load_der_pkcs7_certificates(made)} == {
            one.public_bytes(Encoding.DER) for one in (person.certificate, *signer.intermediates)
        }


def test_no_key_is_shown(make: Any) -> None:
    person = make()
    assert "key" not in repr(SmimeSigner(person.certificate, person.key))
