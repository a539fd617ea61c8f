"""The admin centre of a running gateway, with an owner, as a browser and as a program see it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import Page
from support.gateway import Gateway
from support.links import Links

from gatepost.testing.process import free_port, wait_until

OWNER = "olga"
PASSWORD = "correct horse battery staple"
_SETUP = re.compile(r"https://127\.0\.0\.1:\d+/setup\?code=\S+")


class AdminCentre:
    """gateway: started with `settings()` among its settings. url: without a path."""

    def __init__(self, gateway: Gateway, port: int) -> None:
        self.gateway = gateway
        self.port = port
        self.url = f"https://127.0.0.1:{port}"
        self._links = Links(port)

    def setup_url(self) -> str:
        """The one-time address that the gateway, which has no terminal, left for its account alone."""
        file = self.gateway.data_dir / "setup-address"
        text = wait_until(lambda: file.read_text() if file.exists() else "", "the setup address is written")
        return _SETUP.findall(text)[0]

    def answers(self) -> bool:
        """Whether somebody is there."""
        try:
            return self.call("/login")[0] == 200
        except OSError:
            return False

    def make_owner(self) -> None:
        """By the command line, without the one-time address."""
        words = ("user", "add", OWNER, "--role", "owner", "--password-stdin")
        self.gateway.cli(*words, given=f"{PASSWORD}\n")

    def log_in(self, page: Page, path: str = "/", *, name: str = OWNER, password: str = PASSWORD) -> None:
        """A session as the log-in page makes it, then the page at `path`.

        The browser loads no form for it, which takes 0.3 s of CPU each time; `log_in_by_form` is what a person does.
        """
        form = urlencode({"name": name, "password": password}).encode()
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Sec-Fetch-Site": "same-origin",
            "User-Agent": page.evaluate("navigator.userAgent"),
        }
        with self._links.asked("POST", "/login", form, headers) as (answer, _):
            assert answer.status == 303, answer.read().decode()
            cookie, _, _ = (answer.getheader("Set-Cookie") or "").partition(";")
            answer.read()
        cookie_name, _, value = cookie.partition("=")
        attributes: Any = {"secure": True, "httpOnly": True, "sameSite": "Lax"}
        page.context.add_cookies([{"name": cookie_name, "value": value, "url": self.url, **attributes}])
        page.goto(f"{self.url}{path}")

    def log_in_by_form(self, page: Page, path: str = "/", *, name: str = OWNER, password: str = PASSWORD) -> None:
        """As a person does; ends on the page at `path`."""
        page.goto(f"{self.url}/login?next={path}")
        page.get_by_label("Name").fill(name)
        page.get_by_label("Password", exact=True).fill(password)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(f"{self.url}{path}")

    def token(self, *scopes: str, name: str = "test", organizations: tuple[str, ...] = ()) -> str:
        """A new API token with these scopes ("owner" without any)."""
        words = [word for scope in scopes or ("owner",) for word in ("--scope", scope)]
        words += [word for one in organizations for word in ("--organization", one)]
        return str(self.gateway.cli("token", "add", name, *words, json=True).data["token"])

    def call(
        self,
        path: str,
        token: str = "",
        method: str = "GET",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, str], Any]:
        """One request: (status, headers with lower-case names, what the JSON says, or the text)."""
        given = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            given["Content-Type"] = "application/json"
        sent = None if body is None else json.dumps(body).encode()
        with self._links.asked(method, path, sent, given | dict(headers or {})) as (answer, _):
            told = {name.lower(): value for name, value in answer.headers.items()}
            text = answer.read().decode()
        return answer.status, told, json.loads(text) if text and "json" in told.get("content-type", "") else text


def settings(port: int | None = None) -> dict[str, Any]:
    """What a gateway's settings need for an admin centre."""
    return {"admin": {"address": f"127.0.0.1:{port or free_port()}"}}


def served(make: Callable[..., Gateway], resources: Any = "", **options: Any) -> AdminCentre:
    """A gateway with an admin centre that has an owner, answering. make: the fixture `gateway`."""
    port = free_port()
    given = options.pop("settings", {})
    server = make(resources, settings={**given, **settings(port)}, **options)
    centre = AdminCentre(server, port)
    centre.make_owner()
    wait_until(centre.answers, "the admin centre answers", timeout=60)
    return centre


@contextmanager
def running(resources: Any = "", **options: Any) -> Iterator[AdminCentre]:
    """The same with a gateway of its own, which ends with the context: for several tests."""
    with ExitStack() as stack:
        yield served(lambda given, **more: stack.enter_context(Gateway(given, **more)), resources, **options)
