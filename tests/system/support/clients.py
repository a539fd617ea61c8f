"""Other people's SMTP and TLS clients: swaks and `openssl s_client`."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gatepost.testing.pki import Leaf

_PERIOD = 900.0  # seconds, of session tickets; each begins at a multiple of it


@dataclass(frozen=True, slots=True)
class Run:
    """What a client did: its exit status and everything it printed."""

    status: int
    transcript: str

    @property
    def ok(self) -> bool:
        return self.status == 0

    def found(self, pattern: str) -> str:
        """The first group of the first match in the transcript, "" if there is none."""
        match = re.search(pattern, self.transcript, re.MULTILINE)
        return match[1] if match else ""


@dataclass(frozen=True, slots=True)
class SwaksRun(Run):
    """The transcript in swaks's form: "<-" and "<~" (TLS) before what the server said, "<**" before refusals."""

    @property
    def replies(self) -> list[str]:
        """All lines of the server, in order."""
        return re.findall(r"^ ?<(?:-|~|\*\*|~\*) {1,2}(.*)$", self.transcript, re.MULTILINE)


def swaks(
    port: int,
    *,
    to: str | Sequence[str],
    sender: str = "alice@contoso.example",
    message: bytes | None = None,
    tls: str = "no",
    anchors: Path | None = None,
    name: str = "",
    certificate: Leaf | None = None,
    options: Sequence[str] = (),
    timeout: float = 60,
) -> SwaksRun:
    """Send one message with swaks to 127.0.0.1:port.

    message: whole, lines ending in CRLF or LF (None: swaks's own). tls: "no", "require", "try" (STARTTLS) or "wrapper".
    anchors: verify the server's chain against them, name: and its name. certificate: of the client. options: as on
    swaks's command line.
    """
    flags = {"no": [], "require": ["--tls"], "try": ["--tls-optional"], "wrapper": ["--tls-on-connect"]}[tls]
    if anchors:
        flags += ["--tls-verify-ca", "--tls-ca-path", str(anchors)]
    if name:
        flags += ["--tls-verify-host", "--tls-verify-target", name, "--tls-sni", name]
    if certificate:
        flags += ["--tls-cert", str(certificate.chain), "--tls-key", str(certificate.key)]
    recipients = to if isinstance(to, str) else ",".join(to)
    command = ["swaks", "--server", "127.0.0.1", "--port", str(port), "--from", sender, "--to", recipients, *flags]
    with tempfile.NamedTemporaryFile(suffix=".eml") as file:
        if message is not None:
            file.write(message.replace(b"\r\n", b"\n").removesuffix(b"\n"))  # swaks ends the last line itself
            file.flush()
            command += ["--data", f"@{file.name}"]
        done = _run([*command, "--helo", "client.example", *options], b"", timeout)
    return SwaksRun(done.status, done.transcript)


@dataclass(frozen=True, slots=True)
class TlsRun(Run):
    """What `openssl s_client` found; the properties read its summary, "" where it says nothing."""

    @property
    def version(self) -> str:
        return self.found(r"^(?:New, |\s*Protocol\s*:\s*)(TLSv[\d.]+)")

    @property
    def cipher(self) -> str:
        return self.found(r"Cipher is (\S+)")

    @property
    def group(self) -> str:
        return self.found(r"^Negotiated TLS1\.3 group: (\S+)") or self.found(r"^(?:Peer|Server) Temp Key: ([^,\n]+)")

    @property
    def signature(self) -> str:
        """The scheme of the peer's handshake signature, in OpenSSL's words."""
        return self.found(r"^Peer signature type: (\S+)")

    @property
    def subject(self) -> str:
        return self.found(r"^subject=(.*)$")

    @property
    def verified(self) -> bool:
        return self.found(r"Verif(?:y return code|ication): ?(0 \(ok\)|OK)") != ""

    @property
    def reused(self) -> bool:
        return "Reused, TLS" in self.transcript


def whole_period(seconds: float = 30.0) -> None:
    """Return when no period of a gateway's session tickets ends within so many seconds: in the next they are nothing.

    The first connection of a session that is to be resumed comes after it.
    """
    left = _PERIOD - time.time() % _PERIOD
    if left < seconds:
        time.sleep(left)


def openssl_s_client(
    port: int,
    *,
    anchors: Path | None = None,
    server_name: str = "",
    certificate: Leaf | None = None,
    starttls: bool = True,
    send: bytes = b"QUIT\r\n",
    options: Sequence[str] = (),
    timeout: float = 60,
) -> TlsRun:
    """Shake hands with 127.0.0.1:port, send `send` inside TLS, read until the server closes (so end with QUIT).

    server_name: SNI ("": none sent). options: as on s_client's command line ("-tls1_2", "-groups", "X25519", …).
    """
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-ign_eof"]
    command += ["-starttls", "smtp", "-name", "client.example"] if starttls else []
    command += ["-servername", server_name] if server_name else ["-noservername"]
    command += ["-CAfile", str(anchors)] if anchors else []
    if certificate:
        chain = ["-cert_chain", str(certificate.chain)]
        command += ["-cert", str(certificate.certificate), "-key", str(certificate.key), *chain]
    done = _run([*command, *options], send, timeout)
    return TlsRun(done.status, done.transcript)


def _run(command: Sequence[str], data: bytes, timeout: float) -> Run:
    done = subprocess.run(
        command,
        input=data,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        check=False,
    )
    return Run(done.returncode, done.stdout.decode("utf-8", "replace"))
