"""Proves that the key for rewritten reverse-paths changes while gateways run and no notice is lost."""

from __future__ import annotations

import smtplib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.gateway import Gateway
from support.postgres import Postgres
from support.scenes import ALICE, connector, contoso, message, send

from gatepost.testing.process import wait_until
from gatepost.testing.sink import Sink

AWAY, OUTSIDE, STRANGER = "away@contoso.example", "home@provider.example", "mallory@elsewhere.example"


def resources(peer: Sink) -> dict[str, Any]:
    forwarding = {"address": AWAY, "forwarding_smtp_address": OUTSIDE}
    found = contoso(outbound=[connector(domain, peer.address) for domain in ("provider.example", "elsewhere.example")])
    found["organization"]["contoso"]["mailbox"] = [{"address": ALICE}, forwarding]
    return found


def nodes(
    kind: str, gateway: Callable[..., Gateway], postgres: Callable[[], Postgres], peer: Sink, folder: Path
) -> tuple[Gateway, Gateway]:
    if kind == "sqlite":
        one = gateway(resources(peer))
        return one, one
    url = postgres().database()
    key = folder / "master.key"
    key.touch(0o600)
    key.write_text("k" * 64)

    def settings(name: str) -> dict[str, dict[str, object]]:
        store = {"url": url, "shared_mailboxes": True, "master_key": f"file:{key}"}
        return {"server": {"node": name}, "store": store}

    return (
        gateway(resources(peer), settings=settings("a")),
        gateway("", hostname="mx2.contoso.example", settings=settings("b")),
    )


def forwarded(node: Gateway, peer: Sink) -> str:
    """The reverse-path with which a message leaves a node."""

    def paths() -> list[str]:
        return [one.reverse_path for one in peer.messages if one.recipients == (OUTSIDE,)]

    before = len(paths())
    assert send(node.port, AWAY, sender=STRANGER, content=message("news", sender=STRANGER)) == {}
    wait_until(lambda: len(paths()) > before, "the forwarded message")
    path = paths()[-1]
    assert path.startswith("SRS0=")
    return path


def takes(node: Gateway, path: str) -> bool:
    """Whether a node takes a notice for it."""
    try:
        return send(node.port, path, sender="", content=message("notice")) == {}
    except smtplib.SMTPRecipientsRefused as refused:
        if not refused.recipients[path][1].startswith(b"5.1.1"):
            raise
        return False


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_key_is_changed_while_nodes_run(
    kind: str,
    gateway: Callable[..., Gateway],
    sink: Callable[..., Sink],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    peer = sink()
    here, there = nodes(kind, gateway, lambda: request.getfixturevalue("postgres"), peer, tmp_path)
    (old,) = here.cli("srs", "list", json=True).data
    first = forwarded(here, peer)
    assert takes(there, first)

    new = here.cli("srs", "rotate", json=True).data
    keys = [{"name": new["name"], "signs": True}, {"name": old["name"], "signs": False}]
    assert there.cli("srs", "list", json=True).data == keys
    assert takes(there, first), "what was sent before the change comes back"
    assert takes(here, forwarded(there, peer)), "and so does what is sent meanwhile"

    # The old key was stolen: it is worth nothing any more, and the new one signs at once.
    there.cli("srs", "remove", old["name"])
    wait_until(lambda: not takes(here, first) and not takes(there, first), "both to refuse the old key")
    second = forwarded(here, peer)
    assert takes(there, second)
    assert takes(here, forwarded(there, peer))
    assert here.cli("srs", "list", json=True).data == keys[:1]
    actions = [row["action"] for row in here.cli("audit", json=True).data]
    assert {"srs-rotate", "srs-remove"} <= set(actions)
