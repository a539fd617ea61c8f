"""Proves that Microsoft Graph knows the recipients of a relayed domain, by a server that keeps to its reference."""

from __future__ import annotations

import smtplib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from support.gateway import Gateway
from support.graph import CLIENT, SECRET, TENANT, Graph
from support.scenes import STRANGER, connector, contoso

from gatepost.testing.pki import Pki
from gatepost.testing.process import Folder, wait_until
from gatepost.testing.sink import Sink

ANN, ALIAS, TEAM, NOBODY = (f"{name}@relay.example" for name in ("ann", "o'hara", "team", "nobody"))
USERS = [[f"SMTP:{ANN}", f"smtp:{ALIAS}", "X500:/o=x"], ["SMTP:bob@relay.example"]]
GROUPS = [[f"SMTP:{TEAM}", "smtp:all@relay.example"]]


@pytest.fixture
def graph(pki: Pki) -> Iterator[Graph]:
    with Graph(pki.leaf("localhost"), USERS, GROUPS) as started:
        yield started


@pytest.fixture
def start(
    running: ExitStack, gateway: Callable[..., Gateway], sink: Callable[..., Sink], graph: Graph, pki: Pki
) -> Callable[..., Gateway]:
    """start(...) starts a gateway whose relay.example Graph knows; secret: "" for none; other fields of the domain."""

    def begin(*, secret: str = SECRET, app: dict[str, Any] | None = None, **fields: Any) -> Gateway:
        key = Folder("key")
        running.callback(key.remove)
        master = key.write("master.key", "k" * 40, 0o600)
        registered = {"tenant_id": TENANT, "client_id": CLIENT, "url": graph.url, "login_url": graph.url} | (app or {})
        domain = {
            "name": "relay.example",
            "type": "internal-relay",
            "recipient_validation": "graph",
            "recipient_graph": registered,
        }
        resources = contoso(
            domains=[{"name": "contoso.example"}, domain | fields],
            inbound=[],
            outbound=[connector("relay.example", sink().address, connector_type="on-premises")],
        )
        settings = {"store": {"master_key": f"file:{master}"}, "alarms": {"look": 1, "partner_failures": 1}}
        made = gateway(resources, settings=settings, anchors=pki.root)
        if secret:
            made.cli("domain", "password", "relay.example", "--stdin", given=f"{secret}\n")
        return made

    return begin


def rcpt(server: Gateway, recipient: str) -> str:
    """The reply to RCPT."""
    with smtplib.SMTP("127.0.0.1", server.port, local_hostname="client.example") as client:
        client.ehlo()
        client.mail(STRANGER)
        code, text = client.rcpt(recipient)
        return f"{code} {text.decode().partition(' [')[0]}"


def why_refused(gateway: Gateway, recipient: str) -> str:
    """Why a recipient was refused last, by the trace."""
    return str(max(gateway.wait_trace(recipient=recipient, event="REFUSE"), key=lambda row: row["at"])["detail"]["why"])


def test_users_and_groups_are_known_by_all_their_addresses_and_others_refused(
    start: Callable[..., Gateway], graph: Graph
) -> None:
    server = start()
    for _ in range(2):
        for known in (ANN, ALIAS.upper(), TEAM, "all@relay.example"):
            assert rcpt(server, known).startswith("250"), known
        assert rcpt(server, NOBODY) == "550 5.1.1 Recipient address rejected: no such mailbox here"
    asked = [request.path for request in graph.requests]
    assert asked == ["/v1.0/users"] * 2 + ["/v1.0/users", "/v1.0/groups"] * 3, "the second time all is remembered"
    assert len(graph.logins) == 1, "one token for all of them"
    assert why_refused(server, NOBODY).endswith(f"Microsoft Graph at {graph.url} has no user and no group with it")
    for hidden in (SECRET, graph.token()):
        assert hidden not in server.log()
        assert hidden not in server.cli("export").stdout


def test_no_character_of_an_address_is_read_as_a_part_of_the_filter(
    start: Callable[..., Gateway], graph: Graph
) -> None:
    server = start()
    for local in ("x'or'", "\"' or mail eq 'ann@relay.example\"", "a%27%20or%201", "x&$filter=id", "x#y", "*"):
        assert not rcpt(server, f"{local}@relay.example").startswith("250"), local
    assert all(request.found == 0 for request in graph.requests)
    assert rcpt(server, ANN).startswith("250")


