"""HAProxy in front of a gateway: passes TCP on and says for whom, by the PROXY protocol."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from support.daemon import Daemon, listens
from support.debian import need

from gatepost.testing.pki import Leaf
from gatepost.testing.process import free_port

_CONFIGURATION = """\
global
    maxconn 200
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    log stdout format raw local0
"""
_PROXY = """\
listen {name}
    bind 127.0.0.1:{port}{bind}
    {check}
    server gateway {target} source {source} {options}
"""


class HaProxy(Daemon):
    """Debian's HAProxy with a port for each way to pass connections on.

    ways: by name, the options of `server`, such as "send-proxy-v2". target: "HOST:PORT" of the gateway. source: the
    address from which it connects there. tls: by name, the certificate with which HAProxy itself ends TLS on that port.
    """

    def __init__(
        self, ways: Mapping[str, str], target: str, source: str, tls: Mapping[str, Leaf] | None = None
    ) -> None:
        need("haproxy")
        super().__init__("haproxy")
        self.ports = {name: free_port() for name in ways}
        parts = [_CONFIGURATION]
        for name, options in ways.items():
            bind = f" ssl crt {self._joined(name, tls[name])}" if tls and name in tls else ""
            check = "option smtpchk EHLO haproxy.example" if "check" in options.split() else ""
            parts.append(
                _PROXY.format(
                    name=name,
                    port=self.ports[name],
                    bind=bind,
                    check=check,
                    target=target,
                    source=source,
                    options=options,
                )
            )
        self._file = self.folder / "haproxy.cfg"
        self._file.write_text("".join(parts))

    def _joined(self, name: str, leaf: Leaf) -> Path:
        file = self.folder / f"{name}.pem"
        file.write_text(leaf.chain.read_text() + leaf.key.read_text())
        return file

    def command(self) -> list[str | Path]:
        return ["/usr/sbin/haproxy", "-db", "-f", self._file]

    def is_ready(self) -> bool:
        return all(map(listens, self.ports.values()))
