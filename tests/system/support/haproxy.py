"""HAProxy in front of a gateway: passes TCP on and says for whom, by the PROXY protocol."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from support.debian import need
from support.process import Child

from gatepost.testing.pki import Leaf
from gatepost.testing.process import Folder, free_port

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


class HaProxy:
    """Debian's HAProxy with a port for each way to pass connections on.

    ways: by name, the options of `server`, such as "send-proxy-v2". target: "HOST:PORT" of the gateway. source: the
    address from which it connects there. tls: by name, the certificate with which HAProxy itself ends TLS on that port.
    """

    def __init__(
        self, ways: Mapping[str, str], target: str, source: str, tls: Mapping[str, Leaf] | None = None
    ) -> None:
        need("haproxy")
        self.folder = Folder("haproxy")
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
        self._child: Child | None = None

    def log(self) -> str:
        """What it logged."""
        return self._child.output() if self._child else ""

    def _joined(self, name: str, leaf: Leaf) -> Path:
        file = self.folder / f"{name}.pem"
        file.write_text(leaf.chain.read_text() + leaf.key.read_text())
        return file

    def __enter__(self) -> Self:
        self._child = Child(["/usr/sbin/haproxy", "-db", "-f", self._file], self.folder / "log.txt")
        self._child.wait_ready(lambda: all(map(_listens, self.ports.values())), timeout=60)
        return self

    def __exit__(self, *_: object) -> None:
        if self._child:
            self._child.stop()
        self.folder.remove()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
