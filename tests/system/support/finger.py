"""posttls-finger and a sending Postfix: what another implementation of RFC 7672 makes of a domain.

Their resolver is the C library's, which knows /etc/resolv.conf and port 53 only: they run in a mount namespace of their
own, in which that file names the resolver of the test. The machine's own file stays as it is.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import pytest
from support.debian import MARK, need
from support.peers import Postfix

from gatepost.testing.process import Folder

_MAIN = "compatibility_level = 3.6\ninet_protocols = ipv4\nmaillog_file = /dev/stdout\ndnssec_probe = soa:test\n"
_RESOLVING = "nameserver {}\noptions edns0 trust-ad timeout:1 attempts:1\n"
_TRIES = 3
# The first that is said decides.
_SAID: Mapping[str, str] = {
    "failed": r"lookup (error|failed)",
    "verified": r"^Verified TLS connection established",
    "refused": r"(?s)(?<=DNSSEC-signed TLSA record: ).*verification failed for .*(num=|has expired)",
    "encrypted": r"^(Trusted|Untrusted|Anonymous) TLS connection established",
    "required": r"TLSA (record: |certificate usage)",
    "clear": r"^< 221",
}


def _with_resolver(resolving: Path, command: str) -> list[str | Path]:
    """A shell command in a mount namespace in which this is /etc/resolv.conf."""
    return ["unshare", "--mount", "sh", "-c", f"mount --bind {resolving} /etc/resolv.conf && {command}"]


class Finger:
    """resolver: an address on whose port 53 a validating one answers; "" if there is none, and nothing to be had."""

    def __init__(self, resolver: str) -> None:
        need("root", "postfix")
        if not resolver:
            pytest.skip(f"{MARK}: port 53 of a loopback address for posttls-finger: something listens on all of them")
        self._folder = Folder("finger")
        self._folder.write("main.cf", _MAIN)
        self._resolving = self._folder.write("resolv.conf", _RESOLVING.format(resolver))
        done = self._inside("grep -q '^options edns0 trust-ad' /etc/resolv.conf")
        if done.returncode != 0:
            self._folder.remove()
            pytest.skip(f"{MARK}: a mount namespace of its own for posttls-finger: {done.stdout}{done.stderr}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.remove()

    def look(self, domain: str) -> tuple[str, str]:
        """What it makes of the first MX host of a domain, and all it said.

        "verified" by a TLSA record, "refused" because none was satisfied, "encrypted" with any certificate, "clear"
        (no STARTTLS), "required" (no STARTTLS, and there are TLSA records), or "failed" to look something up, thrice:
        it cannot be told from a resolver that stood still for some seconds.
        """
        word = text = ""
        for _ in range(_TRIES):
            done = self._inside(f'exec posttls-finger -t 5 -T 5 -l dane -L routine,certmatch,verbose "{domain}"')
            text = (done.stdout + done.stderr).replace("posttls-finger: ", "")
            word = next((word for word, said in _SAID.items() if re.search(said, text, re.MULTILINE)), "")
            if word != "failed":
                break
        return word, text

    def _inside(self, command: str) -> subprocess.CompletedProcess[str]:
        path = f"export PATH=/usr/sbin:/usr/bin:/sbin:/bin MAIL_CONFIG={self._folder.path}"
        words = _with_resolver(self._resolving, f"{path} && {command}")
        return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)


class Sender(Postfix):
    """A whole Postfix in such a namespace, that sends to every domain by MX and obeys DANE."""

    def __init__(self, resolver: str) -> None:
        super().__init__(
            settings={
                "virtual_mailbox_domains": "",
                "smtp_host_lookup": "dns",
                "smtp_dns_support_level": "dnssec",
                "smtp_tls_security_level": "dane",
                "dnssec_probe": "soa:test",
            }
        )
        self._resolving = self.folder.write("resolv.conf", _RESOLVING.format(resolver))

    def command(self) -> list[str | Path]:
        return _with_resolver(self._resolving, "exec " + shlex.join(map(str, super().command())))

    def fate(self, recipient: str) -> str:
        """ "sent" or "deferred", and why, of a message that it took; "" if it did not come to an end yet."""
        found = re.search(rf"to=<{re.escape(recipient)}>, .* status=(\w+ .*)", self.log())
        return found[1] if found else ""
