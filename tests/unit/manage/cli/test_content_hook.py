from __future__ import annotations

import contextlib
import socket
import threading

import pytest

BASE = """
[organization.contoso]
accepted_domain = [{ name = "contoso.example" }]
[[organization.contoso.content_hook]]
name = "spam"
type = "rspamd"
address = "http://127.0.0.1:11333"
mode = "rehearse"
direction = "inbound"
timeout = "10s"
on_failure = "accept"
[[organization.contoso.content_hook]]
name = "av"
type = "clamav"
address = "unix:/run/clamav/clamd.ctl"
[[organization.contoso.content_hook]]
name = "old"
type = "clamav"
address = "127.0.0.1"
enabled = false
[organization.fabrikam]
"""


@contextlib.contextmanager
def clamd(answer):
    """A scanner that answers everything with that; its port."""

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    seen = b""
                    while not seen.endswith(b"\0\0\0\0") and (more := connection.recv(65536)):
                        seen += more
                    connection.sendall(answer(seen))

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def knowing(seen):
    return b"stream: Eicar FOUND\0" if b"WDVPIVAl" in seen or b"virus" in seen else b"stream: OK\0"


def test_the_list_says_what_each_is_and_what_happens_without_it(home):
    home.call("apply", "-f", home.write(BASE))
    assert [tuple(row.values()) for row in home.table("hook", "list")] == [
        ("enabled", "av", "contoso", "clamav", "unix:/run/clamav/clamd.ctl", "both", "30s", "defer"),
        ("disabled", "old", "contoso", "clamav", "127.0.0.1:3310", "both", "30s", "defer"),
        ("rehearsal", "spam", "contoso", "rspamd", "http://127.0.0.1:11333", "inbound", "10s", "accept"),
    ]
    assert home.json("hook", "list", "--organization", "fabrikam") == []
    assert "no organization 'x'" in home.call("hook", "list", "--organization", "x", code=2).stderr
    assert home.json("organization", "list")[0]["hooks"] == 3


def test_hooks_are_added_set_shown_and_removed_like_other_parts(home):
    home.call("apply", "-f", home.write(BASE))
    home.call("hook", "add", "new", "--organization", "contoso", "type=clamav", "address=127.0.0.1", "mode=rehearse")
    home.call("hook", "set", "new", "timeout=5s", "obey=reject", code=2)
    home.call("hook", "set", "spam", "obey=soft-reject,add-header", "on_failure=")
    shown = {one["field"]: one["value"] for one in home.json("hook", "show", "spam")["fields"]}
    assert shown["obey"] == ["soft-reject", "add-header"]
    assert shown["on_failure"] == "defer"
    home.call("hook", "remove", "new")
    assert len(home.json("hook", "list")) == 3


def test_a_scanner_that_finds_what_it_must_is_right(home):
    with clamd(knowing) as port:
        home.call("apply", "-f", home.write(BASE.replace("unix:/run/clamav/clamd.ctl", f"127.0.0.1:{port}")))
        told = home.call("hook", "check", "av").stdout.splitlines()
        assert told[0] == f"content hook 'av' of contoso: clamav at 127.0.0.1:{port}"
        assert [line.split()[:2] for line in told[1:]] == [["harmless", "ok"], ["EICAR", "ok"]]
        assert told[2].endswith("; Eicar")
        trials = home.json("hook", "check", "av")["trials"]
        assert [one["right"] for one in trials] == [True, True]
        file = home.write("Subject: a virus\n\nhello\n", "message.eml")
        assert "refuses with 554" in home.call("hook", "check", "av", "--message", file, code=1).stdout
        file = home.write("Subject: harmless\n\nhello\n", "message.eml")
        assert "passes it" in home.call("hook", "check", "av", "--message", file).stdout


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (b"stream: OK\0", 1, "EICAR      WRONG"),
        (b"stream: X FOUND\0", 1, "harmless   WRONG"),
        (b"nonsense\0", 3, "harmless   no answer  clamd answered 'nonsense'"),
    ],
)
def test_a_scanner_that_does_not_is_not(home, answer, code, words):
    with clamd(lambda _seen: answer) as port:
        home.call("apply", "-f", home.write(BASE.replace("unix:/run/clamav/clamd.ctl", f"127.0.0.1:{port}")))
        assert words in home.call("hook", "check", "av", code=code).stdout


def test_what_cannot_be_tried(home, tmp_path):
    home.call("apply", "-f", home.write(BASE))
    assert "there is no content hook 'x'" in home.call("hook", "check", "x", code=2).stderr
    assert "No such file" in home.call("hook", "check", "av", code=3).stdout
    assert "does not exist" in home.call("hook", "check", "av", "--message", tmp_path / "none", code=2).stderr
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate((1 << 30) + 1)
    assert "is larger than" in home.call("hook", "check", "av", "--message", large, code=2).stderr


def test_a_message_beyond_max_size_is_told_as_that(home):
    home.call("apply", "-f", home.write(BASE))
    home.call("hook", "set", "av", "max_size=1024", "over_max_size=accept")
    file = home.write("x" * 2000, "message.eml")
    assert "too large for the scanner" in home.call("hook", "check", "av", "--message", file, code=3).stdout
