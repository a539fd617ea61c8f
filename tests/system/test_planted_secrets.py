"""Proves that secrets stay where they belong: some are planted in a gateway, used rightly and wrongly, and looked for.

Looked through is all that it wrote (log with every level, all files of the data directory, a whole transcript of every
session among them) and all that its commands show. Each secret in the forms in which it travels: as it is, in base64
alone and in that of AUTH, in hexadecimal.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from support.admin import PASSWORD, served
from support.gateway import Gateway
from support.raw import RawClient
from support.scenes import connector, contoso, send

from gatepost.testing.pki import Pki
from gatepost.testing.process import Folder, wait_until
from gatepost.testing.sink import Sink

ANN = "ann@contoso.example"
PLANTED = {
    "password of a mailbox": "planted-mailbox-9d1f",
    "wrong password": "planted-guess-77ab",
    "password in the clear": "planted-clear-31c0",
    "secret of a smart host": "planted-relay-5e2d",
    "master key": "planted-master-key-of-32-octets-88f1",
    "password of the owner": PASSWORD,
    "wrong password of the owner": "planted-owner-guess-4b6e",
    "wrong token": "gp_planted-token-0c55",
}


def forms(secret: str) -> Iterator[bytes]:
    """Ways in which it may be written."""
    octets = secret.encode()
    yield octets
    yield octets.hex().encode()
    for text in (octets, b"\0" + ANN.encode() + b"\0" + octets):
        yield base64.b64encode(text).rstrip(b"=")[:-1]  # what follows it could change the last characters


def log_in(server: Gateway, word: str) -> None:
    """By AUTH PLAIN with and without initial response, and by AUTH LOGIN."""
    both = [base64.b64encode(text.encode()).decode() for text in (ANN, word)]
    plain = base64.b64encode(f"\0{ANN}\0{word}".encode()).decode()
    for lines in (
        [f"AUTH PLAIN {plain}"],
        ["AUTH PLAIN", plain],
        ["AUTH LOGIN", *both],
        [f"AUTH LOGIN {both[0]}", both[1]],
    ):
        with RawClient(server.ports["submission"]) as client:
            client.greet()
            client.starttls()
            client.command("EHLO client.example")
            codes = [client.command(line).code for line in lines]
            if "PLAIN" in lines[0]:  # a mechanism that is not offered leaves what follows as commands
                assert codes[-1] == (235 if word == PLANTED["password of a mailbox"] else 535), codes


def test_no_secret_is_written_or_shown(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki, running: ExitStack
) -> None:
    folder, partner = (
        Folder("planted"),
        sink(certificate=pki.leaf("relay.example", names=["relay.example", "127.0.0.1"])),
    )
    running.callback(folder.remove)
    key = folder.write("master.key", PLANTED["master key"], 0o600)
    relay = connector(
        "partner.example", f"127.0.0.1:{partner.port}", name="relay", tls_settings="domain-validation",
        tls_domain="relay.example", authentication={"username": "relay-user"},
    )  # fmt: skip
    settings = {
        "store": {"master_key": f"file:{key}"},
        "trace": {"transcripts": 1000},
        "log": {"level": "debug"},
        "queue": {"retry": ["1s"]},
    }
    resources = contoso(outbound=[relay | {"name": "relay"}])
    leaf = pki.leaf("mx1.contoso.example")
    options = {"certificates": [leaf], "anchors": pki.root, "listeners": ("mx", "submission")}
    centre = served(gateway, resources, settings=settings, **options)
    server = centre.gateway
    server.cli("mailbox", "password", ANN, "--stdin", given=PLANTED["password of a mailbox"])
    server.cli("connector", "secret", "relay", "--stdin", given=f"{PLANTED['secret of a smart host']}\n")
    wait_until(lambda: "AUTH" in ehlo(server), "log-ins are offered")
    for name in ("password of a mailbox", "wrong password"):
        log_in(server, PLANTED[name])
    with RawClient(server.ports["submission"]) as client:  # before TLS, where none is offered
        client.greet()
        client.command(f"AUTH PLAIN {base64.b64encode(f'{ANN}{PLANTED["password in the clear"]}'.encode()).decode()}")
        client.command(f"PASS {PLANTED['password in the clear']}")
    send(server.port, "bob@partner.example")
    server.wait_trace(recipient="bob@partner.example", event="DEFER")  # it offers no log-in
    tokens = {"token": centre.token(), "other token": centre.token("read", name="other")}
    centre.call("/api/v1/status", tokens["token"])
    centre.call("/api/v1/status", PLANTED["wrong token"])
    centre.call("/login", "", "POST", {"name": "olga", "password": PLANTED["wrong password of the owner"]})
    server.cli(
        "user",
        "add",
        "otto",
        "--role",
        "owner",
        "--password-stdin",
        given=f"{PLANTED['wrong password of the owner']}\n",
    )
    shown = everything_shown(server)
    processes = {
        f"/proc/{pid}/{name}": Path(f"/proc/{pid}/{name}").read_bytes()
        for pid in server.family()
        for name in ("cmdline", "environ")
    }
    server.stop()
    written = {str(path): path.read_bytes() for path in server.data_dir.rglob("*") if path.is_file()}
    places = written | processes | {"what commands show": shown.encode(), "log": server.log().encode()}
    assert len(written) > 15
    assert b"AUTH PLAIN" in places["what commands show"], "transcripts are there"
    assert any(b"client.example" in octets for octets in written.values()), "what else was said is found"
    found = [
        (name, place)
        for name, secret in (PLANTED | tokens).items()
        for form in forms(secret)
        for place, octets in places.items()
        if form in octets
    ]
    assert found == []


def ehlo(server: Gateway) -> str:
    """What the server offers under TLS."""
    with RawClient(server.ports["submission"]) as client, suppress(OSError):
        client.greet()
        client.starttls()
        return str(client.command("EHLO client.example"))
    return ""


def everything_shown(server: Gateway) -> str:
    """The output of commands that list what is stored."""
    commands = (
        "export",
        "history",
        "audit",
        "alarms",
        "doctor --offline",
        "settings show --all",
        "queue list",
        "status",
    )
    shown = [server.cli(*command.split(), expect=None) for command in commands]
    rows = server.trace()
    shown += [
        server.cli("trace", "show", str(row[name]), expect=None)
        for row in rows
        for name in ("session", "message")
        if row.get(name)
    ]
    shown.append(server.cli("evidence", "export", expect=None))
    return str(rows) + "".join(run.stdout + run.stderr for run in shown)
