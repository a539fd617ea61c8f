"""Scanners that a gateway asks: Debian's rspamd and clamd with rules of the tests, and one that misbehaves.

Nothing of the machine's instances is read or started, nothing is downloaded: clamd knows one signature, that of the
EICAR test file. They share no code with gatepost.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from support.daemon import Daemon, listens
from support.debian import need

from gatepost.testing.process import free_port

# In two parts, so that no scanner takes this file for what it looks for.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-" + b"STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-" + b"STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

_CLAMD = """\
DatabaseDirectory {folder}/signatures
TCPSocket {port}
TCPAddr 127.0.0.1
LocalSocket {folder}/clamd.ctl
LocalSocketMode 666
Foreground yes
StreamMaxLength {limit}
{user}
"""

_RSPAMD = """\
options {{
  pidfile = "{folder}/state/pid"; tempdir = "{folder}/state"; cache_file = "{folder}/state/cache";
  hs_cache_dir = "{folder}/state"; control_socket = "{folder}/state/control mode=0600"; url_tld = "{folder}/tld";
  filters = ""; dns {{ nameserver = ["127.0.0.1:1"]; timeout = 0.1s; retransmits = 1; }}
}}
logging {{ type = "console"; level = "info"; }}
lua = "{folder}/rules.lua";
actions {{ reject = 15; rewrite_subject = 8; add_header = 6; greylist = 4; }}
worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; }}
"""

# What a word in the Subject brings; and what it always does to the header. SEEN shows what it was told.
_RULES = """\
local function subject_has(word)
  return function(task) return (task:get_header("Subject") or ""):find(word) ~= nil end
end
rspamd_config.T_GREY = { callback = subject_has("grey"), score = 4.5 }
rspamd_config.T_MARK = { callback = subject_has("marked"), score = 6.5 }
rspamd_config.T_REWRITE = { callback = subject_has("rewritten"), score = 9 }
rspamd_config.T_REFUSE = { callback = subject_has("refused"), score = 20 }
rspamd_config.T_LATER = { score = 0, callback = function(task)
  if subject_has("later")(task) then task:set_pre_result("soft reject", "come back") end
  return false
end }
rspamd_config:register_symbol({ name = "T_FIELDS", type = "idempotent", callback = function(task)
  local first = (task:get_recipients("smtp") or {})[1] or {}
  local told = { tostring(task:get_from_ip()), tostring(task:get_helo()), tostring(task:get_queue_id()),
    tostring((task:get_from("smtp") or {})[1].addr), tostring(first.addr), tostring(task:get_user()),
    tostring(task:get_request_header("MTA-Tag")), tostring(task:get_request_header("TLS-Version")),
    tostring(task:get_request_header("Settings-ID")) }
  task:set_milter_reply({
    add_headers = { ["X-Seen"] = { value = table.concat(told, " "), order = 0 },
      ["X-Size"] = tostring(task:get_size()), ["X-Several"] = { { value = "one" }, { value = "two" } } },
    remove_headers = { ["X-Forged"] = 0 },
  })
end })
"""


class Clamd(Daemon):
    """limit: octets of a message that it takes."""

    def __init__(self, *, limit: int = 8 << 20) -> None:
        need("clamd")
        super().__init__("clamd")
        self.port = free_port()
        self.folder.write("signatures/eicar.ndb", f"Eicar-Signature:0:*:{EICAR.hex()}\n")
        user = "User clamav" if os.geteuid() == 0 else ""
        if user:
            shutil.chown(self.folder.path, "clamav", "clamav")
        text = _CLAMD.format(folder=self.folder.path, port=self.port, limit=limit, user=user)
        self._configuration = self.folder.write("clamd.conf", text)

    @property
    def socket(self) -> str:
        """Its LocalSocket as a hook's address."""
        return f"unix:{self.folder / 'clamd.ctl'}"

    @property
    def address(self) -> str:
        """Its TCPSocket."""
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str | Path]:
        return ["/usr/sbin/clamd", "-c", self._configuration]

    def is_ready(self) -> bool:
        return listens(self.port)


class Rspamd(Daemon):
    """Its normal worker, without redis, DNS and rules of its own."""

    def __init__(self) -> None:
        need("rspamd")
        super().__init__("rspamd")
        self.port = free_port()
        self.folder.write("rules.lua", _RULES)
        self.folder.write("tld", "com\nexample\n")
        self.folder.write("state/.keep", "")
        text = _RSPAMD.format(folder=self.folder.path, port=self.port)
        self._configuration = self.folder.write("rspamd.conf", text)

    @property
    def address(self) -> str:
        """As a hook has it."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str | Path]:
        account = []
        if os.geteuid() == 0:
            account = ["-u", "_rspamd", "-g", "_rspamd"]
            self.folder.owned("state", "_rspamd")
        return ["/usr/bin/rspamd", "-f", *account, "-c", self._configuration]

    def is_ready(self) -> bool:
        return listens(self.port)


class Misbehaving:
    """A scanner that takes connections and does with each what `behave(connection)` does, in a thread of its own.

    connections: how many came.
    """

    def __init__(self, behave: Callable[[socket.socket], None]) -> None:
        self.behave = behave
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._behave, args=(connection,), daemon=True).start()

    def _behave(self, connection: socket.socket) -> None:
        with suppress(OSError):
            self.behave(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()
        self._thread.join(5)


def silent(connection: socket.socket) -> None:
    """Reads everything, never answers."""
    while connection.recv(65536):
        pass


def deaf(_connection: socket.socket) -> None:
    """Takes the connection, reads nothing, never answers."""
    threading.Event().wait(120)


def dying(connection: socket.socket) -> None:
    """Resets the connection in the middle of the message."""
    connection.recv(100)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def answering(answer: bytes) -> Callable[[socket.socket], None]:
    """Reads until there is nothing more for a moment, says that, and ends."""

    def behave(connection: socket.socket) -> None:
        connection.settimeout(0.2)
        with suppress(TimeoutError):
            while connection.recv(65536):
                pass
        connection.settimeout(30)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):  # what was not read at the end would take the answer away again
            pass

    return behave


def http(body: bytes, status: str = "200 OK", fields: str = "") -> Callable[[socket.socket], None]:
    """Answers a request with that."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{fields}\r\n"
    return answering(head.encode() + body)
