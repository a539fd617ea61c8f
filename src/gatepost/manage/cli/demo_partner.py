"""The partner of the demonstration: Postfix where it is installed, else gatepost itself. Two ports: with TLS, without.

Every process that is started here is ended by its process id; everything is kept below one temporary directory.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import smtplib
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import tomlkit

from gatepost.pki.certificates.authority import Authority
from gatepost.testing.process import free_port, greets

PATIENCE = 120.0  # seconds in which a server must have started, on a machine that has other things to do
_TAIL = 2000  # characters of each log that an error has


def wait_for_greeting(port: int, process: subprocess.Popen[bytes], *logs: Path) -> None:
    """Return when a server greets on a port of 127.0.0.1. Raises RuntimeError as `wait_for_start`."""
    wait_for_start(f"SMTP greeting on 127.0.0.1:{port}", lambda: greets(port), process, *logs)


def wait_for_start(what: str, has_started: Callable[[], bool], process: subprocess.Popen[bytes], *logs: Path) -> None:
    """Return when a server has started. what: is waited for. logs: its own.

    Raises RuntimeError with the end of its logs if it does not start: one text where the process has ended, another
    where it runs and nothing came within `PATIENCE`.
    """
    deadline = time.monotonic() + PATIENCE
    while not has_started():
        status = process.poll()
        if status is not None or time.monotonic() > deadline:
            trouble = f"within {PATIENCE:.0f} s" if status is None else f"before its process ended with status {status}"
            raise RuntimeError(f"no {what} {trouble}" + "".join(map(_tail, logs)))
        time.sleep(0.1)


def _tail(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace")[-_TAIL:] if log.exists() else ""
    return f"\nthe end of {log}:\n{text}" if text else f"\nnothing is in {log}"


OWN_SERVER = "127.0.0.2"  # where the organization's own server sends from; partners send from 127.0.0.1

_MASTER = """\
127.0.0.1:{tls_port} inet n - n - - smtpd
127.0.0.1:{plain_port} inet n - n - - smtpd -o smtpd_tls_security_level=none
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
virtual unix - n n - - virtual
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


def as_whom() -> dict[str, str]:
    """For [server] of a demonstration that root runs: its folder is for root alone, and gone when it ends."""
    return {"user": "root"} if os.geteuid() == 0 else {}


def contoso(
    outbound: list[dict[str, object]], inbound: Sequence[dict[str, object]] = (), **more: object
) -> dict[str, object]:
    """Resources of the organization. inbound: connectors beside that of its own servers. more: of the organization."""
    own_servers = {
        "name": "own servers",
        "connector_type": "on-premises",
        "sender_ip_addresses": [OWN_SERVER],
        "associated_accepted_domains": ["contoso.example"],
    }
    organization = {
        "display_name": "Contoso Hospital",
        "accepted_domain": [{"name": "contoso.example"}],
        "inbound_connector": [own_servers, *inbound],
        "outbound_connector": outbound,
    }
    return {"organization": {"contoso": organization | more}}


def partner_connector(domain: str, port: int, **fields: str) -> dict[str, object]:
    """An outbound connector to the partner's port for one of its domains."""
    base = {"name": domain, "connector_type": "partner", "recipient_domains": [domain]}
    return base | {"smart_hosts": [f"127.0.0.1:{port}"], "use_mx_record": False} | fields


def gateway_settings(
    home: Path, hostname: str, port: int, certificate: tuple[Path, Path], server: dict[str, str] | None = None
) -> dict[str, object]:
    """Settings of a gateway with its data in a folder. server: more of that section."""
    chain, key = map(str, certificate)
    own = {"hostname": hostname, "data_dir": str(home / "data"), "workers": 1, **as_whom()}
    return {
        "server": own | (server or {}),
        "listener": [{"role": "mx", "address": f"127.0.0.1:{port}"}],
        "certificate": [{"chain": chain, "key": key}],
        "admin": {"address": f"127.0.0.1:{free_port()}"},
    }


