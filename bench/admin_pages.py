"""How long pages of the admin centre take, and how large they are, with many connectors and a long trace.

    .venv/bin/python bench/admin_pages.py [PATH]... [--connectors 10000] [--rows 1000000] [--times 10] [--keep FOLDER]
        [--what pages|forms|files|calls|all] [--over]

Makes a gateway's files (`bench/admin_world.py`) and asks the very application that the admin centre serves, without
sockets, as a browser with a session: the first request apart, then the least wall time and the least CPU of all threads
of so many rounds, the bytes of an answer, and how much the memory of the process grew. Rounds go over all pages, so
that a busy minute of the machine does not fall on one of them. Before they begin, what is counted behind pages is
waited for. Without paths, every page that there is (`bench/admin_cases.py`). A budget allows 100 ms and 100 KB; what is
beyond is marked with "!". --over: print only those. --keep: where the files stay, and are taken from the next time.
"""

from __future__ import annotations

import argparse
import asyncio
import html
import re
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

from admin_cases import CALLS, FILES, FORMS, PAGES, unmeasured
from admin_world import Sizes, World, world

from gatepost.manage.pages.routes import HANDLERS, ROUTES
from gatepost.manage.rest.routes import ROUTES as API_ROUTES
from gatepost.manage.web.application import application
from gatepost.manage.web.identity import COOKIE
from gatepost.values import replace

BUDGET, LARGEST = 0.1, 100_000
_SETTLING = 60.0  # seconds for what is counted behind a page


@dataclass(frozen=True)
class Case:
    """What is asked. form: None for GET. bounded: it is a page, and so within the budget."""

    path: str
    form: dict[str, str] | None = None
    bounded: bool = True


@dataclass(frozen=True)
class Answer:
    """seconds: of wall time. cpu: of all threads of the process."""

    status: int
    size: int
    seconds: float
    cpu: float
    text: bytes


class Centre:
    """The application, and a browser with a session."""

    def __init__(self, scene: World) -> None:
        self._scene = scene
        self._app = application(scene.gateway, scene.accounts, [*ROUTES, *API_ROUTES], HANDLERS)

    async def ask(self, case: Case) -> Answer:
        """One request, and how long it took."""
        path = case.path.format_map(self._scene.names)
        body = b"" if case.form is None else urlencode(await self._filled(path, case.form)).encode()
        got: list[dict[str, Any]] = []
        given = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if not given:
                await asyncio.Event().wait()
            return given.pop()

        async def send(message: Any) -> None:
            got.append(message)

        begun, cpu = time.perf_counter(), time.process_time()
        await self._app(self._scope(path, body, is_form=case.form is not None), receive, send)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        text = b"".join(one.get("body", b"") for one in got)
        return Answer(got[0]["status"], len(text), seconds, cpu, text)

    async def _filled(self, path: str, form: dict[str, str]) -> dict[str, str]:
        """The form with the session's token, and with what the page has where it says nothing."""
        empty = [name for name, text in form.items() if not text]
        page = (await self.ask(Case(path))).text.decode() if empty else ""
        there = {name: re.search(rf'name="{name}"[^>]*? value="([^"]*)"', page) for name in empty}
        return {**form, "csrf": self._scene.csrf} | {n: html.unescape(one[1]) for n, one in there.items() if one}

    def _scope(self, path: str, body: bytes, *, is_form: bool) -> dict[str, Any]:
        address, _, query = path.partition("?")
        headers = {"host": "localhost", "cookie": f"{COOKIE}={self._scene.cookie}"}
        if "part=" in query:  # as htmx asks for a part of a page
            headers |= {"hx-request": "true", "hx-request-type": "partial"}
        if is_form:
            headers |= {"content-type": "application/x-www-form-urlencoded", "content-length": str(len(body))}
            headers |= {"sec-fetch-site": "same-origin"}
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST" if is_form else "GET",
            "scheme": "https",
            "path": unquote(address),
            "raw_path": address.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 443),
        }


