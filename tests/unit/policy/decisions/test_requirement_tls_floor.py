from __future__ import annotations

import pytest

from gatepost.policy.decisions.requirement import (
    Authenticated,
    Encrypted,
    Identity,
    Opportunistic,
    Requirement,
    below_floor,
    floor_text,
    offered_text,
)
from gatepost.protocols.tls.facts import TlsFacts
from gatepost.protocols.tls.limits import limited
from gatepost.values import replace

QUANTUM = limited(post_quantum=True)
AES = "TLS_AES_256_GCM_SHA384"
ENCRYPTED, NAMED = Encrypted(()), Authenticated((), (Identity(("mx.b.example",)),))


@pytest.mark.parametrize("kind", [ENCRYPTED, NAMED])
def test_what_a_handshake_lacks(tls: TlsFacts, kind: Encrypted | Authenticated) -> None:
    old = replace(tls, version="TLSv1.2", group="X25519", suite="TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384")
    new = replace(old, version="TLSv1.3", suite=AES)
    asked = replace(kind, min_version="TLSv1.3", limits=QUANTUM)
    assert below_floor(kind, old) is None
    assert below_floor(asked, old) == ("TlsVersionTooOld", "TLSv1.3 or newer", "TLSv1.2")
    quantum = "post-quantum key exchange (X25519MLKEM768)"
    assert below_floor(asked, new) == ("KeyExchangeNotAllowed", quantum, "X25519, over TLSv1.3")
    assert below_floor(asked, replace(new, group="X25519MLKEM768")) is None
    suites = replace(kind, limits=limited(suites=[AES]))
    assert below_floor(suites, new) is None
    assert below_floor(suites, old) == ("CipherSuiteNotAllowed", f"cipher suite {AES}", f"{old.suite}, over TLSv1.2")


@pytest.mark.parametrize(
    ("requirement", "floor", "offered"),
    [
        (Opportunistic(()), "", ""),
        (Opportunistic((), profile="legacy"), "", "Offered: TLS profile legacy. "),
        (ENCRYPTED, "", ""),
        (Encrypted((), "modern"), "", "Offered: TLS profile modern. "),
        (Encrypted((), "default", "TLSv1.3"), "TLSv1.3 or newer", "Expected: TLSv1.3 or newer. "),
        (
            replace(NAMED, min_version="TLSv1.3", limits=limited(groups=["P-256"])),
            "TLSv1.3 or newer; key exchange by P-256",
            "Expected: TLSv1.3 or newer; key exchange by P-256. ",
        ),
    ],
)
def test_the_floor_in_words(requirement: Requirement, floor: str, offered: str) -> None:
    assert (floor_text(requirement), offered_text(requirement)) == (floor, offered)
