"""Partners of every defect as data, and the world they make: a signed DNS, mail hosts, a host of policies, trust.

`Partner` is a row: what a domain publishes and what its hosts present. `World` serves all rows at once: one NSD and one
Unbound, one SMTP server for each kind of certificate, on port 25 of a loopback address of its own, one HTTPS server.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.dnssec import SignedDns
from support.policy_host import PolicyHost
from support.process import loopback

from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.signed_zone import Zone
from gatepost.testing.sink import Sink

# What a host presents. `trusted` is of the authority that the gateway trusts, `anchored` of one that nobody does,
# `self` of nobody; the first two bear the names of the hosts that present them, `-other` and `self` another one.
PRESENTED = (
    *("clear", "self", "self-old", "anchored", "anchored-other", "anchored-old"),
    *("trusted", "trusted-other", "trusted-old", "trusted-second"),
)
_NET = loopback("3.{}", of_process=True)  # several files have partners
ADDRESS = {kind: _NET.format(number) for number, kind in enumerate(PRESENTED, 10)}
POLICIES, NOBODY, RESOLVER = _NET.format(2), _NET.format(3), _NET.format(53)
UNSIGNED = frozenset({"plain", "insecure"})
WRONG = "030101" + "ab" * 32
_RAW = {"wrong": WRONG, "pkix": "000101" + "ab" * 32, "short": "03010100"}


@dataclass(frozen=True, slots=True)
class Partner:
    """A domain below "test."; what follows its first label, or its only one, is its zone.

    hosts: what its MX hosts NAME-1, NAME-2 (mx-1 at the top of a zone) present, in order of preference. tlsa: the
    records of each, "|" between hosts: leaf, anchor (2 0 1 of the intermediate), wrong, pkix or short (no use), or
    hexadecimal. names: what certificates bear, the host's name or, if "domain", the domain. sts: mode, patterns ("1"
    for the first host) and "max_age=N" of its policy; "down" if its record is there and its host is not. zone: more
    lines; "{self}" is the address of who presents that. mx: whether the hosts have MX records.
    """

    hosts: str = ""
    tlsa: str = ""
    names: str = "host"
    sts: str = ""
    zone: tuple[str, ...] = ()
    mx: bool = True


def host_name(domain: str, place: int) -> str:
    """The name of a domain's MX host, counted from 1."""
    label, _, rest = domain.partition(".")
    return f"{label}-{place}.{rest}" if "." in rest else f"mx-{place}.{domain}"


def leaf_record(leaf: Leaf) -> str:
    """3 1 1."""
    spki = leaf.x509.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "030101" + hashlib.sha256(spki).hexdigest()


def anchor_record(pki: Pki) -> str:
    """2 0 1 of the intermediate."""
    certificate = x509.load_pem_x509_certificate(pki.intermediate.read_bytes())
    return "020001" + hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


