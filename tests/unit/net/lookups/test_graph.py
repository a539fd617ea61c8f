"""Requests to Graph: how addresses become filters. What a server answers is in tests/system/test_recipient_graph.py."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from gatepost.net.lookups.graph import MOST_ADDRESSES, GraphApp, GraphClient, GraphUnavailable
from gatepost.net.lookups.http import MAX_URL, HttpFailed, HttpRequest, HttpResponse

APP = GraphApp("https://graph.microsoft.com", "t", "c")
EMPTY = b'{"value": []}'
ONE = b'{"@odata.count": 1, "value": [{"id": "x", "more": 1}]}'


class Answering:
    """In place of the HTTP client: answers in their order, the last one again and again."""

    def __init__(self, *answers: bytes | HttpFailed) -> None:
        self.answers = list(answers)
        self.requests: list[HttpRequest] = []
        self.now = 1000.0
        self.bounded: list[bool] = []

    def client(self, bounded: bool) -> Any:
        self.bounded.append(bounded)
        return self

    async def fetch(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, HttpFailed):
            raise answer
        return HttpResponse(answer, "application/json", request.url)

    def graph(self) -> GraphClient:
        return GraphClient(self.client, lambda: self.now)

    def ask(self, *addresses: str, graph: GraphClient | None = None, app: GraphApp = APP) -> str:
        return asyncio.run((graph or self.graph()).has_recipient(app, addresses, "tok"))


def filters(requests: Sequence[HttpRequest]) -> list[str]:
    return [parse_qs(urlsplit(request.url).query)["$filter"][0] for request in requests]


def test_users_come_before_groups() -> None:
    web = Answering(EMPTY, ONE)
    assert web.ask("a@o.example") == "group"
    assert [urlsplit(request.url).path for request in web.requests] == ["/v1.0/users", "/v1.0/groups"]
    assert dict(web.requests[0].fields) == {"Authorization": "Bearer tok", "ConsistencyLevel": "eventual"}
    assert (web.requests[0].private, web.bounded) == (False, [True, True])
    assert Answering(ONE).ask("a@o.example") == "user"
    assert Answering(EMPTY).ask("a@o.example") == ""


def test_the_owners_own_address_may_be_private() -> None:
    web = Answering(ONE)
    web.ask("a@o.example", app=GraphApp("https://10.0.0.1", "t", "c", bounded=False))
    assert (web.requests[0].private, web.bounded) == (True, [False])


def test_an_address_is_a_text_and_nothing_else() -> None:
    web = Answering(ONE)
    web.ask("o'x&$filter=a#%27@o.example")
    text = "o''x&$filter=a#%27@o.example"
    assert filters(web.requests) == [
        f"proxyAddresses/any(p:p eq 'smtp:{text}' or p eq 'SMTP:{text}') or mail eq '{text}'"
    ]
    assert parse_qs(urlsplit(web.requests[0].url).query).keys() == {"$count", "$select", "$top", "$filter"}


@pytest.mark.parametrize(("local", "requests"), [("a", 2), ("ü" * 32, 8)])
def test_many_addresses_take_few_requests_that_are_not_too_long(local: str, requests: int) -> None:
    web = Answering(EMPTY)
    domain = f"{'d' * 60}.{'e' * 60}.example" if requests > 2 else "o.example"
    web.ask(*[f"{local}{number}@{domain}" for number in range(MOST_ADDRESSES)])
    assert len(web.requests) == 2 * requests
    assert max(len(request.url) for request in web.requests) <= MAX_URL
    assert all(text.count(" eq ") <= 15 for text in filters(web.requests))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"no json", "the answer is not a list of objects"),
        (b"[]", "the answer is not a list of objects"),
        (b'{"other":' + b"[" * 60_000, "the answer is not a list of objects"),
        (b'{"@odata.nextLink": "\xff"}', "the answer is not a list of objects"),
        (b'{"value": [{}]}', "the answer is not a list of objects"),
        (b'{"value": [], "@odata.nextLink": "https://x"}', "the answer is a page without objects"),
        (
            HttpFailed("https://g/v1.0/users?$filter=x: status 400", temporary=False, status=400),
            "users: status 400: it",
        ),
        (HttpFailed("https://g/v1.0/users?$filter=x: status 418", temporary=False, status=418), "users: status 418"),
        (HttpFailed("https://g/v1.0/users?$filter=x", temporary=True), "https://g/v1.0/users"),
        (HttpFailed("https://g/v1.0/users?x: 10.0.0.1: no", temporary=True), "users: 10.0.0.1: no"),
    ],
)
def test_what_is_no_answer_says_so_without_the_recipient(answer: bytes | HttpFailed, said: str) -> None:
    with pytest.raises(GraphUnavailable) as failed:
        Answering(answer).ask("a@o.example")
    assert said in failed.value.detail
    assert "filter" not in failed.value.detail
    assert not failed.value.unauthorized
    assert not failed.value.asks_for_less


def test_a_token_that_does_not_count_is_told_apart() -> None:
    with pytest.raises(GraphUnavailable) as failed:
        Answering(HttpFailed("x", temporary=False, status=401)).ask("a@o.example")
    assert failed.value.unauthorized


@pytest.mark.parametrize(("asked", "seconds"), [(0.0, 30.0), (7.0, 7.0), (1e8, 3600.0)])
def test_nothing_is_asked_before_the_time_that_graph_named(asked: float, seconds: float) -> None:
    web = Answering(HttpFailed("x: status 429", temporary=True, status=429, retry_after=asked), ONE)
    graph = web.graph()
    for _ in range(2):
        with pytest.raises(GraphUnavailable) as failed:
            web.ask("a@o.example", graph=graph)
        assert failed.value.asks_for_less
        web.now += seconds - 1
    assert len(web.requests) == 1
    other = GraphApp(APP.url, "another tenant", "c")
    assert web.ask("a@o.example", graph=graph, app=other) == "user"
    web.now += 2
    assert web.ask("a@o.example", graph=graph) == "user"
