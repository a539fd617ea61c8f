"""Certificates that another gateway asks for at its ACME authority: begun by a call, and asked about until the end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from gatepost.manage.use_cases.acme_renewal import Renewal
from gatepost.manage.use_cases.refusal import Kind, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.manage.remote.connection import Connection


_WAIT: Final = 20.0  # seconds that a call waits for the end
_MOST: Final = 7200.0  # the DNS may be waited for during an hour


def renew(
    connection: Connection,
    name: str = "",
    *,
    at_once: bool = False,
    staging: str = "",
    heard: Callable[[Renewal], None] | None = None,
) -> list[Renewal]:
    """As `manage.use_cases.acme_renewal.renew`."""
    body = {"name": name, "at_once": at_once, "staging": staging}
    state = connection.call("POST", "/acme/renewals", query={"wait": _WAIT}, body=body).value
    done: list[Renewal] = []
    end = time.monotonic() + _MOST
    while True:
        for one in state["results"][len(done) :]:
            done.append(Renewal(tuple(one["names"]), one["ok"], one["text"]))
            if heard is not None:
                heard(done[-1])
        if state["done"]:
            break
        if time.monotonic() > end:
            text = "it is still asking; `gatepost certificate acme status` says what came of it"
            raise Refusal(Kind.UNREADABLE, f"{connection.url}: {text}")
        state = connection.get(f"/acme/renewals/{quote(state['id'], safe='')}", wait=_WAIT).value
    if state["trouble"]:
        raise Refusal(Kind.UNREADABLE, f"{connection.url}: {state['trouble']}")
    return done


def forget_account(connection: Connection) -> str:
    """As `manage.use_cases.acme_renewal.forget_account`."""
    directory: str = connection.call("DELETE", "/acme/account").value["directory"]
    return directory
