from __future__ import annotations

import time

import pytest

from gatepost.net.identity import ServerIdentity
from gatepost.pki.acme.duty import AcmeDuty, outcome, policy_hosts
from gatepost.pki.acme.issuer import IssuedCertificate, alone
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.entry import State
from gatepost.pki.certificates.inventory import entry_from
from gatepost.settings.model import Settings
from gatepost.store.changes import ConfigStore

NOWHERE = "https://127.0.0.1:1/directory"
DOMAINS = [{"name": "a.example", "mta_sts": "testing"}, {"name": "b.example"}]


@pytest.fixture
def store(tmp_path):
    store = ConfigStore(tmp_path / "config.db")
    store.apply({"organization": {"a": {"accepted_domain": DOMAINS}}}, author="t")
    yield store
    store.close()


@pytest.fixture
def settings(tmp_path):
    key = tmp_path / "key"
    key.touch(0o600)
    key.write_bytes(bytes(32))

    def make(**sections):
        document = {
            "server": {"hostname": "mx.a.example", "data_dir": str(tmp_path)},
            "store": {"master_key": f"file:{key}"},
            "dns": {"nameservers": ["127.0.0.1:1"], "timeout": 0.05, "attempts": 1},
            "acme": {"directory_url": NOWHERE, "agree_tos": True},
            **sections,
        }
        return Settings(**document)

    return make


def wait(duty):
    duty._thread.join(20)
    assert not duty._thread.is_alive()


def test_where_policies_are_served(settings, store):
    assert policy_hosts(settings(), store) == []
    assert policy_hosts(settings(mta_sts={"address": "127.0.0.1:443"}), store) == ["mta-sts.a.example"]


def test_what_is_due_is_done_in_a_thread_and_its_failure_told_once(settings, store, caplog):
    duty = AcmeDuty(settings(mta_sts={"address": "127.0.0.1:443"}), store)
    begin = time.monotonic()
    duty.look()
    duty.look()  # one at a time
    assert time.monotonic() - begin < 5
    wait(duty)
    for name in ("mx.a.example", "mta-sts.a.example"):
        said = [line for line in caplog.messages if line.startswith(f"no certificate for {name}: ")]
        assert len(said) == 1
        assert "cannot be reached: Connection refused" in said[0]
        assert "; next try at 20" in said[0]
    caplog.clear()
    thread = duty._thread
    duty.look()  # nothing is due now
    assert duty._thread is thread
    assert caplog.messages == []


def test_what_another_run_left_is_tidied_up_though_nothing_is_due(settings, store):
    duty = AcmeDuty(settings(), store)
    duty.look()
    wait(duty)
    store.apply({}, author="t", content={"acme/pending": b"[]"})
    duty.look()
    wait(duty)
    assert store.content("acme/pending") is None


def test_it_is_off_unless_it_is_on(settings, store, caplog):
    duty = AcmeDuty(settings(acme={}), store)
    duty.look()
    assert duty._thread is None
    duty = AcmeDuty(settings(store={}), store)
    duty.look()
    assert duty._thread is None
    assert caplog.messages == [
        "no certificates are requested: ACME needs store.master_key, to seal the keys of account and certificates"
    ]


def test_while_a_command_asks_and_at_the_end_nothing_is_begun(settings, store, tmp_path, caplog):
    duty = AcmeDuty(settings(), store)
    with alone(tmp_path):
        duty.look()
        wait(duty)
    duty.close()
    duty.look()
    wait(duty)
    assert not [line for line in caplog.messages if "no certificate" in line or "requesting" in line]


def test_what_is_told_of_a_certificate_that_came():
    identity = ServerIdentity(*Authority("Duty Root").issue(["mx.a.example"]))
    one = entry_from(identity, now=1000.0)
    end = outcome(IssuedCertificate(one, "", key_kept=True))
    assert end.endswith("with the previous certificate's key: it is current")
    held = outcome(IssuedCertificate(one, "the records say no", key_kept=False))
    assert held.endswith(
        "with a new key: it is the next one, and waits for `gatepost certificate changeover`: the records say no"
    )
    assert one.state is State.NEXT
