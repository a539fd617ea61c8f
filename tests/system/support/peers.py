"""Real mail servers as peers: Postfix (relays or receives) and Exim (receives), each with all it has in its own folder.

Several run side by side, each on its own port, or on port 25 of its own loopback address (host="127.0.0.2", port=25)
for deliveries by MX. Nothing of the machine's own mail system is read, changed or started.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from support.daemon import Daemon
from support.debian import exim_program, need

from gatepost.testing.mail import Mail, read_maildir
from gatepost.testing.pki import Leaf
from gatepost.testing.process import FixtureError, free_port, greets, wait_until

MAX_MESSAGE = 100 * 1024 * 1024

_MASTER = """\
{host}:{port} inet n - n - 200 smtpd
pickup    unix n - n 60 1 pickup
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
tlsmgr    unix - - n 1000? 1 tlsmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp      unix - - n - - smtp
relay     unix - - n - - smtp
tlsproxy  unix - - n - 0 tlsproxy
showq     unix n - n - - showq
error     unix - - n - - error
retry     unix - - n - - error
discard   unix - - n - - discard
virtual   unix - n n - - virtual
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""

_QUEUES = ["active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace"]

# No address of the machine is looked up, no header is touched, nothing is limited but the size of a message.
_COMMON = {
    "compatibility_level": "3.6",
    "maillog_file": "/dev/stdout",
    "inet_protocols": "ipv4",
    "mydestination": "",
    "mynetworks": "127.0.0.0/8",
    "alias_maps": "",
    "alias_database": "",
    "local_recipient_maps": "",
    "biff": "no",
    "append_dot_mydomain": "no",
    "smtpd_peername_lookup": "no",
    "smtp_dns_support_level": "disabled",
    "smtp_host_lookup": "native",
    "local_header_rewrite_clients": "",
    "disable_mime_output_conversion": "yes",
    "message_size_limit": str(MAX_MESSAGE),
    "mailbox_size_limit": "0",
    "smtpd_client_connection_count_limit": "0",
    "smtpd_recipient_limit": "10000",
    "smtp_destination_recipient_limit": "1000",
    "in_flow_delay": "0",
    "smtpd_tls_received_header": "yes",
    "smtpd_tls_loglevel": "1",
    "smtp_tls_loglevel": "1",
    "smtp_connect_timeout": "5s",
    "queue_run_delay": "2s",
    "minimal_backoff_time": "2s",
    "maximal_backoff_time": "4s",
}


class _Server(Daemon):
    """What both servers share: a port, and the Maildir that all accepted mail ends in."""

    def __init__(self, purpose: str, hostname: str, host: str, port: int | None) -> None:
        self.hostname = hostname
        self.host = host
        self.port = port or free_port()
        super().__init__(purpose)
        self.mailbox = self.folder / "mail/all"

    @property
    def address(self) -> str:
        """ "HOST:PORT", as a smart host is written."""
        return f"{self.host}:{self.port}"

    def is_ready(self) -> bool:
        return greets(self.port, self.host)

    def mails(self) -> list[Mail]:
        """What was delivered so far."""
        return read_maildir(self.mailbox)

    def wait_mails(self, count: int, *, timeout: float = 60.0) -> list[Mail]:
        """What was delivered, once there are `count` messages; FixtureError with the log if they do not come."""
        try:
            wait_until(lambda: self._count() >= count, f"{count} messages", timeout=timeout)
        except FixtureError as late:
            raise FixtureError(f"{late}, {self._count()} came\n{self.log()}") from late
        return self.mails()

    def _count(self) -> int:
        return len(list((self.mailbox / "new").glob("*")))


