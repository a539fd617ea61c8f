"""A token of SoftHSM with keys, for tests of private keys that stay in one; OpenSSL makes requests with them."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from support.debian import SOFTHSM, need, pkcs11_spy
from support.process import Folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from support.pki import Pki

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

    settings: [pkcs11] of a gateway. spied: its calls of PKCS#11 are written down, see `logins`.
    """

    def __init__(self, *, spied: bool = False) -> None:
        need("softhsm", "pkcs11-provider", "pkcs11-tool", "openssl")
        self.folder = Folder("token")
        self.tokens = self.folder / "tokens"
        self.tokens.mkdir()
        conf = self.folder.write("softhsm2.conf", f"directories.tokendir = {self.tokens}\nlog.level = ERROR\n")
        self.pin = self.folder.write("pin", f"{PIN}\n")
        self.pin.chmod(0o600)
        self._spy = self.folder / "spy.log"
        self.environment = {"SOFTHSM2_CONF": str(conf)}
        self.environment |= {"PKCS11SPY": SOFTHSM, "PKCS11SPY_OUTPUT": str(self._spy)} if spied else {}
        self.module = str(pkcs11_spy()) if spied else SOFTHSM
        self.settings = {"module": self.module, "pin": f"file:{self.pin}"}
        self._run("softhsm2-util", "--init-token", "--free", "--label", LABEL, "--so-pin", "87654321", "--pin", PIN)

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
        """As if it was unplugged."""
        self.tokens.rename(self.folder / "away")

    def bring_back(self) -> None:
        """Plug it in again."""
        (self.folder / "away").rename(self.tokens)

    def remove(self) -> None:
        """Leave nothing behind."""
        self.folder.remove()

    @staticmethod
    def _providers() -> Iterator[Path]:
        from pathlib import Path  # noqa: PLC0415 - used for its type alone otherwise

        yield from Path("/usr/lib").glob("*/ossl-modules/pkcs11.so")

    def _run(self, *command: str, **more: str) -> None:
        environment: Mapping[str, str] = {**os.environ, **self.environment, **more}
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
