"""Full TLS 1.3 handshakes a second, both ends in this process: a key in memory against the same kind of key in a token.

    SOFTHSM2_CONF=… .venv/bin/python bench/token_handshakes.py MODULE PIN_FILE CHAIN.pem 'pkcs11:token=…;object=…'

CHAIN.pem is the certificate of the key in the token (docs/tokens.md says how to make both).
"""

from __future__ import annotations

import datetime as dt
import sys
import tempfile
import time
from pathlib import Path

from gatepost.net.token_access import TOKEN_KEYS, TokenAccess, default_provider
from gatepost.net.token_provider import configuration_file, load

_HANDSHAKES = 300


def main() -> None:
    """Print a line for each kind."""
    module, pin_file, chain, uri = sys.argv[1:]
    folder = tempfile.mkdtemp()
    access = TokenAccess(module, default_provider(), pin_file, str(Path(folder) / "refused"))
    load(f"/proc/self/fd/{configuration_file(access)}")
    TOKEN_KEYS.access = access
    from gatepost.net.identity import ServerIdentity  # noqa: PLC0415 - after the provider

    print(f"{'key':8} {'handshakes/s':>12} {'CPU ms':>8}")
    measure("memory", ServerIdentity(*own_pair()))
    measure("token", ServerIdentity(Path(chain).read_bytes(), uri.encode()))
    Path(folder).rmdir()


def measure(name: str, identity: object) -> None:
    """Shake hands, and print how long it took."""
    from gatepost.net.engine import client_context, server_context  # noqa: PLC0415 - after the provider
    from gatepost.protocols.tls.profile import PROFILES  # noqa: PLC0415 - as above

    profile = PROFILES["default"]
    server = server_context([identity], profile, ask_client_certificate=False)  # type: ignore[list-item] # see above
    client = client_context(profile)
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(_HANDSHAKES):
        ours, theirs = client.engine(), server.engine()
        ours.start()
        while ours.facts is None or theirs.facts is None:
            theirs.feed(ours.take_output())
            ours.feed(theirs.take_output())
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(f"{name:8} {_HANDSHAKES / took:12.0f} {cpu / _HANDSHAKES * 1000:8.2f}")


def own_pair() -> tuple[bytes, bytes]:
    """A certificate that signed itself, and its key (ECDSA P-256), PEM."""
    from cryptography import x509  # noqa: PLC0415 - after the provider
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - as above

    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mx.example")])
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + dt.timedelta(1)
    )
    certificate = builder.sign(key, hashes.SHA256())
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    return certificate.public_bytes(pem), key.private_bytes(pem, pkcs8, plain)


if __name__ == "__main__":
    main()
