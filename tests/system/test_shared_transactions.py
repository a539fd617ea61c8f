"""Proves that one transaction carries a message to all domains behind one next hop, and when it must not.

A sink says which recipients came with which MAIL. What differs for one domain keeps that domain apart: the connector,
the organization, what the domain publishes. No domain's mail waits or fails for another's sake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.gateway import Gateway
from support.process import wait_until
from support.scenes import contoso, outcomes, send
from support.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def domains(number: int) -> list[str]:
    return [f"u@d{index}.example" for index in range(number)]


def through(*hosts: str, **fields: Any) -> dict[str, Any]:
    """A connector for all mail."""
    return {"name": "out", "recipient_domains": ["*"], "smart_hosts": list(hosts), **fields}


def transactions(*sinks: Sink) -> list[list[str]]:
    """Which recipients came together, whatever the order."""
    return sorted(sorted(one.recipients) for sink in sinks for one in sink.messages)


def wait_recipients(count: int, *sinks: Sink, timeout: float = 20) -> list[list[str]]:
    wait_until(lambda: sum(map(len, transactions(*sinks))) >= count, f"{count} recipients", timeout=timeout)
    return transactions(*sinks)


def all_once(found: Sequence[Sequence[str]], recipients: Sequence[str]) -> bool:
    return sorted(one for together in found for one in together) == sorted(recipients)


# --- behind smart hosts


def test_one_transaction_for_twenty_domains(gateway: Callable[..., Gateway]) -> None:
    """And each recipient has its row in the trace, with its own domain's reasons."""
    with Sink() as sink:
        server = gateway(contoso(outbound=[through(sink.address)]))
        send(server.port, domains(20))
        assert wait_recipients(20, sink) == [sorted(domains(20))]
        assert (sink.counts["CONNECT"], sink.counts["MAIL"], sink.counts["DATA"] + sink.counts["BDAT"]) == (1, 1, 1)
        rows = outcomes(server, dict.fromkeys(domains(20), "SEND"))
        assert len(rows) == 20
        assert {row["detail"]["host"] for row in rows.values()} == {"127.0.0.1"}
        assert server.cli("queue", "list", "--json", expect=0).stdout.strip() in {"[]", ""}
