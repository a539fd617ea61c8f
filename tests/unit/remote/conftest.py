"""A gateway in tmp_path, reached through its REST interface without a server between."""

from __future__ import annotations

import json

import pytest
from tests.unit.api.conftest import OWNER, api, gateway, world

from gatepost.remote.address import Address
from gatepost.remote.connection import PREFIX, Connection
from gatepost.remote.problems import refusal_of

__all__ = ["OWNER", "api", "gateway", "there", "world"]


class There(Connection):
    """api: of the gateway. calls: what it was asked. before: run before the next change, as somebody else's."""

    def __init__(self, api):
        super().__init__(Address("https://gate.example:8443", "gate.example", 8443, "gp_secret"))
        self.api = api
        self.calls = []
        self.before = lambda: None

    def _exchange(self, method, target, body, if_match):
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
        return self._read(_Response(answer), answer.body)


class _Response:
    def __init__(self, answer):
        self.status = answer.status
        self.headers = answer.headers


def _decoded(path):
    from urllib.parse import unquote  # noqa: PLC0415 - as a server does before it looks for a route

    return unquote(path)


@pytest.fixture
def there(api):
    return There(api)


def plain(value):
    """For comparison: what JSON keeps of it."""
    return json.loads(json.dumps(value))
