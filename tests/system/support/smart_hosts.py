"""Smart hosts that want a log-in: Debian's Dovecot as a submission server, and Debian's Postfix with Cyrus SASL.

Both pass mail on to a receiver of the tests. They share no code with gatepost; nothing of the machine's own instances
is read or started.
"""

from __future__ import annotations

import json
import pwd
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs

from support.daemon import Daemon
from support.debian import need
from support.peers import Postfix

from gatepost.testing.pki import Leaf
from gatepost.testing.process import Folder, free_port, greets

USER = "gateway@contoso.example"
PASSWORD = "correct, horse = battery"

_CONFIGURATION = """\
dovecot_config_version = 2.4.1
dovecot_storage_version = 2.4.1
base_dir = {folder}/run
state_dir = {folder}/state
log_path = /dev/stderr
auth_verbose = yes
listen = 127.0.0.1
protocols = submission
auth_mechanisms = {mechanisms}
auth_allow_cleartext = no
auth_failure_delay = 0
ssl = required
ssl_server_cert_file = {chain}
ssl_server_key_file = {key}
mail_driver = maildir
mail_path = ~/Maildir
hostname = relay.example
submission_relay_host = {relay_host}
submission_relay_port = {relay_port}
submission_relay_ssl = no
{passdb}
userdb static {{
  fields {{
    uid = nobody
    gid = nogroup
    home = {folder}/home
  }}
}}
service submission-login {{
  inet_listener submission {{
    port = {port}
  }}
  inet_listener submissions {{
    port = {implicit_port}
  }}
}}
"""
_BY_PASSWORD = """\
passdb passwd-file {{
  passwd_file_path = {folder}/users
}}
"""
_BY_TOKEN = """\
oauth2 {{
  introspection_mode = auth
  introspection_url = http://127.0.0.1:{port}/introspect
  username_attribute = username
  active_attribute = active
  active_value = true
}}
passdb oauth2 {{
}}
"""


class DovecotSubmission(Daemon):
    """certificate: of its TLS. relay: HOST and port of the receiver. mechanisms: as auth_mechanisms has them.

    users: lines of its password file; without them USER has PASSWORD, kept in clear so that every mechanism works.
    tokens: port of an `AuthorizationServer` that knows tokens; then passwords do not count.
    """

    def __init__(
        self,
        certificate: Leaf,
        relay: tuple[str, int],
        *,
        mechanisms: str = "scram-sha-256 plain login",
        tokens: int = 0,
    ) -> None:
        need("root", "dovecot", "dovecot-submission")
        super().__init__("dovecot")
        self.port, self.implicit_port = free_port(), free_port()
        self.password(PASSWORD)
        for name in ("run/.keep", "state/.keep"):
            self.folder.write(name, "")
        account = pwd.getpwnam("nobody")
        shutil.chown(self.folder.owned("home", "root"), account.pw_uid, account.pw_gid)
        passdb = _BY_TOKEN.format(port=tokens) if tokens else _BY_PASSWORD.format(folder=self.folder.path)
        text = _CONFIGURATION.format(
            folder=self.folder.path,
            mechanisms=mechanisms,
            chain=certificate.chain,
            key=certificate.key,
            relay_host=relay[0],
            relay_port=relay[1],
            passdb=passdb,
            port=self.port,
            implicit_port=self.implicit_port,
        )
        self._configuration = self.folder.write("dovecot.conf", text)

    def password(self, password: str) -> None:
        """Let USER have another password."""
        path = self.folder.write("users", f"{USER}:{{PLAIN}}{password}::::::\n")
        path.chmod(0o644)

    def command(self) -> list[str | Path]:
        return ["/usr/sbin/dovecot", "-F", "-c", self._configuration]

    def is_ready(self) -> bool:
        return greets(self.port)


def postfix_with_sasl(
    postfix: Callable[..., Postfix], certificate: Leaf, relay: tuple[str, int], *, mechanisms: str
) -> tuple[Postfix, Folder]:
    """A Postfix that relays only for USER, by Cyrus SASL; its sasldb is in a folder that the caller removes."""
    need("root", "postfix", "saslpasswd2")
    folder = Folder("sasl")
    database = folder / "sasldb"
    realm = USER.partition("@")[2]
    subprocess.run(
        ["/usr/sbin/saslpasswd2", "-p", "-c", "-f", database, "-u", realm, USER.partition("@")[0]],
        input=PASSWORD.encode(),
        check=True,
        timeout=60,
        capture_output=True,
    )
    database.chmod(0o644)
    folder.write(
        "smtpd.conf",
        f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {database}\nmech_list: {mechanisms}\n",
    )
    started = postfix(
        certificates=[certificate],
        next_hop=relay,
        settings={
            "mynetworks": "",
            "cyrus_sasl_config_path": str(folder.path),
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_sasl_type": "cyrus",
            "smtpd_sasl_path": "smtpd",
            "smtpd_tls_auth_only": "yes",
            "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
        },
    )
    return started, folder


class AuthorizationServer:
    """Gives access tokens for client credentials over HTTPS, and tells Dovecot over HTTP which ones are good.

    requests: the forms that were sent so far. secret: that it takes. lifetime: of its tokens, seconds.
    """

    def __init__(self, certificate: Leaf, *, secret: str = PASSWORD, lifetime: int = 3600) -> None:
        self.secret = secret
        self.lifetime = lifetime
        self.requests: list[dict[str, list[str]]] = []
        self.good: set[str] = set()
        self._https = self._server(certificate)
        self._http = self._server(None)
        self.url = f"https://127.0.0.1:{self._https.server_port}/token"
        self.introspection_port = self._http.server_port

    def _server(self, certificate: Leaf | None) -> ThreadingHTTPServer:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                outer.requests.append(form)
                if form.get("client_secret") != [outer.secret]:
                    self._say(401, {"error": "invalid_client"})
                    return
                token = f"token-{len(outer.requests)}-{'x' * 900}"
                outer.good.add(token)
                self._say(200, {"access_token": token, "token_type": "Bearer", "expires_in": outer.lifetime})

            def do_GET(self) -> None:
                token = self.headers["Authorization"].removeprefix("Bearer ")
                good = token in outer.good
                self._say(200 if good else 401, {"username": USER, "active": True} if good else {"error": "no"})

            def _say(self, status: int, content: dict[str, Any]) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.chain, certificate.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self._https, self._http):
            server.shutdown()
            server.server_close()
