from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from gatepost.analysis.alarms.alarm import ALARMS_CONTENT, Alarm, AlarmStatus, Kind, Memory, Severity, encoded
from gatepost.pki.certificates.authority import Authority
from gatepost.store.changes import ConfigStore

HOST = "mx.gate.example"
DAY = 86400.0
TLSA = Alarm(Kind.TLSA_MISMATCH, Severity.CRITICAL, "", "no\x1b record", "Detail.", "publish one", HOST, since=1000.0)


@pytest.fixture(scope="module")
def authority():
    return Authority("Alarms Root")


@pytest.fixture
def present(home, authority):
    """The gateway's certificate ends in so many days, after a year."""

    def make(days, name=HOST):
        end = datetime.now(UTC) + timedelta(days=days, hours=1)
        chain, key = authority.issue(
            [name], lifetime=timedelta(days=365), not_before=end - timedelta(days=365, hours=1)
        )
        (home.path / "mx.pem").write_bytes(chain)
        (home.path / "mx.key").touch(0o600)
        (home.path / "mx.key").write_bytes(key)
        home.settings(certificate=[{"chain": "mx.pem", "key": "mx.key"}])

    return make


def keep(home, **fields):
    """As a gateway that ran left it."""
    store = ConfigStore(home.data / "config.db")
    memory = Memory(**{"looked": time.time(), **fields})
    store.apply({}, author="test", content={ALARMS_CONTENT: encoded(memory)})
    store.close()


def test_a_gateway_without_certificates_has_no_alarms(home):
    assert home.json("certificate", "alarms") == {"alarms": [], "looked": None, "unknown": []}
    assert home.call("certificate", "alarms").stderr == "no alarms\n"


def test_what_needs_no_look_is_judged_though_nothing_ever_ran(home, present):
    present(3)
    found = home.json("certificate", "alarms", code=1)
    assert [(one["kind"], one["severity"]) for one in found["alarms"]] == [
        ("expiry", "error"),
        ("next-missing", "warning"),
    ]
    assert found["looked"] is None
    assert "never checked" in found["unknown"][0]
    shown = home.call("certificate", "alarms", code=1)
    assert shown.stdout.startswith("ERROR    the certificate ")
    assert "fix Renew the files" in shown.stdout
    assert shown.stderr.startswith("unknown: ")


def test_what_the_gateway_found_stands(home, present):
    present(100)
    keep(home, standing=(AlarmStatus(TLSA, 1000.0),))
    (found,) = home.json("certificate", "alarms", code=1)["alarms"]
    assert (found["kind"], found["about"], found["certificate"], found["since"]) == (
        "tlsa-mismatch",
        HOST,
        None,
        1000.0,
    )
    assert "CRITICAL no? record" in home.call("certificate", "alarms", code=1).stdout


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({}, 0, "no alarms; DNS and revocation were checked at 20"),
        ({"unknown": ("the DNS is silent",)}, 3, "unknown: the DNS is silent"),
        ({"looked": time.time() - 27 * 3600}, 3, "unknown: the last check was at 20"),
        ({"looked": 0.0}, 3, "unknown: revocation, TLSA records and addresses were never checked"),
    ],
)
def test_what_could_not_be_told(home, present, fields, code, said):
    present(100)
    keep(home, **fields)
    assert home.call("certificate", "alarms", code=code).stderr.startswith(said)


def test_a_name_that_is_not_borne(home, present):
    present(100, "other.example")
    keep(home)
    (found,) = home.json("certificate", "alarms", code=1)["alarms"]
    assert (found["kind"], found["about"]) == ("name-not-covered", HOST)


def test_files_that_cannot_be_read_are_told(home):
    home.settings(certificate=[{"chain": "nothing.pem", "key": "nothing.key"}])
    assert "nothing.pem" in home.call("certificate", "alarms", code=3).stderr


def test_a_store_that_cannot_be_read(home):
    home.data.mkdir(exist_ok=True)
    (home.data / "config.db").write_bytes(b"no database" * 100)
    home.call("certificate", "alarms", code=3)


def test_in_one_line(home, present):
    present(0.5)
    line = home.json("status", code=1)["certificates"]
    assert line["alarms"] == 2
    assert line["text"].startswith("1 critical alarm, 1 warning: the certificate ")
    assert line["text"].endswith("expires in 12 hours (see gatepost certificate alarms)")
    present(100)
    assert home.json("status", code=1)["certificates"]["text"].startswith("some checks could not run: revocation,")
    keep(home)
    assert home.json("status", code=1)["certificates"] == {"alarms": 0, "text": "no alarms"}
