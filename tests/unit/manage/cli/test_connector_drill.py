"""The command on a real data directory: what it prints, what it keeps, and what it says of what was changed."""

from __future__ import annotations

import json
import shutil
import stat

import pytest

from gatepost.analysis.checks.evidence import sha256
from gatepost.pki.certificates.authority import Authority

RESOURCES = """
[[organization.contoso.accepted_domain]]
name = "contoso.example"

[[organization.contoso.inbound_connector]]
name = "partner"
sender_domains = ["b.example"]

[[organization.contoso.inbound_connector]]
name = "only in"
sender_domains = ["c.example"]

[[organization.contoso.outbound_connector]]
name = "Partner"
recipient_domains = ["b.example"]
tls_settings = "domain-validation"
revocation_check = "hard-fail"

[[organization.contoso.outbound_connector]]
name = "open"
recipient_domains = ["d.example"]

[[organization.contoso.outbound_connector]]
name = "broken"
recipient_domains = ["e.example"]
tls_settings = "encryption-only"
client_certificate = { chain = "/nowhere/chain.pem", key = "/nowhere/key.pem" }
"""


@pytest.fixture
def gateway(home, tmp_path):
    """With a connector whose certificate was there when it was saved, and is gone."""
    chain, key = Authority("Here").issue(["gate.example"])
    for name, content in (("chain", chain), ("key", key)):
        (tmp_path / f"{name}.pem").touch(0o600)
        (tmp_path / f"{name}.pem").write_bytes(content)
    home.call("apply", "-f", home.write(RESOURCES.replace("/nowhere", str(tmp_path))))
    for name in ("chain", "key"):
        (tmp_path / f"{name}.pem").unlink()
    return home


def files(home):
    return sorted((home.data / "evidence" / "drills").glob("*.json"))


def test_a_drill_that_passes(gateway):
    result = gateway.call("connector", "drill", "partner")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("outbound connector 'Partner' of contoso, configuration 1, ")
    assert lines[1] == "requires: authenticated(b.example), profile default, revocation hard-fail"
    columns, control, *attacks = [line.split("\t") for line in lines if "\t" in line]
    assert columns == ["scenario", "expected", "what happened", "the remote server saw", "the queue would show"]
    assert control[:3] == ["control", "arrives", "arrived"]
    assert len(attacks) == 15
    for _, expected, happened, saw, reply in attacks:
        assert (expected, happened) == ("waits", "waited")
        assert saw.endswith("2 attempts, 0 MAIL, 0 octets of content")
        assert reply.startswith("450 4.")
    assert lines[-1] == "drill passed: 15 attacks, 0 messages left"
    (file,) = files(gateway)
    assert f"evidence: {file}" in lines
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kept = json.loads(file.read_text())
    assert f"sha256: {kept['sha256']}" in lines
    assert kept["sha256"] == sha256(kept["record"])
    assert kept["record"]["hostname"] == "mx.gate.example"


def test_a_drill_that_fails_names_what_is_not_stopped(gateway):
    result = gateway.call("connector", "drill", "open", code=1)
    lines = result.stdout.splitlines()
    assert lines[-1].startswith("drill FAILED: the connector requires no TLS: 10 of 15 attacks took the message")
    stripped = next(line for line in lines if line.startswith("this connector does not protect against 'STARTTLS str"))
    assert stripped.endswith("The message left unencrypted.")
    assert "STARTTLS stripped\tout of scope\tLEFT unencrypted\tEHLO, MAIL, RCPT, BDAT; 1 MAIL, " in result.stdout
    (file,) = files(gateway)
    assert json.loads(file.read_text())["record"]["passed"] is False


def test_json_is_the_evidence_with_its_place(gateway):
    printed = gateway.json("connector", "drill", "Partner")
    (file,) = files(gateway)
    kept = json.loads(file.read_text())
    assert printed == kept["record"] | {"evidence": str(file), "sha256": kept["sha256"], "verified": True}
    assert printed["scenarios"][1]["attempts"][0]["far_end"]["in_clear"]["content_octets"] == 0


def test_the_trace_has_one_row_with_the_hash(gateway):
    printed = gateway.json("connector", "drill", "Partner")
    (event,) = gateway.json("trace", "search", "--event", "drill")
    assert (event["event"], event["connector"], event["message"], event["recipient"]) == ("DRILL", "Partner", "", "")
    assert (event["reply"], event["requirement"]) == (printed["verdict"], "authenticated(b.example)")
    assert event["detail"]["sha256"] == printed["sha256"]
    assert (event["detail"]["passed"], event["detail"]["attacks"], event["detail"]["messages_left"]) == (True, 15, 0)


def test_the_last_one_is_printed_again_and_verified(gateway):
    first = gateway.call("connector", "drill", "Partner")
    again = gateway.call("connector", "drill", "Partner", "--last")
    assert again.stdout == first.stdout
    assert again.stderr == "SHA-256 verified: this drill, earlier drills and the trace agree\n"
    assert len(files(gateway)) == 1
    gateway.call("connector", "drill", "open", code=1)
    gateway.call("connector", "drill", "open", "--last", code=1)
    assert gateway.json("connector", "drill", "Partner", "--last")["verified"] is True


