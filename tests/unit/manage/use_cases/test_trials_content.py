"""With a scanner that answers; what its answers mean is in tests/unit/analysis/checks/test_content_hook.py."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.client import LocalClient
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resources import apply_document
from gatepost.manage.use_cases.trials import TryHook, try_hook

OWNER = Principal("ann", frozenset({Scope.OWNER}))
STRANGER = Principal("sid", frozenset({Scope.CONNECTORS}), frozenset({"fabrikam"}))


@pytest.fixture
def scanner():
    """A clamd that finds a virus wherever the word stands, or the EICAR file; its port."""

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    seen = b""
                    while not seen.endswith(b"\0\0\0\0") and (more := connection.recv(65536)):
                        seen += more
                    found = b"WDVPIVAl" in seen or b"virus" in seen
                    connection.sendall(b"stream: Eicar FOUND\0" if found else b"stream: OK\0")

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


@pytest.fixture
def base(gateway, scanner):
    hooks = [
        {"name": "av", "type": "clamav", "address": f"127.0.0.1:{scanner}", "mode": "rehearse"},
        {"name": "dead", "type": "clamav", "address": "127.0.0.1:1", "timeout": "1s"},
    ]
    contoso = {"accepted_domain": [{"name": "contoso.example"}], "content_hook": hooks}
    apply_document(gateway, OWNER, {"organization": {"contoso": contoso, "fabrikam": {}}}, ChangeOptions("ann"))
    return gateway


def tried(base, name, who=OWNER, message=None):
    return LocalClient(base, who).call(try_hook, TryHook(organization="contoso", hook=name, message=message))


def test_samples(base, scanner):
    trial = tried(base, "AV")
    assert (trial.hook, trial.organization, trial.type) == ("av", "contoso", "clamav")
    assert trial.address == f"127.0.0.1:{scanner}"
    harmless, eicar = trial.trials
    assert (harmless.message, harmless.right, harmless.reply) == ("harmless", True, "")
    assert (eicar.message, eicar.right, eicar.must_be_refused) == ("EICAR", True, True)
    assert eicar.reply.startswith("554 5.7.1 ")
    assert eicar.answer["signature"] == "Eicar"


@pytest.mark.parametrize(("content", "refused"), [(b"Subject: virus\r\n\r\n", True), (b"", False)])
def test_a_message(base, content, refused):
    (trial,) = tried(base, "av", message=content).trials
    assert (trial.message, trial.must_be_refused, bool(trial.reply)) == ("message", None, refused)


def test_a_scanner_that_does_not_answer(base):
    assert [one.answered for one in tried(base, "dead").trials] == [False, False]


@pytest.mark.parametrize(("who", "name"), [(OWNER, "nobody"), (STRANGER, "av")])
def test_what_is_not_there_is_not_asked(base, who, name):
    with pytest.raises(Refusal) as refused:
        tried(base, name, who)
    assert refused.value.kind is RefusalKind.MISSING
