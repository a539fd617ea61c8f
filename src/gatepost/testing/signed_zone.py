"""Zones that are signed with DNSSEC, and a nameserver on loopback that validates them as a resolver does.

dnspython signs. The server checks the signatures of each answer from the DS record down, and sets AD only if they
hold; a forged answer is SERVFAIL, as with any validating resolver. It asks nobody. Signatures go out with what they
sign, and NSEC records with a denial, so that a client can validate as well.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import dns.dnssec
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rrset
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec

from gatepost.testing.name_server import DnsServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dns.rdtypes.ANY.DNSKEY import DNSKEY
    from dns.rdtypes.ANY.DS import DS

TTL = 60
"""Seconds, of every record."""
_HEAD = f"@ {TTL} IN SOA ns.test. host.test. 1 300 60 86400 5\n@ {TTL} IN NS ns.test.\n"
_ALIASES = 16


@dataclass(frozen=True, slots=True)
class Zone:
    """Records of a zone, and what is wrong with its signatures.

    records: as a master file has them, names relative to the zone: "@ MX 10 mail", "mail A 127.0.0.1". TLSA records may
    be RDATA in hexadecimal, of any length: "_25._tcp.mail TLSA 0301". unsigned: the zone is not signed, and its parent
    says so. forged: types whose signatures are damaged. wrong_ds: the parent names another key.
    """

    records: Sequence[str]
    unsigned: bool = False
    forged: Sequence[str] = ()
    wrong_ds: bool = False


@dataclass(frozen=True, slots=True)
class SignedZone:
    """A zone as it is served. delegation: the DS record that its parent has, None if it is unsigned."""

    origin: dns.name.Name
    zone: dns.zone.Zone
    delegation: DS | None

    def text(self) -> str:
        """The master file."""
        return str(self.zone.to_text(relativize=False))

    def records(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> Sequence[dns.rrset.RRset]:
        """The records of a name and type with their signatures, () if there are none."""
        records = self.zone.get_rrset(name, kind)
        if records is None:
            return ()
        signatures = self.zone.get_rrset(name, dns.rdatatype.RRSIG, kind)
        return (records,) if signatures is None else (records, signatures)

    def denial(self, name: dns.name.Name) -> Iterator[Sequence[dns.rrset.RRset]]:
        """SOA, and the NSEC records that prove that a name, or a type of it, is not there (RFC 4035 section 3.1.3)."""
        yield self.records(self.origin, dns.rdatatype.SOA)
        if self.delegation is None:
            return
        owners = sorted(owner for owner, node in self.zone.nodes.items() if node.get_rdataset(*_NSEC) is not None)
        closest = name
        while closest != self.origin and not self.holds(closest):
            closest = closest.parent()
        wanted = {name} if closest == name else {name, dns.name.Name((b"*", *closest.labels))}
        for owner in sorted({owners[bisect_right(owners, denied) - 1] for denied in wanted}):
            yield self.records(owner, dns.rdatatype.NSEC)

    def holds(self, name: dns.name.Name) -> bool:
        """Whether there is a record at the name, or below it."""
        return any(owner.is_subdomain(name) for owner in self.zone.nodes)

    def is_authentic(self, answer: Sequence[dns.rrset.RRset]) -> bool:
        """Whether the signature of an answer holds, by a key that the parent names."""
        keys = self.records(self.origin, dns.rdatatype.DNSKEY)
        if len(keys) != 2 or len(answer) != 2:
            return False
        named = [key for key in keys[0] if dns.dnssec.make_ds(self.origin, key, "SHA256") == self.delegation]
        if not named:
            return False
        trusted = dns.rrset.from_rdata_list(self.origin, TTL, named)
        try:
            dns.dnssec.validate(keys[0], keys[1], {self.origin: trusted})
            dns.dnssec.validate(answer[0], answer[1], {self.origin: keys[0]})
        except dns.exception.ValidationFailure:
            return False
        return True


_NSEC = (dns.rdataclass.IN, dns.rdatatype.NSEC)


def sign(name: str, plan: Zone) -> SignedZone:
    """The zone of this name, signed unless it is not to be, from an hour ago until tomorrow.

    Raises ValueError with the record that cannot be read.
    """
    raw = [line for line in plan.records if _is_raw(line)]
    others = [line for line in plan.records if not _is_raw(line)]
    lines = [line if " IN " in line else line.replace(" ", f" {TTL} IN ", 1) for line in others]
    origin = dns.name.from_text(name)
    zone = _read(origin, lines)
    for line in raw:
        owner, _, *data = line.split(" ")
        _add_tlsa(zone, dns.name.from_text(owner, origin), bytes.fromhex("".join(data)))
    if plan.unsigned:
        return SignedZone(origin, zone, None)
    key = ec.generate_private_key(ec.SECP256R1())
    dnskey = dns.dnssec.make_dnskey(key.public_key(), "ECDSAP256SHA256", flags=257)
    now = time.time()
    dns.dnssec.sign_zone(zone, keys=[(key, dnskey)], dnskey_ttl=TTL, inception=now - 3600, expiration=now + 86400)
    for kind in plan.forged:
        _forge(zone, kind)
    return SignedZone(origin, zone, _delegation(origin, dnskey, wrong=plan.wrong_ds))


def _read(origin: dns.name.Name, lines: Sequence[str]) -> dns.zone.Zone:
    try:
        return dns.zone.from_text(_HEAD + "\n".join(lines) + "\n", origin=origin, relativize=False)
    except (dns.exception.DNSException, ValueError) as error:
        if len(lines) > 1:
            for line in lines:  # each by itself, for an error that names it
                _read(origin, [line])
        raise ValueError(f"zone {origin}, {' and '.join(map(repr, lines))}: {error}") from error


class SignedZones(DnsServer):
    """A nameserver for zones by their names: {"partner.example": Zone(["@ MX 10 mail", "mail A 127.0.0.1"])}.

    Use it with `with`; `address` goes into `nameservers` of a gateway. It knows nothing of other names, and there are
    no wildcards. `queries` has all questions, `failures` may name some that fail: see `DnsServer`.
    """

    def __init__(self, zones: Mapping[str, Zone], *, failures: Mapping[str, str] | None = None) -> None:
        super().__init__({}, failures=failures)
        self.zones = [sign(name, plan) for name, plan in zones.items()]

    def _fill(self, response: dns.message.Message, name: str, kind: str, query: dns.message.Message) -> None:
        """Answer, follow aliases, deny; AD if all of it is authentic."""
        owner, wanted = dns.name.from_text(f"{name}."), dns.rdatatype.from_text(kind)
        sections: list[tuple[list[dns.rrset.RRset], SignedZone, Sequence[dns.rrset.RRset]]] = []
        for _ in range(_ALIASES):
            zone = self._zone_of(owner)
            if zone is None:
                response.set_rcode(dns.rcode.NXDOMAIN if owner == dns.name.root else dns.rcode.SERVFAIL)
                return
            alias = zone.records(owner, dns.rdatatype.CNAME)
            answer = zone.records(owner, wanted) or alias
            if answer:
                sections.append((response.answer, zone, answer))
            else:
                sections += [(response.authority, zone, proof) for proof in zone.denial(owner)]
                response.set_rcode(dns.rcode.NOERROR if zone.holds(owner) else dns.rcode.NXDOMAIN)
            if answer is not alias or not alias:
                break
            owner = alias[0][0].target
        if not query.flags & dns.flags.CD and any(
            zone.delegation is not None and not zone.is_authentic(records) for _, zone, records in sections
        ):
            response.set_rcode(dns.rcode.SERVFAIL)
            return
        if all(zone.delegation is not None for _, zone, _ in sections):
            response.flags |= dns.flags.AD
        for section, _, records in sections:
            section.extend(records if query.ednsflags & dns.flags.DO else records[:1])

    def _zone_of(self, name: dns.name.Name) -> SignedZone | None:
        above = [zone for zone in self.zones if name.is_subdomain(zone.origin)]
        return max(above, key=lambda zone: len(zone.origin), default=None)


def _is_raw(line: str) -> bool:
    """Whether a line is a TLSA record of which only the octets are given."""
    words = line.split(" ")
    return len(words) == 3 and words[1] == "TLSA"


def _add_tlsa(zone: dns.zone.Zone, owner: dns.name.Name, data: bytes) -> None:
    """Dnspython refuses TLSA records that make no sense: as octets it takes them."""
    node = zone.find_node(owner, create=True)
    rdataset = node.find_rdataset(dns.rdataclass.IN, dns.rdatatype.TLSA, create=True)
    rdataset.add(dns.rdata.GenericRdata(dns.rdataclass.IN, dns.rdatatype.TLSA, data), TTL)


def _forge(zone: dns.zone.Zone, kind: str) -> None:
    covered = dns.rdatatype.from_text(kind)
    for node in zone.nodes.values():
        signatures = node.get_rdataset(dns.rdataclass.IN, dns.rdatatype.RRSIG, covered)
        if signatures is not None:
            (signature,) = signatures
            changed = signature.signature[:-1] + bytes([signature.signature[-1] ^ 1])
            node.replace_rdataset(dns.rdataset.from_rdata(TTL, signature.replace(signature=changed)))


def _delegation(origin: dns.name.Name, dnskey: DNSKEY, *, wrong: bool) -> DS:
    delegation: DS = dns.dnssec.make_ds(origin, dnskey, "SHA256")
    return cast("DS", delegation.replace(digest=delegation.digest[::-1])) if wrong else delegation