def cases(what: str) -> list[Case]:
    """pages, forms, files, calls, or all."""
    found = {
        "pages": [Case(path) for paths in PAGES.values() for path in paths],
        "forms": [Case(path, form) for path, form in FORMS],
        "files": [Case(path, bounded=False) for path in FILES],
        "calls": [Case(path, bounded=False) for path in CALLS],
    }
    return [one for kind, some in found.items() if what in {kind, "all"} for one in some]


@dataclass
class Line:
    """What came of a case."""

    case: Case
    status: int
    size: int
    first: float
    first_cpu: float
    seconds: float = 0.0
    cpu: float = 0.0
    grown: int = 0

    @property
    def mark(self) -> str:
        """ "!" for what is beyond the budget, or no page at all."""
        over = self.case.bounded and (self.cpu > BUDGET or self.size > LARGEST)
        return "!" if over else "?" if self.status not in {200, 303} else " "

    def text(self) -> str:
        """The line of the table."""
        times = f"{self.first * 1000:8.1f} {self.seconds * 1000:8.1f} {self.cpu * 1000:8.1f} {self.size / 1000:8.1f}"
        verb = "POST" if self.case.form is not None else "GET "
        return f"{times} {self.grown / 1000:7.1f} {self.mark}  {self.status}    {verb} {self.case.path}"


async def measured(centre: Centre, wanted: Sequence[Case], times: int, settling: float = _SETTLING) -> list[Line]:
    """Ask for each once, wait until nothing is counted any more, and then so many rounds; without any, once is all."""
    lines = []
    for case in wanted:
        before = _peak()
        answer = await centre.ask(case)
        if times:
            print(f"{answer.cpu * 1000:8.1f} ms  {case.path}", file=sys.stderr, flush=True)
        lines.append(Line(case, answer.status, answer.size, answer.seconds, answer.cpu, grown=_peak() - before))
    if not times:
        return [replace(line, seconds=line.first, cpu=line.first_cpu) for line in lines]
    await _settled(settling)
    rounds = [[await centre.ask(line.case) for line in lines] for _ in range(times)]
    for place, line in enumerate(lines):
        found = [one[place] for one in rounds]
        line.seconds, line.cpu = min(one.seconds for one in found), min(one.cpu for one in found)
        line.size = max(one.size for one in found)
    return lines


async def _settled(seconds: float) -> None:
    """Until no thread of the process works any more."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        cpu = time.process_time()
        await asyncio.sleep(0.5)
        if time.process_time() - cpu < 0.1:
            return


def _peak() -> int:
    """The most memory that the process ever had, in KB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Make the files, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*")
    parser.add_argument("--connectors", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--what", choices=("pages", "forms", "files", "calls", "all"), default="all")
    parser.add_argument("--over", action="store_true")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    if options.paths:
        wanted = [Case(path, bounded="format=" not in path and "/api/" not in path) for path in options.paths]
    else:
        wanted = cases(options.what)
    if missing := unmeasured(ROUTES):
        print("neither measured nor said not to be: " + ", ".join(missing))
    with tempfile.TemporaryDirectory() as temporary:
        scene = world(options.keep or Path(temporary), Sizes(options.connectors, options.rows))
        begun = time.process_time()
        centre = Centre(scene)
        print(f"ready after {time.process_time() - begun:.2f} s CPU, {_peak() / 1000:.0f} MB resident at most")
        lines = asyncio.run(measured(centre, wanted, options.times))
    print(f"{'first ms':>8} {'wall ms':>8} {'CPU ms':>8} {'KB':>8} {'grew MB':>7}    status path")
    for line in lines:
        if line.mark != " " or not options.over:
            print(line.text())
    print(f"{_peak() / 1000:.0f} MB resident at most")


if __name__ == "__main__":
    main()