def send_message(port: int, sender: str, recipient: str, subject: str, root: Path | None, source: str) -> None:
    """Send a message to a gateway from that address. root: of its TLS, None for none. Raises smtplib.SMTPException."""
    text = f"From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: {subject}\r\n\r\nDemonstration.\r\n"
    with smtplib.SMTP(
        "127.0.0.1", port, local_hostname="client.example", timeout=20, source_address=(source, 0)
    ) as client:
        if root is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(root)
            context.check_hostname = False  # the demonstration connects to an address
            client.starttls(context=context)
        client.sendmail(sender, [recipient], text)


def new_authority(home: Path) -> tuple[Authority, Path]:
    """The authority of a demonstration, and the file of its root."""
    root = home / "root.pem"
    authority = Authority("Demonstration Root", organization="gatepost demo")
    root.write_bytes(authority.certificate_pem)
    return authority, root


def issue(authority: Authority, home: Path, *names: str) -> tuple[Path, Path]:
    """Files of a new certificate for these names, and of its key."""
    chain, key = home / f"{names[0]}.pem", home / f"{names[0]}.key"
    chain_pem, key_pem = authority.issue(list(names))
    chain.write_bytes(chain_pem)
    key.touch(0o600)
    key.write_bytes(key_pem)
    return chain, key


class DemoPartner(Protocol):
    """A mail server of another organization."""

    kind: str

    def start(self) -> None:
        """Start and wait until both ports greet."""

    def arrived(self) -> list[Path]:
        """The messages that it has delivered, each in a file."""

    def stop(self) -> None:
        """End it."""


class Gatepost:
    """One gatepost process in a directory of its own: settings and resources in, SIGTERM at the end."""

    def __init__(self, home: Path, settings: dict[str, object], resources: dict[str, object], port: int) -> None:
        """resources: applied at the start, {} for none."""
        self.home = home
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None
        home.mkdir(parents=True)
        self.settings_file = home / "gatepost.toml"
        self.settings_file.write_text(tomlkit.dumps(settings), encoding="utf-8")
        self._resources = tomlkit.dumps(resources)

    @property
    def admin(self) -> str:
        """Host and port of its admin centre."""
        return str(tomlkit.parse(self.settings_file.read_text(encoding="utf-8"))["admin"]["address"])

    def command(self, *words: str) -> str:
        """Run a gatepost command against this gateway; its standard output. RuntimeError if it says 2 or 3."""
        argv = [sys.executable, "-m", "gatepost", "--config", str(self.settings_file), *words]
        done = subprocess.run(argv, check=False, capture_output=True, text=True)  # noqa: S603 - our own command
        if done.returncode > 1:
            raise RuntimeError(f"gatepost {' '.join(words)}: exit {done.returncode}\n{done.stderr}")
        return done.stdout

    def start(self) -> None:
        """Apply the resources, serve, and wait for the greeting."""
        if self._resources:
            file = self.home / "resources.toml"
            file.write_text(self._resources, encoding="utf-8")
            self.command("apply", "-f", str(file))
        argv = [sys.executable, "-m", "gatepost", "serve", "--config", str(self.settings_file)]
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)  # noqa: S603 - our own command
        wait_for_greeting(self.port, self._process, self.home / "log")

    def kill(self) -> None:
        """SIGKILL to all its processes at once, as if its machine had died."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """SIGTERM, ten seconds, SIGKILL."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