def test_a_connector_that_was_changed_since_is_told(gateway, tmp_path):
    gateway.call("connector", "drill", "Partner")
    gateway.call(
        "apply", "-f", gateway.write(RESOURCES.replace("/nowhere", str(tmp_path)).replace('"hard-fail"', '"none"'))
    )
    result = gateway.call("connector", "drill", "Partner", "--last")
    assert "the connector has changed since this drill: run another" in result.stderr


def rewrite(file, **changes):
    record = json.loads(file.read_text())["record"] | changes
    file.write_text(json.dumps({"sha256": sha256(record), "record": record}))


TAMPERED = [
    (lambda file: file.write_text(file.read_text().replace("drill passed", "drill PASSED")), "it was changed"),
    (lambda file: file.write_text("{}"), "it is no longer evidence: its content"),
    (lambda file: rewrite(file, verdict="all is well"), "the trace recorded another SHA-256 for it: "),
    (lambda file: rewrite(file, scenarios=[{}]), "the trace recorded another SHA-256 for it: "),
]


@pytest.mark.parametrize(("change", "fault"), TAMPERED)
def test_what_was_changed_is_not_believed(gateway, change, fault):
    gateway.call("connector", "drill", "Partner")
    (file,) = files(gateway)
    change(file)
    result = gateway.call("connector", "drill", "Partner", "--last", code=1)
    assert result.stdout == "evidence FAILED verification\n"
    assert f"{file}: {fault}" in result.stderr
    printed = gateway.json("connector", "drill", "Partner", "--last", code=1)
    assert (printed["verified"], printed["evidence"]) == (False, str(file))


def test_one_before_that_was_changed_is_found_out(gateway):
    for _ in range(3):
        gateway.call("connector", "drill", "Partner")
    rewrite(files(gateway)[1], passed=False)
    result = gateway.call("connector", "drill", "Partner", "--last", code=1)
    assert "is missing, or one of the two was replaced" in result.stderr


def test_without_the_trace_its_own_hash_must_do_and_a_form_that_is_none_is_told(gateway):
    gateway.call("connector", "drill", "Partner")
    for path in (gateway.data / "trace").iterdir():
        path.unlink()
    result = gateway.call("connector", "drill", "Partner", "--last")
    assert "by its own hash only: the trace has no row for it" in result.stderr
    (file,) = files(gateway)
    rewrite(file, scenarios=[{}])
    result = gateway.call("connector", "drill", "Partner", "--last", code=1)
    assert "it does not have the format of a drill" in result.stderr


BAD = [
    (["nobody"], "there is no connector 'nobody'"),
    (
        ["only in"],
        "drills are for outbound connectors; try: gatepost connector validate 'only in'",
    ),
    (["partner", "--direction", "inbound"], "drills are for outbound connectors"),
    (["partner", "--organization", "fabrikam"], "there is no organization 'fabrikam'"),
]


@pytest.mark.parametrize(("words", "says"), BAD)
def test_bad_input(gateway, words, says):
    assert says in gateway.call("connector", "drill", *words, code=2).stderr


def test_a_control_that_does_not_arrive_is_no_result(gateway):
    result = gateway.call("connector", "drill", "broken", code=3)
    assert result.stdout.splitlines()[-1].startswith("drill FAILED: the message did not arrive even without an attack")
    assert (
        "control\tarrives\tdid NOT arrive\tEHLO; 2 attempts, 0 MAIL, 0 octets of content\t450 4.3.5 " in result.stdout
    )
    assert files(gateway) == []


def test_none_was_held_yet(gateway):
    assert "no drill of connector" in gateway.call("connector", "drill", "Partner", "--last", code=3).stderr


def test_what_cannot_be_kept_is_printed_all_the_same(gateway):
    (gateway.data / "evidence").write_text("a file in the way")
    result = gateway.call("connector", "drill", "Partner", code=3)
    assert result.stdout.splitlines()[-1] == "drill passed: 15 attacks, 0 messages left"
    assert "the result cannot be kept as evidence" in result.stderr
    assert str(gateway.data / "evidence") in gateway.call("connector", "drill", "Partner", "--last", code=3).stderr


def test_a_trace_that_cannot_be_written_is_told(gateway):
    (gateway.data / "trace").write_text("a file in the way")
    result = gateway.call("connector", "drill", "Partner")
    assert "the trace has no row of this drill" in result.stderr
    (entries,) = (gateway.data / "evidence" / "log").glob("*.admin.log")  # which does not hang on the trace
    assert b'"event":"DRILL"' in entries.read_bytes()
    shutil.rmtree(gateway.data / "evidence" / "log")
    (gateway.data / "evidence" / "log").write_text("a file in the way")
    assert "the evidence log has no entry of this drill" in gateway.call("connector", "drill", "Partner").stderr
