"""A signed DNS on loopback: zones below "test." that dnspython signs, NSD serves and Unbound validates.

Nothing of it is asked of the Internet: Unbound knows the key of "test." and where its server is, and nothing else.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import dns.exception
import dns.flags
import dns.message
import dns.query
from support.debian import need
from support.process import Child

from gatepost.testing.process import Folder, free_port, wait_until
from gatepost.testing.signed_zone import TTL, Zone, sign

_ROOT = "test"
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
UNBOUND = """\
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
STUB = """\
stub-zone:
  name: "{name}."
  stub-addr: 127.0.0.1@{authority}
"""


class SignedDns:
    """Serves `zones` (by their label below "test.") with NSD, and validates with Unbound at `address`.

    explains: Unbound says why it refuses (RFC 8914). also: a loopback address on whose port 53 it answers as well, for
    programs that know no other port. root: serve a signed root, too, whose key Unbound knows instead.
    """

    def __init__(
        self, zones: Mapping[str, Zone], *, explains: bool = False, also: str = "", root: bool = False
    ) -> None:
        need("nsd", "unbound")
        self._zones = zones
        self._folder = Folder("dnssec")
        self._authority, self._port = free_port(), free_port()
        self._explains = explains
        self._root = root
        self._also = f"  interface: {also}@53\n" if also else ""
        self._children: dict[str, Child] = {}

    @property
    def address(self) -> str:
        """ "127.0.0.1:PORT" of the resolver, as `dns.nameservers` takes it."""
        return f"127.0.0.1:{self._port}"

    @property
    def authority(self) -> str:
        """The same of NSD, which validates nothing."""
        return f"127.0.0.1:{self._authority}"

    @property
    def anchor(self) -> Path:
        """A file with the key of "test.", for who validates it."""
        return self._folder / "anchor"

    def __enter__(self) -> Self:
        try:
            self._write()
            self.start_authority()
            self.start_resolver()
            wait_until(self._validates, "Unbound does not call test. authentic")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for child in reversed(self._children.values()):
            child.stop()
        self._children = {}
        self._folder.remove()

    def start_authority(self) -> None:
        """Start NSD, or start it again."""
        self._run("nsd", "-d", "-c", self._folder / "nsd.conf")

    def start_resolver(self) -> None:
        """Start Unbound, or start it again."""
        self._run("unbound", "-c", self._folder / "unbound.conf")

    def silence(self) -> None:
        """End the authority: what the resolver does not remember, it can no longer learn."""
        self._children.pop("nsd").stop()

    def validate(self, *, validating: bool) -> None:
        """Start the resolver anew, with validation or without."""
        self.stop_resolver()
        with_it, without = '"validator iterator"', '"iterator"'
        path = self._folder / "unbound.conf"
        text = path.read_text()
        path.write_text(text.replace(without, with_it) if validating else text.replace(with_it, without))
        self.start_resolver()

    def stop_resolver(self) -> None:
        """End the resolver: nobody listens any more."""
        self._children.pop("unbound").stop()

    def hang_resolver(self, *, hanging: bool) -> None:
        """Let the resolver answer nothing, or go on."""
        self._children["unbound"].hang(hanging=hanging)

    def output(self) -> str:
        """What the servers printed."""
        return "\n".join(child.output() for child in self._children.values())

    def _run(self, name: str, *arguments: str | Path) -> None:
        program = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin")
        assert program, name
        child = Child([program, *arguments], self._folder / f"{name}.out")
        self._children[name] = child
        port = self._authority if name == "nsd" else self._port
        child.wait_ready(lambda: answers(port))

    def _validates(self) -> bool:
        query = dns.message.make_query("test.", "SOA", want_dnssec=True)
        return bool(dns.query.udp(query, "127.0.0.1", 2, self._port).flags & dns.flags.AD)

    def _write(self) -> None:
        lines = [f"ns {TTL} IN A 127.0.0.1"]
        texts = {}
        for label, zone in self._zones.items():
            lines.append(f"{label} {TTL} IN NS ns.test.")
            made = sign(f"{label}.{_ROOT}", zone)
            texts[f"{label}.{_ROOT}"] = made.text()
            if made.delegation is not None:
                lines.append(f"{label} {TTL} IN DS {made.delegation}")
        top = sign(_ROOT, Zone(lines))
        texts[_ROOT] = top.text()
        anchor = f"{_ROOT}. IN DS {top.delegation}"
        if self._root:
            lines = [f"{_ROOT} {TTL} IN NS ns.{_ROOT}.", f"{_ROOT} {TTL} IN DS {top.delegation}"]
            above = sign(".", Zone(lines))
            texts["."] = above.text()
            anchor = f". IN DS {above.delegation}"
        conf = _NSD.format(folder=self._folder.path, port=self._authority)
        for name, text in texts.items():
            file = self._folder.write(f"{name.strip('.') or 'root'}.zone", text)
            conf += f'zone:\n  name: "{name}"\n  zonefile: "{file.name}"\n'
        self._folder.write("nsd.conf", conf)
        self._folder.write("anchor", f"{anchor}\n")
        self._folder.write(
            "unbound.conf",
            UNBOUND.format(
                folder=self._folder.path,
                port=self._port,
                authority=self._authority,
                explains="yes" if self._explains else "no",
                also=self._also,
            )
            + "".join(STUB.format(name=name, authority=self._authority) for name in texts if name != "."),
        )


def answers(port: int) -> bool:
    """Whether a nameserver answers there at all. False at once where nobody listens: a connected socket is told so."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.setblocking(False)
            asking.connect(("127.0.0.1", port))
            dns.query.udp(dns.message.make_query("test.", "SOA"), "127.0.0.1", 0.5, port, sock=asking)
    except (OSError, dns.exception.DNSException):
        return False
    return True