@dataclass
class World:
    """All partners at once. Enter it; port 25 and 443 of its addresses need root.

    pki: who the gateway trusts. strangers: another authority. forged: zones whose records of these types are badly
    signed; "DS": whose parent names another key. port_53: whether the resolver answers at RESOLVER on port 53 too;
    something else may have the port.
    """

    partners: Mapping[str, Partner]
    pki: Pki
    strangers: Pki
    forged: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.leaves = self._certificates()
        self.sinks = {
            kind: Sink(host=ADDRESS[kind], port=25, certificate=leaf, hostname=f"{kind}.test")
            for kind, leaf in self.leaves.items()
        }
        names = [f"mta-sts.{domain}" for domain, partner in self.partners.items() if partner.sts]
        texts = {
            f"mta-sts.{domain}": _policy(domain, partner.sts)
            for domain, partner in self.partners.items()
            if partner.sts and partner.sts != "down"
        }
        serving = self.pki.leaf("policies.test", names=names or ["policies.test"])
        self.policies = PolicyHost(serving, texts, address=POLICIES, port=443)
        self.port_53 = _free(RESOLVER, 53)
        self.dns = SignedDns(self.zones(), also=RESOLVER if self.port_53 else "")
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for sink in self.sinks.values():
                stack.enter_context(sink)
            stack.enter_context(self.policies)
            stack.enter_context(self.dns)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def taken_by(self, recipient: str) -> list[str]:
        """Which hosts took a message for somebody, by what they present."""
        return [kind for kind, sink in self.sinks.items() if any(recipient in one.recipients for one in sink.messages)]

    def zones(self) -> dict[str, Zone]:
        lines: dict[str, list[str]] = {zone: [] for zone in self.forged}
        for domain, partner in self.partners.items():
            label, _, rest = domain.removesuffix(".test").rpartition(".")
            lines.setdefault(rest, []).extend(self._lines(domain, label or "@", partner))
        return {
            zone: Zone(
                records,
                unsigned=zone in UNSIGNED,
                forged=[kind for kind in self.forged.get(zone, "").split() if kind != "DS"],
                wrong_ds="DS" in self.forged.get(zone, "").split(),
            )
            for zone, records in lines.items()
        }

    def _lines(self, domain: str, label: str, partner: Partner) -> list[str]:
        kinds, zone = partner.hosts.split(), domain.partition(".")[2] if label != "@" else domain
        sets = partner.tlsa.split("|")
        lines = [line.format(**ADDRESS) for line in partner.zone]
        for place, kind in enumerate(kinds, 1):
            host = host_name(domain, place).removesuffix(f".{zone}")
            lines.append(f"{host} A {ADDRESS[kind]}")
            if partner.mx:
                lines.append(f"{label} MX {10 * place} {host}")
            words = sets[place - 1].split() if place <= len(sets) else []
            lines += [f"_25._tcp.{host} TLSA {self._record(word, kind)}" for word in words]
        if partner.sts:
            below = "" if label == "@" else f".{label}"
            lines.append(f"mta-sts{below} A {NOBODY if partner.sts == 'down' else POLICIES}")
            lines.append(f'_mta-sts{below} TXT "v=STSv1; id=1;"')
        return lines

    def _record(self, word: str, kind: str) -> str:
        if word == "leaf":
            leaf = self.leaves[kind]
            assert leaf is not None
            return leaf_record(leaf)
        return anchor_record(self.strangers) if word == "anchor" else _RAW.get(word, word)

    def _certificates(self) -> dict[str, Leaf | None]:
        names: dict[str, list[str]] = {kind: [] for kind in PRESENTED}
        for domain, partner in self.partners.items():
            for place, kind in enumerate(partner.hosts.split(), 1):
                names[kind].append(domain if partner.names == "domain" else host_name(domain, place))
        old = (-90, -1)

        def made(pki: Pki, kind: str, **more: Any) -> Leaf:
            return pki.leaf(f"{kind}.example", names=names[kind] or [f"{kind}.example"], **more)

        return {
            "clear": None,
            "self": self.strangers.self_signed("other.example"),
            "self-old": self.strangers.self_signed("other.example", days=old),
            "anchored": made(self.strangers, "anchored"),
            "anchored-other": self.strangers.leaf("other.example"),
            "anchored-old": made(self.strangers, "anchored-old", days=old),
            "trusted": made(self.pki, "trusted"),
            "trusted-other": self.pki.leaf("other.example"),
            "trusted-old": made(self.pki, "trusted-old", days=old),
            "trusted-second": made(self.pki, "trusted-second"),
        }


def _free(host: str, port: int) -> bool:
    try:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as tried:
                tried.bind((host, port))
    except OSError:
        return False
    return True


def _policy(domain: str, text: str) -> bytes:
    mode, *words = text.split()
    patterns = [host_name(domain, int(word)) if word.isdigit() else word for word in words if "=" not in word]
    (max_age,) = [word.partition("=")[2] for word in words if "=" in word] or ["86400"]
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {one}" for one in patterns), f"max_age: {max_age}"]
    return "".join(f"{line}\r\n" for line in lines).encode()
