"""A signed DNS on loopback: zones below "test." that dnspython signs, NSD serves and Unbound validates.

Nothing of it is asked of the Internet: Unbound knows the key of "test." and where its server is, and nothing else.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import dns.dnssec
import dns.flags
import dns.message
import dns.name
import dns.node
import dns.query
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec
from support.debian import need
from support.process import Child, Folder, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dns.rdtypes.ANY.DNSKEY import DNSKEY
    from dns.rdtypes.ANY.DS import DS

_ROOT = "test"
_TTL = 60
_HEAD = f"@ {_TTL} IN SOA ns.test. host.test. 1 300 60 86400 5\n@ {_TTL} IN NS ns.test.\n"
_NSD = """\
server:
  ip-address: 127.0.0.1@{port}
  do-ip6: no
  username: ""
  zonesdir: "{folder}"
  pidfile: "{folder}/nsd.pid"
  zonelistfile: "{folder}/nsd.list"
  xfrdfile: "{folder}/nsd.xfrd"
  xfrdir: "{folder}"
  server-count: 1
  rrl-ratelimit: 0
remote-control:
  control-enable: no
"""
_UNBOUND = """\
server:
  interface: 127.0.0.1@{port}
{also}  access-control: 127.0.0.0/8 allow
  do-daemonize: no
  do-ip6: no
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: "{folder}/unbound.pid"
  use-syslog: no
  do-not-query-localhost: no
  module-config: "validator iterator"
  trust-anchor-file: "{folder}/anchor"
  local-zone: "test." nodefault
  val-bogus-ttl: 1
  infra-keep-probing: yes
  ede: {explains}
  num-threads: 1
  so-reuseport: no
remote-control:
  control-enable: no
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@{authority}
"""


# Each zone has its own: NS records cannot say that the port is not 53.
_STUB = """\
stub-zone:
  name: "{name}."
  stub-addr: 127.0.0.1@{authority}
"""


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone directly below "test.".

    records: as a master file has them, names relative to the zone; TLSA records are "NAME TLSA HEXADECIMAL", their
    RDATA of any length. unsigned: an insecure delegation. forged: types whose signatures are damaged. wrong_ds: "test."
    names another key.
    """

    records: Sequence[str]
    unsigned: bool = False
    forged: Sequence[str] = ()
    wrong_ds: bool = False


class SignedDns:
    """Serves `zones` (by their label below "test.") with NSD, and validates with Unbound at `address`.

    explains: Unbound says why it refuses (RFC 8914). also: a loopback address on whose port 53 it answers as well, for
    programs that know no other port.
    """

    def __init__(self, zones: Mapping[str, Zone], *, explains: bool = False, also: str = "") -> None:
        need("nsd", "unbound")
        self._zones = zones
        self._folder = Folder("dnssec")
        self._authority, self._port = free_port(), free_port()
        self._explains = explains
        self._also = f"  interface: {also}@53\n" if also else ""
        self._children: list[Child] = []

    @property
    def address(self) -> str:
        """ "127.0.0.1:PORT" of the resolver, as `dns.nameservers` takes it."""
        return f"127.0.0.1:{self._port}"

    @property
    def anchor(self) -> Path:
        """A file with the key of "test.", for who validates it."""
        return self._folder / "anchor"

    def __enter__(self) -> Self:
        try:
            self._write()
            self._run("nsd", "-d", "-c", self._folder / "nsd.conf")
            self._run("unbound", "-c", self._folder / "unbound.conf")
            wait_until(self._validates, "Unbound does not call test. authentic")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for child in reversed(self._children):
            child.stop()
        self._children = []
        self._folder.remove()

    def silence(self) -> None:
        """End the authority: what the resolver does not remember, it can no longer learn."""
        self._children.pop(0).stop()

    def output(self) -> str:
        """What the servers printed."""
        return "\n".join(child.output() for child in self._children)

    def _run(self, name: str, *arguments: str | Path) -> None:
        program = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin")
        assert program, name
        child = Child([program, *arguments], self._folder / f"{name}.out")
        self._children.append(child)
        port = self._authority if name == "nsd" else self._port
        child.wait_ready(lambda: _answers(port))

    def _validates(self) -> bool:
        query = dns.message.make_query("test.", "SOA", want_dnssec=True)
        return bool(dns.query.udp(query, "127.0.0.1", 2, self._port).flags & dns.flags.AD)

    def _write(self) -> None:
        lines = [f"ns {_TTL} IN A 127.0.0.1"]
        texts = {}
        for label, zone in self._zones.items():
            lines.append(f"{label} {_TTL} IN NS ns.test.")
            texts[f"{label}.{_ROOT}"], delegation = _made(f"{label}.{_ROOT}", zone)
            lines += [f"{label} {_TTL} IN DS {one}" for one in delegation]
        texts[_ROOT], anchor = _made(_ROOT, Zone(lines))
        conf = _NSD.format(folder=self._folder.path, port=self._authority)
        for name, text in texts.items():
            self._folder.write(f"{name}.zone", text)
            conf += f'zone:\n  name: "{name}"\n  zonefile: "{name}.zone"\n'
        self._folder.write("nsd.conf", conf)
        self._folder.write("anchor", "".join(f"{_ROOT}. IN DS {one}\n" for one in anchor))
        self._folder.write(
            "unbound.conf",
            _UNBOUND.format(
                folder=self._folder.path,
                port=self._port,
                authority=self._authority,
                explains="yes" if self._explains else "no",
                also=self._also,
            )
            + "".join(_STUB.format(name=name, authority=self._authority) for name in texts),
        )


