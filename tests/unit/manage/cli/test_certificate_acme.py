"""The commands without an authority; with one they are in tests/system/test_acme.py."""

from __future__ import annotations

from gatepost.pki.acme.issuer import alone
from gatepost.settings.acme import Acme

NOWHERE = "https://127.0.0.1:1/directory"


def on(home, **fields):
    key = home.path / "key"
    key.touch(0o600)
    key.write_bytes(bytes(32))
    home.settings(
        store={"master_key": f"file:{key}"},
        dns={"nameservers": ["127.0.0.1:1"], "timeout": 0.05, "attempts": 1},
        acme={"directory_url": NOWHERE, "agree_tos": True, **fields},
    )


def test_off_is_told_with_what_to_do(home):
    for words in (("status",), ("renew",), ("forget",)):
        told = home.call("certificate", "acme", *words, code=2).stderr
        assert "ACME is off: set agree_tos = true under [acme] in the settings" in told


def test_before_the_first_one_and_after_a_failure(home):
    on(home)
    assert home.json("certificate", "acme", "status", code=1) == {
        "ok": False,
        "directory": NOWHERE,
        "account": "",
        "certificates": [
            {
                "names": ["mx.gate.example"],
                "certificate": "",
                "state": "",
                "not_after": None,
                "renew_at": None,
                "renew_at_from": "",
                "tried": None,
                "succeeded": None,
                "failures": 0,
                "not_before": None,
                "error": "",
            }
        ],
    }
    told = home.call("certificate", "acme", "renew", code=1).stderr
    assert told.startswith(f"no certificate for mx.gate.example: {NOWHERE} cannot be reached: Connection refused")
    (one,) = home.json("certificate", "acme", "status", code=1)["certificates"]
    assert (one["failures"], one["certificate"]) == (1, "")
    assert 3000 < one["not_before"] - one["tried"] < 4000
    text = home.call("certificate", "acme", "status", code=1).stdout
    assert f"authority    {NOWHERE}" in text
    assert "mx.gate.example: https://127.0.0.1:1/directory cannot be reached" in text

    assert "no certificate is due for renewal" in home.call("certificate", "acme", "renew").stderr
    home.call("certificate", "acme", "renew", "--now", "mx.gate.example", code=1)
    assert home.json("certificate", "acme", "status", code=1)["certificates"][0]["failures"] == 2
    home.call("certificate", "acme", "forget")
    assert home.json("certificate", "acme", "status", code=1)["certificates"][0]["failures"] == 0


def test_a_rehearsal_that_fails_is_not_remembered(home):
    on(home)
    told = home.call("certificate", "acme", "renew", "--dry-run", "--directory", "https://127.0.0.1:2/x", code=1).stderr
    assert "https://127.0.0.1:2/x cannot be reached" in told
    assert home.json("certificate", "acme", "status", code=1)["certificates"][0]["failures"] == 0


def test_wrong_use(home):
    on(home)
    told = home.call("certificate", "acme", "renew", "--dry-run", "--directory", "http://x", code=2).stderr
    assert "--directory: 'http://x' is not an https address" in told
    told = home.call("certificate", "acme", "renew", "b.example", code=2).stderr
    assert "'b.example' is not a name of any configured certificate" in told
    (home.path / "key").chmod(0o644)
    assert "lets others use it" in home.call("certificate", "acme", "status", code=2).stderr


def test_one_process_asks_at_a_time(home):
    on(home)
    home.json("certificate", "acme", "status", code=1)
    with alone(home.data):
        assert "requesting certificates now" in home.call("certificate", "acme", "renew", code=3).stderr


def test_the_default_is_a_well_known_authority():
    assert Acme().directory_url == "https://acme-v02.api.letsencrypt.org/directory"