class _PostfixPartner:
    kind = "Postfix"

    def __init__(self, home: Path, chain: Path, key: Path, ports: tuple[int, int], domains: list[str]) -> None:
        self._home = home
        self._ports = ports
        self._process: subprocess.Popen[bytes] | None = None
        account = pwd.getpwnam("nobody")
        for name in ("etc", "queue", "data", "mail"):
            (home / name).mkdir(parents=True)
        os.chown(home / "mail", account.pw_uid, account.pw_gid)
        shutil.chown(home / "data", "postfix")
        for folder in (home.parent, home, home / "mail"):
            folder.chmod(0o755)
        master = _MASTER.format(tls_port=ports[0], plain_port=ports[1])
        (home / "etc" / "master.cf").write_text(master, encoding="utf-8")
        (home / "etc" / "main.cf").write_text(self._main(chain, key, domains, account), encoding="utf-8")
        (home / "etc" / "mailboxes").write_text("/./ catchall/\n", encoding="utf-8")

    def _main(self, chain: Path, key: Path, domains: list[str], account: pwd.struct_passwd) -> str:
        values = {
            "compatibility_level": "3.6",
            "queue_directory": self._home / "queue",
            "data_directory": self._home / "data",
            "maillog_file": self._home / "log",
            "maillog_file_prefixes": self._home,
            "myhostname": "mail.fabrikam.example",
            "mydestination": "",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "mynetworks": "127.0.0.0/8",
            "alias_maps": "",
            "local_recipient_maps": "",
            "virtual_mailbox_domains": ", ".join(domains),
            "virtual_mailbox_base": self._home / "mail",
            "virtual_mailbox_maps": f"regexp:{self._home / 'etc' / 'mailboxes'}",
            "virtual_uid_maps": f"static:{account.pw_uid}",
            "virtual_gid_maps": f"static:{account.pw_gid}",
            "smtpd_tls_security_level": "may",
            "smtpd_tls_chain_files": f"{key}, {chain}",
            "smtpd_peername_lookup": "no",
            "smtp_dns_support_level": "disabled",
        }
        return "".join(f"{name} = {value}\n" for name, value in values.items())

    def start(self) -> None:
        postfix = str(shutil.which("postfix"))
        with (self._home / "start.log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - Debian's own program
                [postfix, "-c", str(self._home / "etc"), "start-fg"], stdout=log, stderr=log, start_new_session=True
            )
        for port in self._ports:
            wait_for_greeting(port, self._process, self._home / "start.log", self._home / "log")

    def arrived(self) -> list[Path]:
        return list((self._home / "mail" / "catchall" / "new").glob("*"))

    def stop(self) -> None:
        if self._process is None:
            return
        postfix = str(shutil.which("postfix"))
        subprocess.run([postfix, "-c", str(self._home / "etc"), "stop"], check=False, capture_output=True)  # noqa: S603 - Debian's own program
        deadline = time.monotonic() + 10
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class _GatepostPartner:
    kind = "gatepost (Postfix is not installed, or this is not root, or the temporary folder's name has a space)"

    def __init__(self, home: Path, chain: Path, key: Path, ports: tuple[int, int], domains: list[str]) -> None:
        self._gateways = [
            self._gateway(home / name, port, domains, certificate)
            for name, port, certificate in (
                ("tls", ports[0], [{"chain": str(chain), "key": str(key)}]),
                ("plain", ports[1], []),
            )
        ]

    @staticmethod
    def _gateway(home: Path, port: int, domains: list[str], certificate: list[dict[str, str]]) -> Gatepost:
        settings: dict[str, object] = {
            "server": {"hostname": "mail.fabrikam.example", "data_dir": str(home / "data"), "workers": 1, **as_whom()},
            "listener": [{"role": "mx", "address": f"127.0.0.1:{port}"}],
            "certificate": certificate,
        }
        resources: dict[str, object] = {
            "organization": {
                "partner": {
                    "accepted_domain": [{"name": name} for name in domains],
                    "mailbox": [{"address": f"bob@{name}"} for name in domains],
                }
            }
        }
        return Gatepost(home, settings, resources, port)

    def start(self) -> None:
        for gateway in self._gateways:
            gateway.start()

    def arrived(self) -> list[Path]:
        return [path for gateway in self._gateways for path in gateway.home.glob("data/**/new/*")]

    def stop(self) -> None:
        for gateway in self._gateways:
            gateway.stop()


def choose_partner(home: Path, chain: Path, key: Path, ports: tuple[int, int], domains: list[str]) -> DemoPartner:
    """Postfix if it is installed and may be started, else two processes of gatepost. ports: with TLS, without."""
    names_are_words = len(str(home).split()) == 1  # Postfix's own scripts do not quote its folder
    if shutil.which("postfix") and os.geteuid() == 0 and names_are_words:
        return _PostfixPartner(home, chain, key, ports, domains)
    return _GatepostPartner(home, chain, key, ports, domains)
