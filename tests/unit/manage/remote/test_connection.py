from __future__ import annotations

import datetime as dt
import re
import socket
import ssl
import threading

import pytest

from gatepost.manage.remote import connection as module
from gatepost.manage.remote.address import Address
from gatepost.manage.remote.connection import RestConnection
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.pki.certificates.authority import self_signed

OK = b'HTTP/1.1 200 OK\r\nETag: "v3"\r\nContent-Length: 9\r\n\r\n{"a": 10}'


class Server:
    """TLS on loopback. answers: to one request each; None keeps silent. seen: requests."""

    def __init__(self, folder):
        chain, key = self_signed(["localhost"], lifetime=dt.timedelta(days=1))
        self.chain, key_file = folder / "chain.pem", folder / "key.pem"
        self.chain.write_bytes(chain)
        key_file.write_bytes(key)
        self.sha256 = module.hashlib.sha256(ssl.PEM_cert_to_DER_cert(chain.decode())).hexdigest()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.chain, key_file)
        self.answers, self.seen, self._open = [], [], []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                plain, _ = self._listening.accept()
                client = self._context.wrap_socket(plain, server_side=True)
                self._open.append(client)
                while self.answers and (request := self._request(client)):
                    self.seen.append(request)
                    answer = self.answers.pop(0)
                    if answer is not None:
                        client.sendall(answer)
                if self.seen and answer is not None:
                    client.close()
            except ssl.SSLError:
                continue
            except OSError:
                if self._listening.fileno() < 0:
                    return

    @staticmethod
    def _request(client):
        """The head, and as much as it announces."""
        found = client.recv(65536)
        size = re.search(rb"Content-Length: (\d+)", found)
        while size and len(found.partition(b"\r\n\r\n")[2]) < int(size[1]) and (more := client.recv(65536)):
            found += more
        return found

    def close(self):
        if self._listening.fileno() >= 0:
            self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
        for one in self._open:
            one.close()
        self._thread.join(30)


@pytest.fixture
def server(tmp_path):
    made = Server(tmp_path)
    yield made
    made.close()


@pytest.fixture
def connected(server):
    made = []

    def make(**fields):
        trust = fields or {"ca": str(server.chain)}
        made.append(
            RestConnection(Address(f"https://localhost:{server.port}", "localhost", server.port, "gp_x", **trust))
        )
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_calls_on_one_connection(server, connected):
    server.answers = [OK, OK]
    connection = connected()
    answer = connection.get("/x", name="a b&c", rule=False, none=None, empty="", replay=True)
    assert answer[:2] == ({"a": 10}, '"v3"')
    connection.call("PATCH", "/y", body={"ä": 1}, if_match='"v3"')
    first, second = server.seen
    assert first.startswith(b"GET /api/v1/x?name=a+b%26c&replay=true HTTP/1.1\r\n")
    assert b"Authorization: Bearer gp_x\r\n" in first
    assert b'If-Match: "v3"\r\n' in second
    assert "ä".encode() in second


def test_a_file(server, connected):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: message/rfc822\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.answers = [head + b"3\r\na\xffb\r\n0\r\n\r\n"]
    assert connected().file("/x") == b"a\xffb"
    assert b"Accept: */*\r\n" in server.seen[0]
    server.answers = [head + b"ff\r\nab"]
    with pytest.raises(Refusal, match=r"its answer was complete|not HTTP"):
        connected().file("/x")


def test_a_pinned_certificate(server, connected):
    server.answers = [OK]
    assert connected(fingerprint=server.sha256).get("/x").value == {"a": 10}
    with pytest.raises(Refusal, match=server.sha256) as refused:
        connected(fingerprint="ab" * 32).get("/x")
    assert refused.value.kind is RefusalKind.UNREADABLE
    assert len(server.seen) == 1, "the token went to nobody else"


def test_a_certificate_that_nobody_vouches_for(server, connected):
    with pytest.raises(Refusal, match=r"is not trusted.*--ca FILE"):
        connected(ca="").get("/x")
    assert server.seen == []


def test_anchors_that_are_none(connected, tmp_path):
    (tmp_path / "empty").write_text("nothing", encoding="ascii")
    for file, text in ((tmp_path / "empty", "no PEM certificates"), (tmp_path / "none", "No such file")):
        with pytest.raises(Refusal, match=text) as refused:
            connected(ca=str(file)).get("/x")
        assert refused.value.kind is RefusalKind.INPUT


ANSWERS = {
    "not JSON": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n<", "not JSON"),
    "nested too deeply": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"[" * 100_000,
        "not JSON",
    ),
    "refused, nested too deeply": (
        b"HTTP/1.1 400 Bad\r\nContent-Type: application/problem+json\r\nContent-Length: 100000\r\n\r\n"
        + b"[" * 100_000,
        "does not say why",
    ),
    "not HTTP": (b"220 mx ESMTP\r\n", "not HTTP"),
    "cut short": (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", "before its answer was complete"),
    "redirect": (b"HTTP/1.1 308 Moved\r\nLocation: https://x\r\nContent-Length: 0\r\n\r\n", "sends us elsewhere"),
}


@pytest.mark.parametrize(("answer", "text"), ANSWERS.values(), ids=ANSWERS)
def test_answers_that_are_none(server, connected, answer, text):
    server.answers = [answer]
    with pytest.raises(Refusal, match=text) as refused:
        connected().get("/x")
    assert refused.value.kind is RefusalKind.UNREADABLE
    assert len(server.seen) == 1


def test_an_answer_without_end(server, connected, monkeypatch):
    monkeypatch.setattr(module, "_MOST", 4)
    server.answers = [OK]
    with pytest.raises(Refusal, match="larger than 4 bytes"):
        connected().get("/x")


@pytest.mark.parametrize("bound", ["_SILENCE", "_WHOLE"])
def test_silence_ends(server, connected, monkeypatch, bound):
    monkeypatch.setattr(module, bound, 0.3)
    server.answers = [None]
    with pytest.raises(Refusal, match="does not answer in time"):
        connected().get("/x")


def test_nobody_is_there(server, connected):
    server.close()
    with pytest.raises(Refusal, match="cannot be reached: Connection refused"):
        connected().get("/x")


def test_values_that_json_has_not(connected):
    for value in (dt.date(2026, 1, 1), float("inf"), "\ud800"):
        with pytest.raises(Refusal, match="dates") as refused:
            connected().call("PATCH", "/resources", body={"x": value})
        assert refused.value.kind is RefusalKind.INPUT
