"""Debian's rspamd with its modules for SPF, DKIM, DMARC and ARC: it verifies, seals, and says what it found."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from typing import Any

from support.scanners import Rspamd

_CONFIGURATION = """\
options {{
  pidfile = "{folder}/state/pid"; tempdir = "{folder}/state"; cache_file = "{folder}/state/cache";
  hs_cache_dir = "{folder}/state"; control_socket = "{folder}/state/control mode=0600"; url_tld = "{folder}/tld";
  local_addrs = []; filters = "dkim,spf"; dns {{ nameserver = ["{nameserver}"]; timeout = 2s; retransmits = 2; }}
}}
logging {{ type = "console"; level = "info"; }}
modules {{ path = "/usr/share/rspamd/plugins/arc.lua"; path = "/usr/share/rspamd/plugins/dmarc.lua";
  path = "/usr/share/rspamd/plugins/spf.lua"; path = "/usr/share/rspamd/plugins/milter_headers.lua"; }}
spf {{ check_local = true; }}
dkim {{ check_local = true; }}
dmarc {{ check_local = true; }}
arc {{ sign_authenticated = true; allow_username_mismatch = true; allow_hdrfrom_mismatch = true; use_esld = false;
  domain {{ {domain} {{ path = "{folder}/state/key.pem"; selector = "{selector}"; }} }} }}
milter_headers {{ use = ["authentication-results"]; skip_local = false; }}
worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; }}
"""


class AuthenticatingRspamd(Rspamd):
    """nameserver: "127.0.0.1:PORT". It seals mail of a user in `domain`, with the key of `selector` there."""

    def __init__(self, nameserver: str, domain: str, selector: str, pem: bytes) -> None:
        super().__init__()
        values = {"nameserver": nameserver, "domain": domain, "selector": selector}
        self.folder.write("tld", "test\nexample\n")
        self.folder.write("state/key.pem", pem.decode())
        self.folder.write("rspamd.conf", _CONFIGURATION.format(folder=self.folder.path, port=self.port, **values))

    def judged(self, content: bytes, **fields: str) -> Mapping[str, Any]:
        """Its answer about a message. fields: of the request, such as IP, Helo, From and User."""
        request = urllib.request.Request(f"{self.address}/checkv2", content, fields)  # noqa: S310 - http on loopback
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - as above
            answer: Mapping[str, Any] = json.load(response)
        return answer

    def sealed(self, content: bytes, **fields: str) -> bytes:
        """The message with a set of its own before it."""
        added = self.judged(content, **fields)["milter"]["add_headers"]
        lines = []
        for name in ("ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"):
            value = added[name]["value"].replace("\r\n", "\n").replace("\n", "\r\n")
            lines.append(f"{name}: {value}\r\n".encode())
        return b"".join(lines) + content
