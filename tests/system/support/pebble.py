"""An ACME authority on loopback: Pebble, which Let's Encrypt makes for tests, and the DNS that it asks.

Every name leads to 127.0.0.1 there unless told otherwise; TXT records are set over its DNS server's own HTTP address.
"""

from __future__ import annotations

import json
import os
import ssl
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from support.debian import need
from support.process import Child

from gatepost.testing.pki import Pki
from gatepost.testing.process import Folder, free_port

HOOK = """\
#!/usr/bin/python3
# Publishes TXT records at pebble-challtestsrv, and writes down how it was called.
import json, sys, urllib.request
address, calls, action, name, value = sys.argv[1:]
with open(calls, "a") as file:
    file.write(f"{action} {name} {value}\\n")
where = "set-txt" if action == "present" else "clear-txt"
body = json.dumps({"host": name + ".", "value": value}).encode()
urllib.request.urlopen(f"http://{address}/{where}", body, timeout=10).read()
"""


def context_of(anchors: Path) -> ssl.SSLContext:
    """What trusts these roots alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(anchors)
    return context


class Pebble:
    """pki: its HTTPS certificate is of this one. validity: seconds for which its certificates are.

    environment: as Pebble's README has it; one in twenty nonces is refused unless it says otherwise. customers: who
    alone may have accounts, the MAC key in base64url by key identifier; None for everybody. url: its directory.
    http_port: where it looks for tokens.
    """

    def __init__(
        self,
        pki: Pki,
        *,
        validity: int = 90 * 86400,
        environment: Mapping[str, str] | None = None,
        customers: Mapping[str, str] | None = None,
    ) -> None:
        need("pebble")
        self.folder = Folder("pebble")
        self.anchors = pki.root
        self.port, self.management, self.http_port, self._tls_port, self.dns_port, self._dns_api = (
            free_port() for _ in range(6)
        )
        leaf = pki.leaf("localhost", names=("localhost", "127.0.0.1"))
        self._config = self.folder.write(
            "pebble.json",
            json.dumps(
                {
                    "pebble": {
                        "listenAddress": f"127.0.0.1:{self.port}",
                        "managementListenAddress": f"127.0.0.1:{self.management}",
                        "certificate": str(leaf.chain),
                        "privateKey": str(leaf.key),
                        "httpPort": self.http_port,
                        "tlsPort": self._tls_port,
                        "retryAfter": {"authz": 1, "order": 1},
                        "certificateValidityPeriod": validity,
                        "externalAccountBindingRequired": customers is not None,
                        "externalAccountMACKeys": dict(customers or {}),
                    }
                }
            ),
        )
        self._environment = {
            **os.environ,
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_WFE_NONCEREJECT": "5",
            "PEBBLE_AUTHZREUSE": "0",
            **(environment or {}),
        }
        self._dns: Child | None = None
        self._child: Child | None = None
        self.calls = self.folder / "hook.txt"

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/dir"

    @property
    def hook(self) -> list[str]:
        """The command that publishes TXT records."""
        script = self.folder.write("hook.py", HOOK, 0o755)
        return [str(script), f"127.0.0.1:{self._dns_api}", str(self.calls)]

    def settings(self, **more: Any) -> dict[str, Any]:
        """The table [acme] for a gateway."""
        return {
            "directory_url": self.url,
            "agree_tos": True,
            "trust_anchors": str(self.anchors),
            "http_address": f"127.0.0.1:{self.http_port}",
            **more,
        }

    def start(self) -> Self:
        """Whoever had an account before has none any more, and other keys issue."""
        self._child = Child(
            ["pebble", "-config", self._config, "-dnsserver", f"127.0.0.1:{self.dns_port}"],
            self.folder / "pebble.txt",
            self._environment,
        )
        self._child.wait_ready(self._answers)
        return self

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop(grace=3)

    def hang(self, *, hanging: bool) -> None:
        """Answer nothing, or go on with what it knows."""
        if self._child is not None:
            self._child.hang(hanging=hanging)

    def set_dns(self, what: str, **body: Any) -> None:
        """Tell pebble-challtestsrv: set_dns("set-servfail", host="a.example.")."""
        address = f"http://127.0.0.1:{self._dns_api}/{what}"
        urllib.request.urlopen(address, json.dumps(body).encode(), timeout=10).read()

    def manage(self, path: str, body: bytes | None = None) -> bytes:
        """Ask its management address."""
        return self._get(f"https://127.0.0.1:{self.management}{path}", body)

    def root(self) -> Path:
        """The root that issues."""
        return self.folder.write("issuing.pem", self.manage("/roots/0").decode())

    def log(self) -> str:
        return self._child.output() if self._child else ""

    def __enter__(self) -> Self:
        try:
            self._dns = Child(
                [
                    "pebble-challtestsrv",
                    *("-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""),
                    *("-management", f"127.0.0.1:{self._dns_api}", "-dns01", f"127.0.0.1:{self.dns_port}"),
                    *("-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", ""),
                ],
                self.folder / "dns.txt",
            )
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        for child in (self._child, self._dns):
            if child is not None:
                child.stop(grace=3)
        self.folder.remove()

    def _get(self, url: str, body: bytes | None = None) -> bytes:
        content: bytes = urllib.request.urlopen(url, body, timeout=10, context=context_of(self.anchors)).read()  # noqa: S310 - ours
        return content

    def _answers(self) -> bool:
        with suppress(OSError):
            return bool(self._get(self.url))
        return False