def _answers(port: int) -> bool:
    try:
        dns.query.udp(dns.message.make_query("test.", "SOA"), "127.0.0.1", 0.5, port)
    except (OSError, dns.exception.DNSException):
        return False
    return True


def _made(name: str, plan: Zone) -> tuple[str, list[str]]:
    """The master file of a zone, signed unless it is not to be, and what its parent says of its key."""
    plain = [line for line in plan.records if " TLSA " not in line]
    text = _HEAD + "\n".join(line if " IN " in line else line.replace(" ", f" {_TTL} IN ", 1) for line in plain)
    zone = dns.zone.from_text(text + "\n", origin=f"{name}.", relativize=False)
    for line in plan.records:
        owner, kind, *data = line.split(" ")
        if kind == "TLSA":
            _add_tlsa(zone, dns.name.from_text(owner, zone.origin), bytes.fromhex("".join(data)))
    if plan.unsigned:
        return zone.to_text(relativize=False), []
    key = ec.generate_private_key(ec.SECP256R1())
    dnskey = dns.dnssec.make_dnskey(key.public_key(), "ECDSAP256SHA256", flags=257)
    now = time.time()
    dns.dnssec.sign_zone(zone, keys=[(key, dnskey)], dnskey_ttl=_TTL, inception=now - 3600, expiration=now + 86400)
    for kind in plan.forged:
        _forge(zone, kind)
    return zone.to_text(relativize=False), [_delegation(name, dnskey, wrong=plan.wrong_ds)]


def _add_tlsa(zone: dns.zone.Zone, owner: dns.name.Name, data: bytes) -> None:
    """dnspython refuses TLSA records that make no sense: as octets it takes them."""
    node = zone.find_node(owner, create=True)
    rdataset = node.find_rdataset(dns.rdataclass.IN, dns.rdatatype.TLSA, create=True)
    rdataset.add(dns.rdata.GenericRdata(dns.rdataclass.IN, dns.rdatatype.TLSA, data), _TTL)


def _forge(zone: dns.zone.Zone, kind: str) -> None:
    covered = dns.rdatatype.from_text(kind)
    for node in zone.nodes.values():
        signatures = node.get_rdataset(dns.rdataclass.IN, dns.rdatatype.RRSIG, covered)
        if signatures is not None:
            (signature,) = signatures
            changed = signature.signature[:-1] + bytes([signature.signature[-1] ^ 1])
            node.replace_rdataset(dns.rdataset.from_rdata(_TTL, signature.replace(signature=changed)))


def _delegation(name: str, dnskey: DNSKEY, *, wrong: bool) -> str:
    delegation: DS = dns.dnssec.make_ds(f"{name}.", dnskey, "SHA256")
    if wrong:
        delegation = delegation.replace(digest=delegation.digest[::-1])
    return delegation.to_text()
