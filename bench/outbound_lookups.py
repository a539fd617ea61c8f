"""What the look-ups on the way out cost: CPU of the gateway a message, by what the recipients' domains publish.

    sudo .venv/bin/python bench/outbound_lookups.py [--domains 200] [--rounds 3]

One message to each of many domains over MX, first cold (nothing of the domain is known), then warm (at once again),
with DANE and MTA-STS obeyed and with both switched off. NSD and Unbound serve and validate the zones, a sink on port 25
(hence root) takes the mail, a small HTTPS server has the policies: all on loopback, and none of their work is counted.
Every message has a connection and a handshake of its own, so that nothing but look-ups differs. Prints the least of the
rounds in milliseconds: the machine's noise only ever adds.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import smtplib
import ssl
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "system"))

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.dnssec import SignedDns
from support.gateway import Gateway
from support.policy_host import PolicyHost
from support.scenes import ALICE, connector, contoso, message

from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import FixtureError, wait_until
from gatepost.testing.signed_zone import Zone
from gatepost.testing.sink import Behaviour, Sink

SINK, POLICIES = "127.0.0.7", "127.0.0.8"
OFF = {"smtp_dane_mode": "none", "mta_sts_mode": "none"}
KINDS = {
    "plain": "nothing, unsigned zone",
    "signed": "nothing, signed zone",
    "dane": "TLSA records",
    "sts": "MTA-STS policy, unsigned zone",
}
ACHIEVED = {"plain": "none/authenticated", "signed": "dnssec/authenticated"}
ACHIEVED |= {"dane": "dnssec/authenticated", "sts": "mta-sts/authenticated"}
TICK = os.sysconf("SC_CLK_TCK")
SETTINGS = {
    "queue": {"messages_per_connection": 1},
    "outbound": {"private_policy_hosts": True},
    "limits": {"connections": 5000, "connections_per_source": 5000},
}


class Policies(PolicyHost):
    """Every domain's policy host, each with its own certificate."""

    def __init__(self, leaves: dict[str, Leaf], body: bytes) -> None:
        super().__init__(next(iter(leaves.values())), body, address=POLICIES, port=443)
        self._contexts = {name: _server_context(leaf) for name, leaf in leaves.items()}

    def start(self) -> Self:
        super().start()
        listening = self._server.socket if self._server else None
        if isinstance(listening, ssl.SSLSocket):
            listening.context.sni_callback = self._choose
        return self

    def _choose(self, connection: ssl.SSLObject, name: str, _: ssl.SSLContext) -> None:
        connection.context = self._contexts[name]


def _server_context(leaf: Leaf) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf.chain, leaf.key)
    return context


def zone(kind: str, domains: int, leaf: Leaf) -> Zone:
    """Domains d0.KIND.test and so on, each with an MX host of its own."""
    lines = ["@ A 127.0.0.1"]
    key = leaf.x509.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for number in range(domains):
        lines += [f"d{number} MX 10 mx{number}", f"mx{number} A {SINK}"]
        if kind == "dane":
            lines.append(f"_25._tcp.mx{number} TLSA 030101{hashlib.sha256(key).hexdigest()}")
        elif kind == "sts":
            lines += [f'_mta-sts.d{number} TXT "v=STSv1; id=1;"', f"mta-sts.d{number} A {POLICIES}"]
    return Zone(lines, unsigned=kind in {"plain", "sts"})


def cpu(gateway: Gateway) -> float:
    """Seconds that the gateway's processes have used so far."""
    total = 0
    for pid in gateway.family():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def sent(gateway: Gateway, sink: Sink, kind: str, domains: int) -> float:
    """Milliseconds of CPU a message, from MAIL here to 250 there."""
    before, taken = cpu(gateway), sink.counts["message"]
    content = message()
    with smtplib.SMTP("127.0.0.1", gateway.port, local_hostname="client.example", timeout=60) as client:
        for number in range(domains):
            client.sendmail(ALICE, [f"bob@d{number}.{kind}.test"], content)
    try:
        wait_until(lambda: sink.counts["message"] >= taken + domains, f"{kind}: all messages", timeout=60)
    except FixtureError as late:
        raise FixtureError(f"{late}; {gateway.trace(event='DEFER', limit='1')}") from late
    return (cpu(gateway) - before) / domains * 1000


def measured(sink: Sink, dns: SignedDns, pki: Pki, kind: str, asked: dict[str, str], domains: int) -> list[float]:
    """Cold and warm, by a gateway that knows nothing yet."""
    way: dict[str, Any] = connector("*", **asked) | {"name": "everything"}
    with Gateway(contoso(outbound=[way]), nameservers=[dns.address], anchors=pki.root, settings=SETTINGS) as gateway:
        cold, *warm = (sent(gateway, sink, kind, domains) for _ in range(4))
        (row,) = gateway.wait_trace(event="SEND", limit="1")
        if not asked and row["achieved"] != ACHIEVED[kind]:
            raise FixtureError(f"{kind}: {row['achieved']} was achieved, so that something else was measured")
        return [cold, min(warm)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domains", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kind", choices=list(KINDS), action="append")
    options = parser.parse_args()
    kinds = options.kind or list(KINDS)
    with ExitStack() as stack:
        pki = Pki(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        leaf = pki.leaf("mx.plain.test", names=[f"*.{kind}.test" for kind in KINDS])
        names = [f"mta-sts.d{number}.sts.test" for number in range(options.domains)]
        body = b"version: STSv1\r\nmode: enforce\r\nmx: *.sts.test\r\nmax_age: 604800\r\n"
        stack.enter_context(Policies({name: pki.leaf(name) for name in names}, body))
        dns = stack.enter_context(SignedDns({kind: zone(kind, options.domains, leaf) for kind in KINDS}))
        sink = Sink(host=SINK, port=25, certificate=leaf, behaviour=Behaviour(store=False)).start()
        stack.callback(sink.stop)
        print(f"{options.domains} domains, least of {options.rounds} rounds, ms of CPU a message")
        print(f"{'the domains publish':32}{'':9}{'obeyed':>8}{'off':>8}{'more':>8}")
        for kind in kinds:
            rounds = [
                (
                    measured(sink, dns, pki, kind, {}, options.domains),
                    measured(sink, dns, pki, kind, OFF, options.domains),
                )
                for _ in range(options.rounds)
            ]
            for at, state in enumerate(("cold", "warm")):
                obeyed, off = (min(both[side][at] for both in rounds) for side in (0, 1))
                print(f"{KINDS[kind]:32}{state:9}{obeyed:8.2f}{off:8.2f}{obeyed - off:8.2f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