def test_details_behind_a_separator_are_asked_for_in_few_requests(start: Callable[..., Gateway], graph: Graph) -> None:
    server = start()
    server.cli("organization", "set", "contoso", "subaddress_separator=+")
    wait_until(lambda: rcpt(server, "ann+a+b+c+d+e@relay.example").startswith("250"), "the separator")
    graph.requests.clear()
    assert rcpt(server, "nobody+a+b+c+d+e@relay.example").startswith("550")
    assert [request.path for request in graph.requests] == ["/v1.0/users"] * 2 + ["/v1.0/groups"] * 2
    graph.requests.clear()
    assert rcpt(server, "nobody+1+2+3+4+5+6+7+8+9@relay.example").startswith("451 4.4.3")
    assert not graph.requests


def test_graph_is_left_alone_as_long_as_it_asks(start: Callable[..., Gateway], graph: Graph) -> None:
    server = start()
    assert rcpt(server, ANN).startswith("250")
    graph.status, graph.retry_after = 429, "14"
    graph.requests.clear()
    assert rcpt(server, NOBODY).startswith("451 4.4.3")
    graph.status = 0
    assert rcpt(server, TEAM).startswith("451 4.4.3")
    assert rcpt(server, ANN).startswith("250"), "who is remembered is known"
    assert len(graph.requests) == 1
    assert "status 429; nothing is asked for 14 s" in why_refused(server, NOBODY)
    wait_until(lambda: rcpt(server, TEAM).startswith("250"), "the end of the wait", timeout=40)


@pytest.mark.parametrize(
    ("permitted", "status", "said"),
    [
        (set(), 0, "status 403: the app lacks the permissions User.Read.All and GroupMember.Read.All"),
        ({"users"}, 0, "/v1.0/groups: status 403: the app lacks the permissions"),
        ({"users", "groups"}, 503, "status 503; nothing is asked for 30 s"),
    ],
)
def test_what_graph_does_not_answer_defers(
    start: Callable[..., Gateway], graph: Graph, permitted: set[str], status: int, said: str
) -> None:
    graph.permitted, graph.status = permitted, status
    server = start()
    assert rcpt(server, NOBODY).startswith("451 4.4.3")
    why = why_refused(server, NOBODY)
    assert said in why
    assert "filter" not in why


def test_a_token_that_was_withdrawn_is_fetched_anew(start: Callable[..., Gateway], graph: Graph) -> None:
    server = start()
    assert rcpt(server, ANN).startswith("250")
    graph.revoked.add(graph.token())
    assert rcpt(server, TEAM).startswith("250")
    assert len(graph.logins) == 2


def test_without_a_secret_nobody_is_refused(start: Callable[..., Gateway], graph: Graph) -> None:
    server = start(secret="")
    assert server.cli("domain", "password", "relay.example", "--check", expect=1).stdout == "relay.example: missing\n"
    warned = server.cli("domain", "set", "relay.example", "recipients=printer@relay.example")
    assert "the client secret for Microsoft Graph is not in this store" in warned.stderr
    assert rcpt(server, ANN).startswith("451 4.4.3")
    assert "no secret is stored; enter it: gatepost domain password relay.example" in why_refused(server, ANN)
    assert not graph.logins


def test_a_wrong_secret_raises_an_alarm_until_it_is_right(start: Callable[..., Gateway], graph: Graph) -> None:
    server = start(secret="wrong")
    assert rcpt(server, ANN).startswith("451 4.4.3")
    assert "status 401" in why_refused(server, ANN)
    wait_until(lambda: "recipients-unknown" in server.cli("alarms", expect=None).stdout, "an alarm")
    server.cli("domain", "password", "relay.example", "--stdin", given=f"{SECRET}\n")
    wait_until(lambda: rcpt(server, ANN).startswith("250"), "the right secret", timeout=40)


def test_the_choice_of_the_domain_and_the_list_beside_it(start: Callable[..., Gateway], graph: Graph) -> None:
    server = start(recipient_validation_unavailable="accept", recipients=["printer@relay.example"])
    graph.status = 500
    assert rcpt(server, NOBODY).startswith("250")
    graph.requests.clear()
    assert rcpt(server, "printer@relay.example").startswith("250")
    assert not graph.requests


def test_nothing_is_asked_of_a_server_that_does_not_prove_its_name(start: Callable[..., Gateway], pki: Pki) -> None:
    with Graph(pki.leaf("other.example"), USERS) as liar:
        server = start(app={"url": liar.url, "login_url": liar.url})
        assert rcpt(server, ANN).startswith("451 4.4.3")
        assert not liar.logins
        assert not liar.requests
