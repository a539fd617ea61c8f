"""A gateway in tmp_path, reached through its REST interface without a server between."""

from __future__ import annotations

import json
import shutil
from contextlib import closing

import pytest
import tomlkit
from tests.unit.manage.rest.conftest import OWNER, Api, api, empty_accounts, gateway, world

from gatepost.manage.remote.address import Address
from gatepost.manage.remote.client import RemoteClient
from gatepost.manage.remote.connection import PREFIX, RestConnection, refusal_of
from gatepost.manage.rest.routes import ENDPOINTS
from gatepost.manage.use_cases.client import LocalClient
from gatepost.manage.use_cases.context import Gateway
from gatepost.pki.certificates.authority import Authority
from gatepost.settings.loader import load

__all__ = ["OWNER", "api", "empty_accounts", "gateway", "there", "world"]


class There(RestConnection):
    """api: of the gateway. calls: what it was asked. before: run before the next change, as somebody else's."""

    def __init__(self, api):
        super().__init__(Address("https://gate.example:8443", "gate.example", 8443, "gp_secret"))
        self.api = api
        self.calls = []
        self.before = lambda: None

    def _exchange(self, method, target, body, if_match, decode=json.loads):
        self.calls.append(f"{method} {target}")
        if method != "GET":
            self.before()
        headers = {"if-match": if_match} if if_match else {}
        if body is not None:
            headers["content-type"] = "application/json"
        path, _, query = target.removeprefix(PREFIX).partition("?")
        answer = self.api.call(method, f"{_decoded(path)}?{query}", body, headers=headers.items())
        if answer.status >= 300:
            raise refusal_of(self.url, answer.status, answer.headers, answer.body)
        return self._read(_Response(answer), answer.body, decode)


class _Response:
    def __init__(self, answer):
        self.status = answer.status
        self.headers = answer.headers


def _decoded(path):
    from urllib.parse import unquote  # noqa: PLC0415 - as a server does before it looks for a route

    return unquote(path)


ROOT = Authority("Remote Root")
NAME = "mx.gate.example"


@pytest.fixture
def sealed(tmp_path, world):
    """A copy of the world with a master key; nothing answers where the DNS server should be."""
    (tmp_path / "master").touch(0o600)
    (tmp_path / "master").write_bytes(bytes(range(32)))
    (tmp_path / "root.pem").write_bytes(ROOT.certificate_pem)
    document = {
        "server": {"hostname": NAME, "data_dir": "data"},
        "store": {"master_key": f"file:{tmp_path / 'master'}"},
        "tls": {"trust_anchors": "root.pem"},
        "dns": {"nameservers": ["127.0.0.1:1"], "timeout": 0.2},
    }
    (tmp_path / "gatepost.toml").write_text(tomlkit.dumps(document), encoding="utf-8")
    shutil.copytree(world[0], tmp_path / "data")
    return Gateway(load(str(tmp_path / "gatepost.toml"), {}))


@pytest.fixture
def safe(sealed):
    """The same, reached from afar."""
    with closing(Api(sealed, ENDPOINTS)) as api:
        yield There(api)


@pytest.fixture
def keyed(tmp_path):
    """A gateway with a master key and without resources; nothing answers where the DNS server should be."""
    (tmp_path / "master").touch(0o600)
    (tmp_path / "master").write_bytes(bytes(range(32)))
    document = {
        "server": {"hostname": NAME, "data_dir": "data"},
        "store": {"master_key": f"file:{tmp_path / 'master'}"},
        "dns": {"nameservers": ["127.0.0.1:1"], "timeout": 0.1},
    }
    (tmp_path / "gatepost.toml").write_text(tomlkit.dumps(document), encoding="utf-8")
    return Gateway(load(str(tmp_path / "gatepost.toml"), {}))


@pytest.fixture
def there(api):
    return There(api)


def plain(value):
    """For comparison: what JSON keeps of it."""
    return json.loads(json.dumps(value))


@pytest.fixture
def remote(there):
    """The client of a command with --server."""
    made = RemoteClient(Address("https://gate.example:443", "gate.example", 443, "gp_x"))
    made._connection = there
    return made


@pytest.fixture
def local(there):
    """The client of a command on that gateway's machine."""
    return LocalClient(there.api.gateway, OWNER)
