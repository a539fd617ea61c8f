"""How long pages of the admin centre take, and how large they are, with many connectors and a long trace.

    .venv/bin/python bench/admin_pages.py [PATH]... [--connectors 10000] [--rows 1000000] [--times 20] [--keep FOLDER]

Makes a gateway's files in a temporary directory and asks the very application that the admin centre serves, without
sockets: the first request apart, then median, 95th percentile and the least CPU of so many, and the bytes of an answer.
Without paths, every page that there is (those of the routes whose names can be filled in), and those of PATHS. A budget
allows 100 ms and 100 KB; what is beyond is marked with "!". The trace is that of bench/trace_search.py, thirty days of
it, and 100,000 rows of the last two hours. --keep: where the files stay, and are taken from the next time.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from trace_search import fill

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

BUDGET, LARGEST = 0.1, 100_000
OWNER = Principal("bench", ROLES[Role.OWNER])
PATHS = [
    "/connectors",
    "/connectors?page=150",
    "/connectors?q=d77",
    "/connectors?verdicts=yes",
    "/connectors?sort=-demands",
    "/connectors?sort=-validated",
    "/connectors?sort=-verdicts&verdicts=yes",
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


async def asked(app: Any, path: str, token: str) -> tuple[int, int, float, float]:
    """Status, bytes, seconds, seconds of CPU of all threads."""
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
    begun, cpu = time.perf_counter(), time.process_time()
    await app(scope, receive, send)
    return status, size, time.perf_counter() - begun, time.process_time() - cpu


def every_page() -> list[str]:
    """The pages of all routes, their places filled with what is there; streams are none."""
    known = {"organization": "contoso", "name": "out-5000", "message": "0000000000001092", "number": "1", "id": "1"}
    known |= {"identity": "0000000000001092", "version": "x", "direction": "outbound"}
    paths = []
    for route in ROUTES:
        if "GET" in (route.methods or ()) and "/live/" not in route.path and "static" not in route.path:
            path = route.path.replace("/inbound/{name", "/inbound/{inbound")
            paths.append(
                re.sub(r"\{(\w+)(:\w+)?\}", lambda found: (known | {"inbound": "in-50"}).get(found[1], "1"), path)
            )
    return [*dict.fromkeys(paths)]


async def measured(app: Any, paths: list[str], token: str, times: int) -> None:
    """Print a line for each path."""
    print(f"{'first ms':>9} {'p50 ms':>8} {'p95 ms':>8} {'CPU ms':>8} {'KB':>8}    status path")
    for path in paths:
        _, _, first, _ = await asked(app, path, token)
        found = [await asked(app, path, token) for _ in range(times)]
        status, size, _, _ = found[0]
        seconds = sorted(one for _, _, one, _ in found)
        median, late = statistics.median(seconds), seconds[max(0, round(times * 0.95) - 1)]
        cpu = min(one for *_, one in found)
        is_page = "format=" not in path
        mark = "!" if is_page and (cpu > BUDGET or size > LARGEST) else " "
        times_ms = f"{first * 1000:9.1f} {median * 1000:8.1f} {late * 1000:8.1f} {cpu * 1000:8.1f}"
        print(f"{times_ms} {size / 1000:8.1f} {mark}  {status}    {path}", flush=True)


def main() -> None:
    """Make the files, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", default=[*every_page(), *PATHS])
    parser.add_argument("--connectors", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        file = folder / "gatepost.toml"
        is_new = not file.exists()
        file.write_text(f'[server]\nhostname = "mx.gate.example"\ndata_dir = "{folder}/data"\n', encoding="utf-8")
        gateway = Gateway(load(str(file), {}))
        if is_new:
            _fill(gateway, options.connectors, options.rows)
        accounts = Accounts(gateway.data / "access.db")
        token = accounts.add_token(f"bench{time.time_ns()}", ROLES[Role.OWNER], by=Actor("", ""))
        app = application(gateway, accounts, ROUTES, HANDLERS)
        asyncio.run(measured(app, list(dict.fromkeys(options.paths)), token, options.times))


def _fill(gateway: Gateway, connectors: int, rows: int) -> None:
    """The resources, the trace of a month, and that of the last hours, which tells of each connector."""
    apply_document(gateway, OWNER, resources(connectors), Wish("bench"))
    folder = gateway.data / "trace"
    folder.mkdir(mode=0o700)
    fill(folder, rows, 30)
    late = events(100_000, connectors)
    for start in range(0, len(late), 10_000):
        write_events(folder, "0", late[start : start + 10_000])


if __name__ == "__main__":
    main()
