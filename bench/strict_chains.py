"""What X509_V_FLAG_X509_STRICT would refuse: the roots of the machine's and certifi's stores, and usual private CAs.

    .venv/bin/python bench/strict_chains.py

Roots cannot be made to sign here, so their extensions are read by the rules of OpenSSL's `check_extensions`
(crypto/x509/x509_vfy.c). Private authorities are made as their tools make them, by the `openssl` command.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import warnings
from base64 import b64decode
from collections import Counter
from pathlib import Path

import certifi
from cryptography import x509
from OpenSSL import crypto

SYSTEM = "/etc/ssl/certs/ca-certificates.crt"
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)

# name -> (extensions of the root, extensions of the leaf); None: what `openssl req -x509` or `x509 -req` puts there.
_SERVER = "subjectAltName=DNS:mx.example,extendedKeyUsage=serverAuth"
_IDS = "subjectKeyIdentifier=hash,authorityKeyIdentifier=keyid"
SHAPES = {
    "openssl req -x509, openssl x509 -req": (None, "subjectAltName=DNS:mx.example"),
    "easy-rsa 3": (
        "basicConstraints=CA:TRUE,subjectKeyIdentifier=hash,authorityKeyIdentifier=keyid:always,keyUsage=cRLSign;keyCertSign",
        f"basicConstraints=CA:FALSE,{_IDS},keyUsage=digitalSignature;keyEncipherment,{_SERVER}",
    ),
    "step ca": (
        "basicConstraints=critical;CA:TRUE;pathlen:1,keyUsage=critical;keyCertSign;cRLSign,subjectKeyIdentifier=hash",
        f"keyUsage=critical;digitalSignature,{_IDS},{_SERVER}",
    ),
    "AD CS": (
        "basicConstraints=critical;CA:TRUE,keyUsage=digitalSignature;keyCertSign;cRLSign,subjectKeyIdentifier=hash",
        f"keyUsage=critical;digitalSignature;keyEncipherment,{_IDS},{_SERVER}",
    ),
    "leaf without authority key identifier": (
        "basicConstraints=critical;CA:TRUE,keyUsage=critical;keyCertSign,subjectKeyIdentifier=hash",
        f"authorityKeyIdentifier=none,{_SERVER}",
    ),
    "root without basic constraints": ("keyUsage=keyCertSign", _SERVER),
    "root of version 1": ("v1", _SERVER),
}


def main() -> None:
    """Print both tables."""
    warnings.simplefilter("ignore")
    for name, file in (("system", SYSTEM), ("certifi", certifi.where())):
        roots = [x509.load_der_x509_certificate(b64decode(one)) for one in _PEM.findall(Path(file).read_bytes())]
        found = Counter(why for root in roots for why in _complaints(root))
        sys.stdout.write(
            f"{name}: {len(roots)} roots, {sum(any(_complaints(one)) for one in roots)} refused: {found}\n"
        )
    for name, (root, leaf) in SHAPES.items():
        chain = _made(root, leaf)
        said = [_verified(chain, strict=strict) for strict in (False, True)]
        sys.stdout.write(f"{name}: usual {said[0]}; strict {said[1]}\n")


def _complaints(root: x509.Certificate) -> list[str]:
    basic, usage = _extension(root, x509.BasicConstraints), _extension(root, x509.KeyUsage)
    return [
        text
        for text, wrong in (
            ("no basic constraints", basic is None or not basic.value.ca),
            ("no key usage", usage is None),
            ("key usage without certificate signing", usage is not None and not usage.value.key_cert_sign),
            ("no subject key identifier", _extension(root, x509.SubjectKeyIdentifier) is None),
            ("version 1", root.version is x509.Version.v1),
        )
        if wrong
    ]


def _extension(certificate: x509.Certificate, kind: type) -> x509.Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def _made(root: str | None, leaf: str) -> list[bytes]:
    """Leaf and root, DER."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        (made / "bare").write_text("[req]\ndistinguished_name = name\n[name]\n")
        (made / "ext").write_text("".join(f"{one.replace(';', ',')}\n" for one in leaf.split(",")))
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        own = ["-config", "bare", *_options(root)] if root else []
        _openssl(made, "req", "-x509", *key, "-subj", "/CN=Root", *own, "-keyout", "ca.key", "-out", "ca")
        _openssl(made, "req", *key, "-subj", "/CN=mx.example", "-keyout", "leaf.key", "-out", "csr")
        sign = ["-CA", "ca", "-CAkey", "ca.key", "-out", "leaf", "-extfile", "ext"]
        _openssl(made, "x509", "-req", "-in", "csr", *sign)
        return [b64decode(_PEM.findall((made / name).read_bytes())[0]) for name in ("leaf", "ca")]


def _options(extensions: str) -> list[str]:
    if extensions == "v1":
        return ["-x509v1"]
    return [part for one in extensions.split(",") for part in ("-addext", one.replace(";", ","))]


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def _verified(chain: list[bytes], *, strict: bool) -> str:
    leaf, root = (crypto.load_certificate(crypto.FILETYPE_ASN1, der) for der in chain)
    store = crypto.X509Store()
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN | (crypto.X509StoreFlags.X509_STRICT if strict else 0))
    store.add_cert(root)
    try:
        crypto.X509StoreContext(store, leaf, []).verify_certificate()
    except crypto.X509StoreContextError as failure:
        return f"refused ({failure.errors[2]})"
    return "taken"


if __name__ == "__main__":
    main()
