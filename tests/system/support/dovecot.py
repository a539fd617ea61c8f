"""Dovecot as the mailboxes behind a gateway: takes mail over LMTP, by TCP and by a socket, and shows it over IMAP.

Debian's own, with a configuration of the tests; nothing of the machine's instance is read or started. It shares no code
with gatepost.
"""

from __future__ import annotations

import imaplib
import pwd
import shutil
from collections.abc import Sequence
from pathlib import Path

from support.daemon import Daemon
from support.debian import need

from gatepost.testing.mail import Mail
from gatepost.testing.pki import Leaf
from gatepost.testing.process import FixtureError, free_port, greets, wait_until

_PASSWORD = "of the tests"

_CONFIGURATION = """\
dovecot_config_version = 2.4.1
dovecot_storage_version = 2.4.1
base_dir = {folder}/run
state_dir = {folder}/state
log_path = /dev/stderr
listen = 127.0.0.1
protocols = imap lmtp
auth_mechanisms = plain
auth_allow_cleartext = yes
recipient_delimiter = +
{ssl}
mail_driver = maildir
mail_path = ~/Maildir
passdb passwd-file {{
  passwd_file_path = {folder}/users
}}
userdb passwd-file {{
  passwd_file_path = {folder}/users
}}
protocol lmtp {{
  lmtp_save_to_detail_mailbox = yes
  lda_mailbox_autocreate = yes
}}
service imap-login {{
  inet_listener imap {{
    port = {imap_port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service lmtp {{
  unix_listener {folder}/lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    port = {port}
  }}
}}
{more}
"""


class Dovecot(Daemon):
    """users: addresses of the mailboxes it has. certificate: what LMTP shows at STARTTLS; None offers none.

    more: of its configuration, from its next start on.
    """

    def __init__(self, users: Sequence[str], *, certificate: Leaf | None = None, more: str = "") -> None:
        need("root", "dovecot", "dovecot-lmtp")
        self.port = free_port()
        super().__init__("dovecot")
        self._imap_port = free_port()
        account = pwd.getpwnam("nobody")
        homes = self.folder.owned("mail", "root")
        shutil.chown(homes, account.pw_uid, account.pw_gid)
        lines = (f"{user}:{{PLAIN}}{_PASSWORD}:{account.pw_uid}:{account.pw_gid}::{homes}/{user}::\n" for user in users)
        self.folder.write("users", "".join(lines))
        self.folder.write("run/.keep", "")
        self.folder.write("state/.keep", "")
        ssl = "ssl = no"
        if certificate is not None:
            ssl = f"ssl = yes\nssl_server_cert_file = {certificate.chain}\nssl_server_key_file = {certificate.key}"
        self.more = more
        self._ssl = ssl

    @property
    def socket(self) -> Path:
        """Where it takes mail over LMTP besides its port."""
        return self.folder / "lmtp"

    def command(self) -> list[str | Path]:
        ports = {"imap_port": self._imap_port, "port": self.port}
        text = _CONFIGURATION.format(folder=self.folder.path, ssl=self._ssl, more=self.more, **ports)
        return ["/usr/sbin/dovecot", "-F", "-c", self.folder.write("dovecot.conf", text)]

    def mails(self, user: str, mailbox: str = "INBOX") -> list[Mail]:
        """What a user sees over IMAP, oldest first."""
        with imaplib.IMAP4("127.0.0.1", self._imap_port, timeout=40) as client:
            client.login(user, _PASSWORD)
            status, _ = client.select(mailbox, readonly=True)
            if status != "OK":
                return []
            numbers = client.search(None, "ALL")[1][0].split()
            found = [client.fetch(number.decode(), "(BODY.PEEK[])")[1][0] for number in numbers]
        return [Mail(one[1]) for one in found if isinstance(one, tuple)]

    def wait_mails(self, user: str, count: int, mailbox: str = "INBOX", *, timeout: float = 60.0) -> list[Mail]:
        """What a user sees, once there are `count` messages; FixtureError with the log if they do not come."""
        try:
            return wait_until(lambda: self._enough(user, mailbox, count), f"{count} messages", timeout=timeout)
        except (FixtureError, OSError) as late:
            raise FixtureError(f"{late}\n{self.log()}") from late

    def _enough(self, user: str, mailbox: str, count: int) -> list[Mail]:
        found = self.mails(user, mailbox)
        return found if len(found) >= count else []

    def is_ready(self) -> bool:
        return greets(self.port)
