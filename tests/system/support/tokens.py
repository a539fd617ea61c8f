"""A token of SoftHSM with keys, for tests of private keys that stay in one; OpenSSL makes requests with them.

SoftHSM runs in the process that uses it, and goes on signing when its files are moved away. Behind `p11-kit server` it
is in a process of its own, as an HSM is a machine of its own, and can be taken away.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from support.debian import SOFTHSM, need, p11_kit_client, p11_kit_server, pkcs11_spy

from gatepost.testing.pki import Pki
from gatepost.testing.process import Folder

PIN = "4321"
LABEL = "mx gateway"
"""Of the token; a URI writes its blank as %20."""

_CNF = """\
openssl_conf = init
[init]
providers = providers
[providers]
default = own
pkcs11 = token
[own]
activate = 1
[token]
module = {provider}
pkcs11-module-path = {module}
pkcs11-module-token-pin = file:{pin}
pkcs11-module-quirks = no-deinit
activate = 1
[req]
distinguished_name = name
[name]
"""


class Token:
    """A token with the PIN 4321, in a folder of its own. environment: what programs need to find it.

    settings: [pkcs11] of a gateway. spied: its calls of PKCS#11 are written down, see `logins`. removable: gateways
    reach it by a socket, so that `take_away` and `bring_back` can be used.
    """

    def __init__(self, *, spied: bool = False, removable: bool = False) -> None:
        need("softhsm", "pkcs11-provider", "pkcs11-tool", "openssl", *(["p11-kit"] if removable else []))
        self.folder = Folder("token")
        self.tokens = self.folder / "tokens"
        self.tokens.mkdir()
        conf = self.folder.write("softhsm2.conf", f"directories.tokendir = {self.tokens}\nlog.level = ERROR\n")
        self.pin = self.folder.write("pin", f"{PIN}\n")
        self.pin.chmod(0o600)
        self._spy = self.folder / "spy.log"
        self.environment = {"SOFTHSM2_CONF": str(conf)}
        self._socket = self.folder / "socket"
        self._server: subprocess.Popen[bytes] | None = None
        module = SOFTHSM
        if removable:
            module = str(p11_kit_client())
            self.environment["P11_KIT_SERVER_ADDRESS"] = f"unix:path={self._socket}"
        self.environment |= {"PKCS11SPY": module, "PKCS11SPY_OUTPUT": str(self._spy)} if spied else {}
        self.module = str(pkcs11_spy()) if spied else module
        self.settings = {"module": self.module, "pin": f"file:{self.pin}"}
        self._run("softhsm2-util", "--init-token", "--free", "--label", LABEL, "--so-pin", "87654321", "--pin", PIN)
        if removable:
            self.bring_back()

    def uri(self, name: str) -> str:
        """Of a key."""
        return f"pkcs11:token={LABEL.replace(' ', '%20')};object={name}"

    def make_key(self, name: str, kind: str = "EC:prime256v1") -> str:
        """A key pair that was never outside; its URI. kind: as pkcs11-tool has it, such as "rsa:2048"."""
        number = f"{len(list(self.tokens.rglob('*.object'))):02x}"
        self._run(
            *("pkcs11-tool", "--module", SOFTHSM, "--token-label", LABEL, "--login", "--pin", PIN),
            *("--keypairgen", "--key-type", kind, "--id", number, "--label", name),
        )
        return self.uri(name)

    def request(self, name: str, host: str) -> Path:
        """A request for a certificate, as docs/tokens.md makes it."""
        provider = next(self._providers())
        text = _CNF.format(provider=provider, module=SOFTHSM, pin=self.pin)
        configuration, csr = self.folder.write("openssl.cnf", text), self.folder / f"{name}.csr"
        self._run(
            *("openssl", "req", "-new", "-key", f"{self.uri(name)};type=private", "-subj", f"/CN={host}"),
            *("-addext", f"subjectAltName=DNS:{host}", "-out", str(csr)),
            OPENSSL_CONF=str(configuration),
        )
        return csr

    def certificate(self, pki: Pki, name: str, host: str, *, kind: str = "EC:prime256v1") -> Path:
        """The chain of a certificate for a fresh key in the token."""
        self.make_key(name, kind)
        return pki.sign(self.request(name, host))

    def logins(self) -> int:
        """How often a PIN was tried, of a token that is spied on."""
        return self._spy.read_text(errors="replace").count(": C_Login\n") if self._spy.exists() else 0

    def take_away(self) -> None:
        """As if it was unplugged: end the server and its connections."""
        if self._server is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait(timeout=30)
            self._server = None
            self._socket.unlink(missing_ok=True)

    def bring_back(self) -> None:
        """Plug it in again."""
        command = [str(p11_kit_server()), "--provider", SOFTHSM, "--name", str(self._socket), "-f", "pkcs11:"]
        environment = {**os.environ, **self.environment, "XDG_RUNTIME_DIR": str(self.folder.path)}
        self._server = subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while not self._socket.exists():
            assert time.monotonic() < end, "p11-kit server did not start"
            time.sleep(0.05)

    def remove(self) -> None:
        """Leave nothing behind."""
        self.take_away()
        self.folder.remove()

    @staticmethod
    def _providers() -> Iterator[Path]:
        from pathlib import Path  # noqa: PLC0415 - used for its type alone otherwise

        yield from Path("/usr/lib").glob("*/ossl-modules/pkcs11.so")

    def _run(self, *command: str, **more: str) -> None:
        environment: Mapping[str, str] = {**os.environ, **self.environment, **more}
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
