from __future__ import annotations

import http.server
import threading

import pytest

from gatepost.pki.acme.challenges import PATH, AcmeFailed, Proof, Proofs, token_answer
from gatepost.settings.acme import Acme
from gatepost.store.changes import ConfigStore

TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
PROOF = Proof("http-01", "mx.a.example", TOKEN, f"{TOKEN}.thumb")
RECORD = Proof("dns-01", "a.example", "_acme-challenge.a.example", "digest")


@pytest.fixture
def served(tmp_path, store):
    """The address of a server that answers as `node.challenge_host` does. wrong: what it says instead."""
    wrong = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            mine = ConfigStore(tmp_path / "data" / "config.db")
            found = token_answer(mine, self.path)
            mine.close()
            if wrong:
                found = wrong[0]
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"127.0.0.1:{server.server_port}", wrong
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_token_is_there_for_as_long_as_it_is_needed(store, served):
    proofs = Proofs(Acme(http_address=served[0]), store)
    assert token_answer(store, PATH + TOKEN) is None
    proofs.publish([PROOF])
    assert token_answer(store, PATH + TOKEN) == PROOF.value.encode()
    assert proofs.are_pending()
    assert proofs.tidy() == []
    assert token_answer(store, PATH + TOKEN) is None
    assert not proofs.are_pending()
    assert store.history() == []


PATHS = [
    "/",
    PATH,
    PATH + TOKEN[:5],
    PATH + "../" + TOKEN,
    PATH + TOKEN + "?x",
    PATH + "x" * 300,
    "",
    TOKEN,
    PATH + TOKEN + "\n",
]


@pytest.mark.parametrize("path", PATHS)
def test_nothing_else_is_there(store, path):
    for place in (TOKEN, TOKEN[:5], f"../{TOKEN}", "x" * 300, ""):
        store.apply({}, author="t", content={f"acme/http-01/{place}": b"here"})
    assert token_answer(store, path) is None


def test_a_strange_token_is_refused(store):
    with pytest.raises(AcmeFailed, match="has a form that RFC 8555 section"):
        Proofs(Acme(), store).publish([Proof("http-01", "a", "../../x", "y")])
    assert not Proofs(Acme(), store).are_pending()


def test_who_answers_something_else_is_named_before_the_authority_finds_it(store, served, monkeypatch):
    monkeypatch.setattr("gatepost.pki.acme.challenges._PAUSE", 0.0)
    address, wrong = served
    wrong.append(b"<html>")
    with pytest.raises(
        AcmeFailed,
        match=f"does not find the token for mx.a.example at acme.http_address {address}: it answers something",
    ):
        Proofs(Acme(http_address=address), store).publish([PROOF])
    with pytest.raises(AcmeFailed, match=r"Connection refused; is `gatepost serve` running with these settings"):
        Proofs(Acme(http_address="127.0.0.1:1"), store).publish([PROOF])


@pytest.fixture
def hook(tmp_path):
    """A hook that writes down how it was called, and fails for what is in `bad`."""
    program, calls, bad = tmp_path / "hook", tmp_path / "calls", tmp_path / "bad"
    program.write_text(f'#!/bin/sh\necho "$@" >> "{calls}"\n! grep -q "$1" "{bad}" 2>/dev/null\n')
    program.chmod(0o755)
    return program, calls, bad


def test_records_are_published_and_removed_by_the_hook(store, hook):
    program, calls, bad = hook
    proofs = Proofs(Acme(challenge="dns-01", dns_hook=(str(program),)), store)
    proofs.publish([RECORD])
    assert Proofs(proofs.settings, store).tidy() == []  # by another run as well
    assert calls.read_text().splitlines() == [
        f"{one} _acme-challenge.a.example digest" for one in ("present", "remove")
    ]
    bad.write_text("present remove")
    with pytest.raises(AcmeFailed, match=r"present _acme-challenge.a.example ended with 1"):
        proofs.publish([RECORD])
    assert proofs.are_pending()
    (line,) = proofs.tidy()
    assert line.startswith("the TXT record of _acme-challenge.a.example is not removed: ")
    assert not proofs.are_pending()


def test_without_a_hook_and_with_nothing_to_do(store):
    with pytest.raises(AcmeFailed, match=r"acme\.dns_hook is empty"):
        Proofs(Acme(), store).publish([RECORD])
    store.apply({}, author="t", content={"acme/pending": b"no list"})
    assert Proofs(Acme(), store).tidy() == []
    Proofs(Acme(), store).publish([])
    assert not Proofs(Acme(), store).are_pending()
