"""What one decision costs among 10,000 connectors in 100 organizations, in microseconds.

    .venv/bin/python bench/decisions.py [--check]

Prints the least of several runs for each kind of decision: the machine's noise only ever adds. With --check the exit
status is 1 if one of them costs more than 20 us.
"""

from __future__ import annotations

import argparse
import sys
import timeit
from collections.abc import Callable

from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.facts import SessionFacts
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.selection import select_outbound
from gatepost.policy.decisions.inbound import decide_recipient
from gatepost.protocols.smtp.grammar import parse_path
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus, ChainVerdict, TlsFacts

ORGANIZATIONS = 100
CONNECTORS = 100  # of each organization: a third on-premises, a third partners, a third outbound
LIMIT = 20.0
RUNS, CALLS = 7, 2000

TLS = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", "X25519MLKEM768", "ecdsa_secp256r1_sha256", False, "")


def organization(number: int) -> dict[str, object]:
    """One with three domains, its own servers by certificate and address, partners with a lock-down, and ways out."""
    own = f"o{number}.example"
    inbound: list[dict[str, object]] = [
        {
            "name": f"site {site}",
            "connector_type": "on-premises",
            "tls_sender_certificate_name": f"mail{site}.{own}" if site % 2 else f"*.site{site}.{own}",
            "sender_ip_addresses": [f"10.{number}.{site}.0/24", f"2001:db8:{number:x}:{site:x}::/64"],
        }
        for site in range(CONNECTORS // 3)
    ]
    inbound += [
        {
            "name": f"partner {partner}",
            "sender_domains": [f"p{partner}.o{number}.test", f"*.q{partner}.test"],
            "restrict_domains_to_certificate": True,
            "tls_sender_certificate_name": f"*.p{partner}.o{number}.test",
        }
        for partner in range(CONNECTORS // 3)
    ]
    inbound.append({"name": "everybody", "sender_domains": ["*"]})
    outbound: list[dict[str, object]] = [
        {"name": f"to {way}", "recipient_domains": [f"p{way}.o{number}.test", f"*.q{way}.test"]}
        for way in range(CONNECTORS - len(inbound))
    ]
    domains = (own, f"mail.{own}", f"mail1.{own}")
    return {
        "accepted_domain": [{"name": name} for name in domains],
        "inbound_connector": inbound,
        "outbound_connector": outbound,
    }


def client(*names: str, ip: str = "203.0.113.9", status: ChainStatus = ChainStatus.TRUSTED) -> SessionFacts:
    """A session over TLS with a certificate for these names, in clear if there are none."""
    if not names:
        return SessionFacts("s", ip, "client.example")
    leaf = CertificateFacts(
        f"CN={names[0]}", "CN=CA", "1", names[0], names, (), "aa" * 32, "bb" * 20, "cc" * 32, 0, 9e9, "EC-P-256"
    )
    return SessionFacts("s", ip, "client.example", TLS, ChainVerdict(status, "the reason", leaf))


def decisions() -> dict[str, Callable[[], object]]:
    """Each from facts and envelope to the verdict, the attribution of MAIL FROM included."""
    named = {f"o{number}": organization(number) for number in range(ORGANIZATIONS)}
    directory = Directory(parse({"organization": named}), 17)
    own = directory.organization("o42")
    assert own is not None  # noqa: S101 - it was built above

    def recipient(facts: SessionFacts, sender: str, to: str = "a@o42.example") -> Callable[[], object]:
        paths = parse_path(f"<{sender}>", smtputf8=False), parse_path(f"<{to}>", smtputf8=False)
        return lambda: decide_recipient(directory, facts, *paths)

    exact, wild = client("mail1.o42.example"), client("mx.site2.o42.example", "mx2.site2.o42.example")
    return {
        "stranger, in clear": recipient(client(), "x@any.test"),
        "stranger, with a certificate": recipient(client("mx.any.test"), "x@any.test"),
        "stranger who would relay": recipient(client("mx.any.test"), "x@any.test", "y@internet.test"),
        "partner, in clear: refused": recipient(client(), "x@p7.o42.test"),
        "partner, by certificate": recipient(client("mx.p7.o42.test"), "x@p7.o42.test"),
        "partner, another certificate: refused": recipient(client("mx.any.test"), "x@p7.o42.test"),
        "on-premises, by certificate": recipient(exact, "x@any.test", "y@internet.test"),
        "on-premises, by wildcard": recipient(wild, "x@o42.example", "y@internet.test"),
        "on-premises, expired certificate": recipient(
            client("mail1.o42.example", status=ChainStatus.EXPIRED), "x@any.test", "y@internet.test"
        ),
        "on-premises, by address": recipient(client(ip="10.42.9.7"), "x@o42.example", "y@internet.test"),
        "on-premises, by IPv6 address": recipient(client(ip="2001:db8:2a:9::7"), "x@o42.example", "y@internet.test"),
        "on-premises, null reverse-path by address": recipient(client(ip="10.42.9.7"), "", "a@o42.example"),
        "outbound, exact domain": lambda: select_outbound(directory, own, "p9.o42.test"),
        "outbound, no connector": lambda: select_outbound(directory, own, "internet.test"),
    }


def main() -> int:
    """Print the figures; with --check say whether they are good enough."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help=f"exit 1 if a decision costs more than {LIMIT:.0f} us")
    wanted = parser.parse_args()
    worst = 0.0
    total = ORGANIZATIONS * CONNECTORS
    print(f"{total} connectors in {ORGANIZATIONS} organizations; us per decision, least of {RUNS} runs")
    for name, decide in decisions().items():
        least = min(timeit.repeat(decide, number=CALLS, repeat=RUNS)) / CALLS * 1e6
        worst = max(worst, least)
        print(f"{name:45} {least:6.1f}")
    if wanted.check and worst > LIMIT:
        print(f"{worst:.1f} us is more than {LIMIT:.0f} us", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
