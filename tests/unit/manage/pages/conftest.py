"""The admin centre's application on real files, asked without sockets."""

from __future__ import annotations

import asyncio
import html
import json
import re
import shutil
import time
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from urllib.parse import unquote, urlencode

import pytest
from tests.unit.manage.calls import add_entry

from gatepost.manage.access import login_rate_limiter as limiter
from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import ROLES, Principal, Role, Scope
from gatepost.manage.access.records import Actor
from gatepost.manage.pages.routes import HANDLERS, ROUTES
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.context import Gateway
from gatepost.manage.use_cases.resources import apply_document
from gatepost.manage.web.application import application
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.inventory import Inventory
from gatepost.settings.loader import load
from gatepost.settings.store_url import SQLITE
from gatepost.store.storage import Storage

OWNER = Principal("ann", ROLES[Role.OWNER])
HOST = "mx.gate.example"
ROOT = Authority("Centre Root")
MARKUP = '"><script>alert(1)</script>&'
SETTINGS = """
[server]
hostname = "mx.gate.example"
data_dir = "data"

[dns]
nameservers = ["127.0.0.1:1"]
"""
BASE = {
    "contoso": {
        "accepted_domain": [{"name": "contoso.example"}],
        "mailbox": [{"address": "ann@contoso.example"}],
        "inbound_connector": [{"name": "bank-in", "sender_domains": ["bank.example"]}],
        "outbound_connector": [
            {"name": "bank-out", "recipient_domains": ["bank.example"], "smart_hosts": ["127.0.0.1:1"]},
            {"name": "off", "recipient_domains": ["off.example"], "enabled": False, "mode": "rehearse"},
        ],
        "mail_flow_rule": [{"name": "secrets", "header_name": "X-Secret", "route_via_connector": "bank-out"}],
    },
    "fabrikam": {"accepted_domain": [{"name": "fabrikam.example"}]},
}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def words(self):
        """What a person reads of it, tags taken out."""
        return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", self.text.replace("<wbr>", ""))))

    @property
    def json(self):
        return json.loads(self.text)

    def value(self, name):
        """Of a hidden or one-line field of a form."""
        found = re.search(rf'name="{re.escape(name)}"[^>]*? value="([^"]*)"', self.text)
        return html.unescape(found[1]) if found else None


class Centre:
    """Asks as whoever has a token: "owner" may do everything, "reader" reads, "tenant" changes what is fabrikam's."""

    def __init__(self, path, settings="", original=None):
        """original: one whose data this one begins with a copy of, which takes a third of the time."""
        file = path / "gatepost.toml"
        file.write_text(
            '[server]\nhostname = "mx.gate.example"\ndata_dir = "data"\n[dns]\nnameservers = ["127.0.0.1:1"]\n'
            f'timeout = "100ms"\n{settings}'
        )
        self.gateway = Gateway(load(str(file), {}))
        if original is not None:
            shutil.copytree(original.gateway.data, self.gateway.data)
        self.accounts = Accounts(Storage(SQLITE, self.gateway.data))
        self.tokens = original.tokens if original is not None else self._filled()
        self.app = application(self.gateway, self.accounts, ROUTES, HANDLERS)
        self._runner = asyncio.Runner()  # a loop for each request would take as long as the request

    def _filled(self):
        apply_document(self.gateway, OWNER, {"organization": BASE}, ChangeOptions("root"))
        here = Actor("", "")
        changes = [Scope.READ, Scope.CONNECTORS]
        return {
            "owner": self.accounts.add_token("owner", [Scope.OWNER], actor=here),
            "reader": self.accounts.add_token("reader", [Scope.READ], actor=here),
            "tenant": self.accounts.add_token("tenant", changes, actor=here, organizations=["fabrikam"]),
        }

    def close(self):
        self._runner.close()
        self.accounts.close()

    def stored(self, key, name, organization="contoso"):
        """The table of a part, None if there is none."""
        with self.gateway.config() as store:
            _, found = store.load()
        parts = found["organization"][organization].get(key, [])
        return next((one for one in parts if name in {one.get("name"), one.get("address")}), None)

    def get(self, path, who="owner", **headers):
        return self.ask("GET", path, who, b"", headers)

    def post(self, path, who="owner", headers=None, **form):
        return self.ask("POST", path, who, urlencode(form).encode(), headers or {})

    def ask(self, method, path, who, body, headers):
        address, _, query = path.partition("?")
        given = {"host": "localhost", "authorization": f"Bearer {self.tokens[who]}"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        if method == "POST":
            given["content-type"] = "application/x-www-form-urlencoded"
            given["content-length"] = str(len(body))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "path": unquote(address),
            "raw_path": address.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 443),
        }
        return self._runner.run(self._asked(scope, body))

    async def _asked(self, scope, body):
        got = []
        given = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive():
            if not given:
                await asyncio.Event().wait()
            return given.pop()

        async def send(message):
            got.append(message)

        await self.app(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in got[0]["headers"]}
        return Answer(got[0]["status"], headers, b"".join(one.get("body", b"") for one in got).decode(errors="replace"))