class Postfix(_Server):
    """Debian's Postfix with its own configuration, queue and data folders.

    Receiver (no next_hop): takes mail for every domain into one Maildir, `mails()`, as an unprivileged account.
    Relay (next_hop = (host, port)): sends all mail on, with TLS as `tls` says (smtp_tls_security_level: "none", "may",
    "encrypt", "verify", "secure"), trusting `anchors`, matching the names `match`, showing `client_certificate`.
    As a server it shows `certificates` ((): no STARTTLS). client_anchors: ask for client certificates, judged by it.
    settings: any main.cf parameter, over all others.
    """

    def __init__(
        self,
        *,
        hostname: str = "mx.partner.example",
        host: str = "127.0.0.1",
        port: int | None = None,
        certificates: Sequence[Leaf] = (),
        client_anchors: Path | None = None,
        next_hop: tuple[str, int] | None = None,
        tls: str = "none",
        anchors: Path | None = None,
        match: Sequence[str] = (),
        client_certificate: Leaf | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        need("root", "postfix")
        super().__init__("postfix", hostname, host, port)
        values = _COMMON | {
            "myhostname": hostname,
            "inet_interfaces": "127.0.0.1",  # Postfix must find it on an interface; master.cf binds host
            **self._folders(),
            **self._serve_tls(certificates, client_anchors),
        }
        values |= self._receive() if next_hop is None else {"relayhost": f"[{next_hop[0]}]:{next_hop[1]}"}
        values |= self._send_tls(tls, anchors, match, client_certificate)
        values |= settings or {}
        main = self.folder.write("etc/main.cf", "".join(f"{name} = {value}\n" for name, value in values.items()))
        os.utime(
            main, (0, 0)
        )  # Postfix reads a file younger than a second again and again, lest it is still being written
        self.folder.write("etc/master.cf", _MASTER.format(host=host, port=self.port))

    def command(self) -> list[str | Path]:
        # The master itself, in the foreground: `postfix start-fg` would keep a shell between us and the master, spend
        # seconds on copies for a chroot nobody uses, and leave the master behind when the shell is told to end.
        return ["/usr/lib/postfix/sbin/master", "-c", self.folder / "etc", "-s"]

    def start(self) -> Self:
        try:
            return super().start()
        except FixtureError as failure:
            # The master cannot log before its logger runs; the postfix command says the same on its standard error.
            command = ["/usr/sbin/postfix", "-c", str(self.folder / "etc"), "status"]
            said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stderr
            raise FixtureError(f"{failure}{said}") from failure

    def queue(self) -> list[dict[str, Any]]:
        """Messages that wait, as `postqueue -j` tells: queue_id, queue_name, sender, recipients with delay_reason."""
        listed = subprocess.run(
            ["/usr/sbin/postqueue", "-c", self.folder / "etc", "-j"],
            capture_output=True,
            check=True,
            timeout=60,
        )
        return [json.loads(line) for line in listed.stdout.splitlines()]

    def flush(self) -> None:
        """Try everything that waits now."""
        subprocess.run(["/usr/sbin/postqueue", "-c", self.folder / "etc", "-f"], check=True, timeout=60)

    def _folders(self) -> dict[str, str]:
        self.folder.owned("data", "postfix", 0o700)
        for name in ("queue", "queue/pid", "queue/tls"):
            self.folder.owned(name, "root")
        for name in _QUEUES:
            self.folder.owned(f"queue/{name}", "postfix", 0o700)
        for name, mode in (("maildrop", 0o730), ("public", 0o710)):
            shutil.chown(self.folder.owned(f"queue/{name}", "postfix", mode), group="postdrop")
        return {"queue_directory": str(self.folder / "queue"), "data_directory": str(self.folder / "data")}

    def _serve_tls(self, certificates: Sequence[Leaf], client_anchors: Path | None) -> dict[str, str]:
        if not certificates:
            return {"smtpd_tls_security_level": "none"}
        values = {"smtpd_tls_security_level": "may", **self._chain_files("smtpd", *certificates)}
        if client_anchors:
            values |= {"smtpd_tls_ask_ccert": "yes", "smtpd_tls_CAfile": str(client_anchors)}
        return values

    def _send_tls(
        self, level: str, anchors: Path | None, match: Sequence[str], certificate: Leaf | None
    ) -> dict[str, str]:
        values = {"smtp_tls_security_level": level, "smtp_tls_CAfile": str(anchors) if anchors else ""}
        if match:
            values |= {f"smtp_tls_{kind}_cert_match": ", ".join(match) for kind in ("verify", "secure")}
        if certificate:
            values |= self._chain_files("smtp", certificate)
        return values

    def _chain_files(self, program: str, *leaves: Leaf) -> dict[str, str]:
        """By links below queue_directory, where Postfix works: a list of its settings has no name with a blank."""
        links = {}
        for number, file in enumerate(file for leaf in leaves for file in (leaf.key, leaf.chain)):
            links[f"tls/{program}-{number}.pem"] = file
        for name, file in links.items():
            (self.folder / "queue" / name).symlink_to(file)
        return {f"{program}_tls_chain_files": ", ".join(links)}

    def _receive(self) -> dict[str, str]:
        account = pwd.getpwnam("nobody")
        base = self.folder.owned("mail", "root")
        shutil.chown(base, account.pw_uid, account.pw_gid)
        return {
            "virtual_mailbox_domains": "static:all",
            "virtual_mailbox_base": str(base),
            "virtual_mailbox_maps": "static:all/",
            "virtual_mailbox_limit": "0",
            "virtual_minimum_uid": "1",
            "virtual_uid_maps": f"static:{account.pw_uid}",
            "virtual_gid_maps": f"static:{account.pw_gid}",
        }


_EXIM = """\
primary_hostname = {hostname}
exim_path = {program}
spool_directory = {folder}/spool
log_file_path = {folder}/spool/log/%slog
pid_file_path = {folder}/spool/exim.pid
daemon_smtp_ports = {port}
local_interfaces = {host}
disable_ipv6 = true
deliver_drop_privilege = true
keep_environment =
host_lookup =
rfc1413_query_timeout = 0s
message_size_limit = {size}
smtp_accept_max = 100
smtputf8_advertise_hosts = *
dsn_advertise_hosts = *
log_selector = +tls_cipher +tls_certificate_verified +tls_peerdn
{tls}
acl_smtp_mail = accept
acl_smtp_rcpt = accept
acl_smtp_data = accept
begin routers
all:
  driver = accept
  transport = mailbox
begin transports
mailbox:
  driver = appendfile
  maildir_format
  directory = {folder}/mail/all
  user = {account}
  create_directory
  delivery_date_add
  envelope_to_add
  return_path_add
begin retry
* * F,1h,5s
"""


class Exim(_Server):
    """Debian's Exim, unpacked by scripts/install_peers.sh: takes mail for every domain and keeps it in one Maildir.

    It shows `certificate` (None: no STARTTLS); settings: further lines for the main section.
    """

    _ACCOUNT = "Debian-exim"

    def __init__(
        self,
        *,
        hostname: str = "exim.partner.example",
        host: str = "127.0.0.1",
        port: int | None = None,
        certificate: Leaf | None = None,
        settings: Sequence[str] = (),
    ) -> None:
        need("root", "exim")
        super().__init__("exim", hostname, host, port)
        program = exim_program()
        assert program is not None, "needed above"
        self._program = program
        for name in ("spool", "spool/log", "mail"):
            self.folder.owned(name, self._ACCOUNT)
        tls = "tls_advertise_hosts ="
        if certificate:
            key, chain = self._readable(certificate.key), self._readable(certificate.chain)
            tls = f"tls_advertise_hosts = *\ntls_certificate = {chain}\ntls_privatekey = {key}"
        text = _EXIM.format(
            hostname=hostname,
            program=program,
            folder=self.folder.path,
            host=host,
            port=self.port,
            size=MAX_MESSAGE,
            tls="\n".join([tls, *settings]),
            account=self._ACCOUNT,
        )
        self._settings = self.folder.write("exim.conf", text)

    def command(self) -> list[str | Path]:
        return [self._program, "-C", self._settings, "-bdf", "-q5s"]

    def log(self) -> str:
        files = [self.folder / "spool/log/mainlog", self.folder / "spool/log/paniclog"]
        return super().log() + "".join(path.read_text(errors="replace") for path in files if path.exists())

    def _readable(self, path: Path) -> Path:
        """A copy that Exim's own account may read: it opens certificates after it has dropped root."""
        copy = self.folder.write(f"keys/{path.name}", path.read_text(), 0o600)
        shutil.chown(copy, self._ACCOUNT, self._ACCOUNT)
        return copy
