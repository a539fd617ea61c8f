"""How long pages of the admin centre take, and how large they are, with many connectors and a long trace.

    .venv/bin/python bench/admin_pages.py [PATH]... [--connectors 10000] [--rows 100000] [--times 7]

Makes a gateway's files in a temporary directory and asks the very application that the admin centre serves, without
sockets: the median of so many requests after a first one, which is shown apart, and the bytes of the answer. Without
paths, the pages of connectors and other resources. What a budget allows: 100 ms, 100 KB.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from gatepost.access.accounts import Accounts
from gatepost.access.principal import ROLES, Principal, Role
from gatepost.access.records import Actor
from gatepost.admin.routes import HANDLERS, ROUTES
from gatepost.administration.change import Wish
from gatepost.administration.gateway import Gateway
from gatepost.administration.resources import apply_document
from gatepost.settings.loader import load
from gatepost.store.interface import TraceEvent
from gatepost.store.trace import write_events
from gatepost.web.application import application

OWNER = Principal("bench", ROLES[Role.OWNER])
PATHS = [
    "/connectors",
    "/connectors?page=150",
    "/connectors?q=d77",
    "/connectors?verdicts=yes",
    "/connectors/contoso/outbound/out-5000",
    "/connectors/contoso/outbound/out-5000?part=mail",
    "/connectors/contoso/outbound/out-5000?part=changes",
    "/connectors/contoso/outbound/out-5000?part=report",
    "/connectors/edit/contoso/outbound/out-5000",
    "/connectors/new?organization=contoso",
    "/connectors/new?organization=contoso&scenario=to-partner&step=security&name=x",
    "/connectors?format=csv",
    "/domains",
    "/mailboxes",
    "/organizations",
    "/organizations/view/contoso",
    "/history",
]


def resources(count: int) -> dict[str, Any]:
    """Contoso with so many connectors, half of them inbound, and as many mailboxes."""
    half = count // 2
    contoso = {
        "accepted_domain": [{"name": f"own{number}.example"} for number in range(50)],
        "mailbox": [{"address": f"user{number}@own{number % 50}.example"} for number in range(count)],
        "inbound_connector": [
            {
                "name": f"in-{number}",
                "sender_domains": [f"d{number}.example"],
                "restrict_domains_to_certificate": True,
                "tls_sender_certificate_name": f"mail.d{number}.example",
            }
            for number in range(half)
        ],
        "outbound_connector": [
            {
                "name": f"out-{number}",
                "recipient_domains": [f"d{number}.example"],
                "tls_settings": "domain-validation",
                "tls_domain": f"mx.d{number}.example",
            }
            for number in range(half, count)
        ],
    }
    return {"organization": {"contoso": contoso, "fabrikam": {}}}


def events(count: int, connectors: int) -> list[TraceEvent]:
    """Sent messages of the last hours, by one connector after the other."""
    now, half = time.time(), connectors // 2
    return [
        TraceEvent(
            at=now - 7200 + number * 7200 / count,
            event="SEND",
            message=f"{number:016x}",
            organization="contoso",
            direction="outgoing",
            session=f"{number:016x}",
            sender="ann@own1.example",
            recipient=f"bob@d{half + number % half}.example",
            connector=f"out-{half + number % half}",
            tls={"version": "TLSv1.3", "chain": "trusted"},
            detail={"configuration": 1},
        )
        for number in range(count)
    ]


async def asked(app: Any, path: str, token: str) -> tuple[int, int, float]:
    """Status, bytes, seconds."""
    address, _, query = path.partition("?")
    status, size = 0, 0
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": address,
        "raw_path": address.encode(),
        "query_string": query.encode(),
        "headers": [(b"host", b"localhost"), (b"authorization", f"Bearer {token}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 443),
    }

    async def receive() -> dict[str, Any]:
        if receiving:
            await asyncio.Event().wait()
        receiving.append(True)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, size
        status = message.get("status", status)
        size += len(message.get("body", b""))

    receiving: list[bool] = []
    begun = time.perf_counter()
    await app(scope, receive, send)
    return status, size, time.perf_counter() - begun


async def measured(app: Any, paths: list[str], token: str, times: int) -> None:
    """Print a line for each path."""
    print(f"{'first ms':>9} {'median ms':>9} {'KB':>8}  status path")
    for path in paths:
        _, _, first = await asked(app, path, token)
        found = [await asked(app, path, token) for _ in range(times)]
        status, size, _ = found[0]
        median = statistics.median(seconds for *_, seconds in found)
        print(f"{first * 1000:9.1f} {median * 1000:9.1f} {size / 1000:8.1f}  {status}    {path}")


def main() -> None:
    """Make the files, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", default=PATHS)
    parser.add_argument("--connectors", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "gatepost.toml")
        file.write_text(f'[server]\nhostname = "mx.gate.example"\ndata_dir = "{folder}/data"\n', encoding="utf-8")
        gateway = Gateway(load(str(file), {}))
        apply_document(gateway, OWNER, resources(options.connectors), Wish("bench"))
        (gateway.data / "trace").mkdir(mode=0o700)
        rows = events(options.rows, options.connectors)
        for start in range(0, len(rows), 10_000):
            write_events(gateway.data / "trace", "0", rows[start : start + 10_000])
        accounts = Accounts(gateway.data / "access.db")
        token = accounts.add_token("bench", ROLES[Role.OWNER], by=Actor("", ""))
        app = application(gateway, accounts, ROUTES, HANDLERS)
        asyncio.run(measured(app, options.paths, token, options.times))


if __name__ == "__main__":
    main()
