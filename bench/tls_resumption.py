"""Measure what a TLS handshake costs the server: full, and resumed by another worker than the one it began with.

    .venv/bin/python bench/tls_resumption.py [--rounds N]

In memory, without SMTP: CPU time of the server's engine alone, in microseconds, the minimum over rounds of the mean of
100 handshakes. Two workers take turns, so each resumed handshake is with the other one's ticket. "alone" is how many of
100 connections resumed where each worker has keys of its own, as before decision 0072, and "shared" how many do now.
"""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from gatepost.net.engine import ClientContext, ServerContext, client_context, server_context
from gatepost.net.identity import ServerIdentity
from gatepost.net.tickets import ServerSessions
from gatepost.protocols.tls.profile import PROFILES
from gatepost.values import replace

DEFAULT = PROFILES["default"]
COUNT = 100
CLIENTS = {
    "TLS 1.3, X25519MLKEM768": DEFAULT,
    "TLS 1.3, X25519": replace(DEFAULT, groups="X25519"),
    "TLS 1.2, X25519": replace(DEFAULT, groups="X25519:P-256", max_version="TLSv1.2"),
}
KEYS = {
    "ECDSA P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "RSA-2048": lambda: rsa.generate_private_key(65537, 2048),
}


class DaySecret:
    """One for all days."""

    def secret(self, day: int) -> bytes | None:
        """The same for all."""
        del day
        return b"s" * 32


def identity(kind: str) -> ServerIdentity:
    """A certificate of our own making."""
    key = KEYS[kind]()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.bench.example")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    plain = serialization.NoEncryption()
    return ServerIdentity(
        certificate, key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )


def connect(client: ClientContext, server: ServerContext, key: str) -> tuple[float, bool]:
    """Seconds of the server's, and whether it was resumed."""
    ours = client.engine(server_name="mx.bench.example", session_key=key)
    ours.start()
    spent, waiting = 0.0, ours.take_output()
    begin = time.thread_time()
    theirs = server.engine()
    spent += time.thread_time() - begin
    while waiting:
        begin = time.thread_time()
        theirs.feed(waiting)
        answer = theirs.take_output()
        spent += time.thread_time() - begin
        ours.feed(answer)
        waiting = ours.take_output()
    ours.feed(theirs.send(b"250 ok\r\n"))
    ours.shutdown()
    ours.release()
    theirs.release()
    return spent, theirs.facts is not None and theirs.facts.resumed


def measure(client: ClientContext, workers: list[ServerContext], key: str) -> tuple[float, int]:
    """Microseconds a handshake, and how many were resumed."""
    found = [connect(client, workers[number % 2], key) for number in range(COUNT)]
    return sum(spent for spent, _ in found) / COUNT * 1e6, sum(resumed for _, resumed in found)


def main() -> None:
    """Print a table."""
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=7)
    rounds = options.parse_args().rounds
    print("| certificate | session | full | resumed | ratio | resumed alone | shared |\n|---|---|--:|--:|--:|--:|--:|")
    for kind in KEYS:
        presented = [identity(kind)]

        def workers(
            *sessions: ServerSessions | None, presented: list[ServerIdentity] = presented
        ) -> list[ServerContext]:
            return [server_context(presented, DEFAULT, ask_client_certificate=True, sessions=one) for one in sessions]

        alone = workers(None, None)
        shared = workers(ServerSessions("mail", DaySecret()), ServerSessions("mail", DaySecret()))
        for name, profile in CLIENTS.items():
            client = client_context(profile)
            connect(client, shared[0], "kept")
            full, resumed = [], []
            for _ in range(rounds):
                full.append(measure(client, shared, ""))
                resumed.append(measure(client, shared, "kept"))
            one, other = min(full)[0], min(resumed)[0]
            before = measure(client, alone, "alone")[1]
            counts = f"{before} | {min(count for _, count in resumed)}"
            print(f"| {kind} | {name} | {one:.0f} | {other:.0f} | {other / one:.2f} | {counts} |")


if __name__ == "__main__":
    main()