class Person:
    """Somebody who is logged in with a browser. secret: of the session."""

    def __init__(self, centre, secret):
        self.centre = centre
        self.secret = secret
        self.session = centre.accounts.session(secret)
        self.headers = {"authorization": "", "cookie": f"__Host-gatepost={secret}"}

    def get(self, path, **headers):
        return self.centre.ask("GET", path, "owner", b"", self.headers | headers)

    def post(self, path, *pairs, **form):
        """pairs: of fields that come several times."""
        body = urlencode([*pairs, *({"csrf": self.session.csrf} | form).items()]).encode()
        return self.centre.ask("POST", path, "owner", body, self.headers | {"sec_fetch_site": "same-origin"})

    @property
    def is_logged_in(self):
        return self.centre.accounts.session(self.secret) is not None


WORD = "correct horse battery"


_hashed_once = cache(limiter.argon2_hash)
"""A hash takes a tenth of a second, as it is to: one of each password is enough for all tests."""


@pytest.fixture
def person(centre, monkeypatch):
    """Log somebody in: person("tim", Role.AUDITOR, ["fabrikam"]). ago: seconds since they proved who they are."""
    monkeypatch.setattr(limiter, "argon2_hash", _hashed_once)

    def log_in(name="ann", role=Role.OWNER, organizations=None, ago=0.0):
        accounts, by = centre.accounts, Actor("root", "")
        user = accounts.user(name) or accounts.add_user(name, role, WORD, actor=by, organizations=organizations)
        return Person(centre, accounts.start_session(user, "127.0.0.1", "Firefox", proved=time.time() - ago))

    return log_in


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    """What every test begins with, made once."""
    with closing(Centre(tmp_path_factory.mktemp("centre"))) as made:
        return made


@pytest.fixture
def centre(tmp_path, original):
    with closing(Centre(tmp_path, original=original)) as made:
        yield made


@pytest.fixture
def sealing(tmp_path):
    """One with a master key, that trusts what `ROOT` issues."""
    key, anchors = tmp_path / "master.key", tmp_path / "anchors.pem"
    key.touch(0o600)
    key.write_bytes(bytes(range(32)))
    anchors.write_bytes(ROOT.certificate_pem)
    settings = f'[store]\nmaster_key = "file:{key}"\n[tls]\ntrust_anchors = "{anchors}"\n'
    with closing(Centre(tmp_path, settings)) as made:
        yield made


def certificate(centre, *names, **more):
    """A certificate that came in: certificate(centre, "mx.gate.example", current=True). more: as of AddCertificate."""
    return add_entry(centre.gateway, ROOT, *names, **more)


def recorded(centre, entry, chain=b""):
    """An entry as another version, or a file of the gateway, might have brought it in; its key is nowhere."""
    with centre.gateway.config() as store:
        Inventory(store, None).record(entry, chain, note="as found")
    return entry
