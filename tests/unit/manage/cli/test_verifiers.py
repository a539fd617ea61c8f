"""The verifier for auditors without gatepost gives the verdict of `gatepost evidence verify`, whatever was done."""

from __future__ import annotations

import gzip
import importlib.util
import json
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatepost.events.evidence.chain import ORIGIN, Signer, join, key_id, parse_line, sign_body
from gatepost.manage.cli import main
from gatepost.store.evidence_files import log_directory, read_lines

VERIFIED, FORGED, BAD_INPUT, CANNOT_TELL = range(4)
SCRIPT = Path(__file__).resolve().parents[4] / "docs" / "verify_evidence.py"
STRANGE = Ed25519PrivateKey.from_private_bytes(b"x" * 32)
STRANGER = Signer(key_id(STRANGE.public_key().public_bytes_raw()), STRANGE.sign)


def public(key) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _script():
    spec = importlib.util.spec_from_file_location("verify_evidence", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = _script()


def both(key, target):
    """The verdicts of the script and of the command."""
    words = ["evidence", "verify", str(target), "--key", str(key)]
    command = CliRunner().invoke(main, words)
    assert command.exception is None or isinstance(command.exception, SystemExit), command.exc_info
    return script.main([str(key), str(target)]), command.exit_code


@pytest.fixture(scope="module")
def template(logs, tmp_path_factory):
    evidence = tmp_path_factory.mktemp("verifiers") / "evidence"
    logs.keep_key(evidence)
    return logs.three_days(evidence, events=2)


@pytest.fixture
def evidence(template, tmp_path):
    return shutil.copytree(template, tmp_path / "evidence")


@pytest.fixture
def key(logs, tmp_path):
    file = tmp_path / "key.pem"
    file.write_bytes(logs.pem)
    return file


def goes_on(logs, evidence):
    """The third day lasts for some minutes."""
    at = logs.NOON + 2 * logs.DAY + 300
    logs.chain(evidence).append(logs.events(at=at), at)


def last(evidence, writer="0"):
    return max(log_directory(evidence).glob(f"*.{writer}.log"))


def bodies(file):
    return [parse_line(line).body for line in read_lines(file)]


def rewrite(file, change, start=None):
    """The lines again with hashes that follow, as a forger without the key makes them."""
    found = bodies(file)
    head = (found[0].get("previous") or {"head": ORIGIN})["head"] if start is None else start
    lines = []
    for body in change(found):
        head, line = join(head, body)
        lines.append(line)
    file.write_bytes(b"".join(lines))


def edit(file, change):
    file.write_bytes(b"".join(change(list(read_lines(file)))))


def without(*names):
    return lambda found: [{name: value for name, value in one.items() if name not in names} for one in found]


def resigned(signer):
    """Everything signed again by somebody else, in a chain that holds."""

    def change(found):
        head, made = (found[0].get("previous") or {"head": ORIGIN})["head"], []
        for body in found:
            fresh = {name: value for name, value in body.items() if name not in {"key", "signature"}}
            if "signature" in body:
                fresh = sign_body(fresh | ({"head": head} if "head" in fresh else {}), signer)
            head, _ = join(head, fresh)
            made.append(fresh)
        return made

    return change


def only_last_day(evidence):
    (evidence / "heads.log").unlink()
    for file in sorted(log_directory(evidence).iterdir()):
        if last(evidence, "0") != file and last(evidence, "1") != file:
            file.unlink(missing_ok=True)


def a_log(logs, evidence, signer, count=2):
    """In place of all: one writer, a day, no heads."""
    shutil.rmtree(evidence)
    evidence.mkdir()
    chain = logs.chain(evidence, signer=signer)
    chain.append(logs.events(count), logs.NOON)
    if signer:
        chain.checkpoint(logs.NOON)
    return log_directory(evidence) / "2026-11-18.0.log"


def unsigned_log(logs, evidence):
    a_log(logs, evidence, None)


def another_writer_without_signature(logs, evidence):
    logs.chain(evidence, "9", signer=None).append(logs.events(), logs.NOON + 2 * logs.DAY)


def unsigned_tail(logs, evidence):
    logs.chain(evidence, signer=None).append(logs.events(3), logs.NOON + 2 * logs.DAY)


def heads_of_no_kind(logs, evidence):
    """Heads that nobody signed, in entries that are none, for a log that nobody signed."""
    file = a_log(logs, evidence, None)
    line = parse_line(list(read_lines(file))[-1])
    ends = [{"writer": "0", "number": line.number, "head": line.hash}]
    forged = {"kind": "event", "number": 1, "time": "2026-11-19T00:01:00.000000Z", "day": "2026-11-18", "writers": ends}
    (evidence / "heads.log").write_bytes(join(ORIGIN, forged)[1])


def spliced(logs, evidence):
    """The end of a writer's file is that of another's."""
    own, other = list(read_lines(last(evidence))), list(read_lines(last(evidence, "1")))
    last(evidence).write_bytes(b"".join([*own[:2], *other[2:]]))


def same_writer_twice(logs, evidence):
    for file in sorted(log_directory(evidence).glob("*.0.log*")):
        shutil.copyfile(file, file.with_name(file.name.replace(".0.", ".2.")))


def plain_beside_compressed(logs, evidence):
    """A crash came between: the compressed one counts."""
    (closed,) = log_directory(evidence).glob("*.0.log.gz")
    closed.with_suffix("").write_bytes(gzip.decompress(closed.read_bytes()))


def emptied(logs, evidence):
    last(evidence).write_bytes(b"")


def all_empty(logs, evidence):
    shutil.rmtree(evidence)
    log_directory(evidence).mkdir(parents=True)
    (log_directory(evidence) / "2026-11-18.0.log").touch()


def one_signature_taken(logs, evidence):
    rewrite(last(evidence), without("signature"))


def key_and_signature_taken(logs, evidence):
    only_last_day(evidence)
    rewrite(last(evidence), without("signature", "key"))


def checkpoints_taken(logs, evidence):
    file = a_log(logs, evidence, logs.signer)
    rewrite(file, lambda found: [one for one in found if one["kind"] != "checkpoint"])


def checkpoint_renamed(logs, evidence):
    file = a_log(logs, evidence, logs.signer)
    rewrite(file, lambda found: [one | ({"kind": "note"} if one["kind"] == "checkpoint" else {}) for one in found])


def oversized(logs, evidence):
    edit(last(evidence), lambda lines: [*lines, b"x" * (3 << 20), b"\n"])


def oversized_entry(logs, evidence):
    rewrite(last(evidence), lambda found: [found[0], found[1] | {"reply": "x" * (1 << 20)}, *found[2:]])


def number(value):
    return lambda logs, evidence: rewrite(last(evidence), lambda found: [*found[:-1], found[-1] | {"number": value}])


def tail(text):
    """A line behind the last signature, whose hash follows."""

    def change(logs, evidence):
        import hashlib  # noqa: PLC0415

        line = parse_line(list(read_lines(last(evidence)))[-1])
        body = text.replace("NUMBER", str(line.number + 1)).encode("utf-8", "surrogatepass")
        inner = hashlib.sha256(body).digest()
        head = hashlib.sha256(bytes.fromhex(line.hash) + inner).hexdigest()
        with last(evidence).open("ab") as file:
            file.write(f"{head} ".encode() + body + b"\n")

    return change


def on_last(change):
    return lambda logs, evidence: edit(last(evidence), change)


def on_heads(change):
    return lambda logs, evidence: edit(evidence / "heads.log", change)


def remove(pattern):
    def change(logs, evidence):
        for file in [*evidence.glob(pattern)]:
            file.unlink()

    return change


def begins_in_the_middle(logs, evidence):
    """The files before are gone, and the heads that knew of them."""
    only_last_day(evidence)


CASES = {
    "left alone": (lambda logs, evidence: None, VERIFIED),
    "unsigned tail": (unsigned_tail, VERIFIED),
    "plain beside compressed": (plain_beside_compressed, VERIFIED),
    "removed in order": (lambda logs, e: logs.heads(e).prune(logs.NOON + logs.DAY, logs.NOON + 2 * logs.DAY), VERIFIED),
    "a day of one writer": (lambda logs, evidence: a_log(logs, evidence, logs.signer) and None, VERIFIED),
    "no signature at all": (unsigned_log, CANNOT_TELL),
    "a writer without signature": (another_writer_without_signature, CANNOT_TELL),
    "checkpoints taken out": (checkpoints_taken, CANNOT_TELL),
    "checkpoints renamed": (checkpoint_renamed, CANNOT_TELL),
    "unsigned heads for an unsigned log": (heads_of_no_kind, FORGED),
    "signature taken": (one_signature_taken, FORGED),
    "signature and key taken": (key_and_signature_taken, FORGED),
    "signature of other letters": (
        lambda logs, e: rewrite(last(e), lambda found: [*found[:-1], found[-1] | {"signature": "AB" * 64}]), FORGED,
    ),
    "signed by another": (lambda logs, e: rewrite(a_log(logs, e, logs.signer), resigned(STRANGER)), CANNOT_TELL),
    "written anew by another": (lambda logs, evidence: a_log(logs, evidence, STRANGER) and None, CANNOT_TELL),
    "in the name of the key": (
        lambda logs, e: rewrite(a_log(logs, e, logs.signer), resigned(Signer(logs.signer.key, STRANGE.sign))), FORGED,
    ),
    "newest end cut off": (on_last(lambda lines: lines[:-1]), VERIFIED),  # a head that was noted elsewhere finds it
    "truncated": (lambda logs, e: edit(min(log_directory(e).glob("*.1.log")), lambda lines: lines[:-1]), FORGED),
    "half a line": (on_last(lambda lines: [*lines[:-1], lines[-1][:-20]]), FORGED),
    "no line end": (on_last(lambda lines: [*lines[:-1], lines[-1][:-1]]), FORGED),
    "reordered": (on_last(lambda lines: [lines[0], lines[2], lines[1], *lines[3:]]), FORGED),
    "one twice": (on_last(lambda lines: [*lines, lines[-1]]), FORGED),
    "spliced": (spliced, FORGED),
    "same writer twice": (same_writer_twice, FORGED),
    "newest emptied": (emptied, VERIFIED),  # as above
    "all empty": (all_empty, CANNOT_TELL),
    "no folder of logs": (lambda logs, evidence: shutil.rmtree(log_directory(evidence)), FORGED),
    "nothing": (lambda logs, evidence: (shutil.rmtree(evidence), evidence.mkdir()), CANNOT_TELL),
    "heads gone": (remove("heads.log"), CANNOT_TELL),
    "last head cut off": (lambda logs, e: (on_heads(lambda lines: lines[:-1])(logs, e), goes_on(logs, e)), CANNOT_TELL),
    "last head not made yet": (on_heads(lambda lines: lines[:-1]), VERIFIED),
    "first head cut off": (on_heads(lambda lines: lines[1:]), FORGED),
    "head changed": (on_heads(lambda lines: [lines[0].replace(b'"number":', b'"number":1', 1), *lines[1:]]), FORGED),
    "heads signed by another": (lambda logs, e: rewrite(e / "heads.log", resigned(STRANGER), ORIGIN), CANNOT_TELL),
    "heads without signature": (lambda logs, e: rewrite(e / "heads.log", without("signature"), ORIGIN), FORGED),
    "a compressed file gone": (remove("log/*.gz"), FORGED),
    "a day gone": (remove("log/2026-11-19.1.log"), FORGED),
    "begins in the middle": (begins_in_the_middle, FORGED),
    "not gzip": (lambda logs, e: next(iter(log_directory(e).glob("*.gz"))).write_bytes(b"no gzip"), CANNOT_TELL),
    "cut gzip": (
        lambda logs, e: [one.write_bytes(one.read_bytes()[:-20]) for one in log_directory(e).glob("*.gz")], CANNOT_TELL,
    ),
    "oversized line": (oversized, FORGED),
    "oversized entry": (oversized_entry, FORGED),
    "number true": (number(True), FORGED),
    "number 0": (number(0), FORGED),
    "number is text": (number("4"), FORGED),
    "NaN": (tail('{"kind":"event","number":NUMBER,"size":NaN}'), FORGED),
    "half a surrogate": (tail('{"kind":"event","number":NUMBER,"reply":"\\ud800"}'), FORGED),
    "not canonical": (tail('{"number":NUMBER,"kind":"event"}'), FORGED),
    "twice a member": (tail('{"kind":"event","kind":"event","number":NUMBER}'), FORGED),
    "deep": (tail('{"a":' + "[" * 100_000 + "]" * 100_000 + ',"number":NUMBER}'), FORGED),
    "no JSON": (tail("{nothing}"), FORGED),
    "a plain unsigned line": (tail('{"kind":"event","number":NUMBER}'), VERIFIED),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_both_verifiers_say_the_same_of_a_log(logs, evidence, key, name):
    change, verdict = CASES[name]
    change(logs, evidence)
    assert both(key, evidence) == (verdict, verdict)


@pytest.mark.parametrize(
    ("content", "verdict"),
    [
        (public(STRANGE), CANNOT_TELL),
        (public(generate_private_key(SECP256R1())), BAD_INPUT),
        (STRANGE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), BAD_INPUT),
        (b"garbage", BAD_INPUT),
        (b"", BAD_INPUT),
    ],
    ids=["another", "another algorithm", "private", "garbage", "empty"],
)
def test_both_verifiers_say_the_same_of_a_key(evidence, key, content, verdict):
    key.write_bytes(content)
    assert both(key, evidence) == (verdict, verdict)


def test_what_is_not_there_is_bad_input(evidence, key, tmp_path):
    assert both(key, tmp_path / "none") == (BAD_INPUT, BAD_INPUT)
    assert both(tmp_path / "none", evidence) == (BAD_INPUT, BAD_INPUT)


# exports


@pytest.fixture
def document(home, logs):
    """An export of two writers, as a document to be changed."""
    evidence = home.data / "evidence"
    logs.keep_key(evidence)
    for writer in ("0", "1"):
        chain, now = logs.chain(evidence, writer), time.time()
        for turn in range(2):
            chain.append(logs.events(2, at=now, message=f"{writer}{turn}"), now)
            chain.checkpoint(now)
    file = home.path / "export.json"
    home.call("evidence", "export", "-o", file)
    return json.loads(file.read_bytes())


def signature_gone(document):
    for segment in document["segments"]:
        for one in segment["entries"]:
            if isinstance(one, dict):
                one.pop("signature", None)


def no_checkpoints(document):
    for segment in document["segments"]:
        segment["entries"] = [one for one in segment["entries"] if one.get("kind") != "checkpoint"]


def another_export(document, **members):
    document |= members


def first_entry(**members):
    return lambda document: document["segments"][0]["entries"][0].update(members)


EXPORTS = {
    "left alone": (lambda document: None, VERIFIED),
    "no signature": (signature_gone, FORGED),
    "no checkpoint": (no_checkpoints, CANNOT_TELL),
    "no entries": (lambda document: another_export(document, segments=[]), CANNOT_TELL),
    "entry changed": (first_entry(protection="authenticated"), FORGED),
    "entry of another number": (first_entry(number=77), FORGED),
    "entry removed": (lambda document: document["segments"][0]["entries"].pop(0), FORGED),
    "a segment twice": (lambda document: document["segments"].append(document["segments"][0]), FORGED),
    "in another writer's name": (lambda document: document["segments"][0].update(writer="7"), FORGED),
    "no head": (lambda document: document["segments"][0].update(head="x"), BAD_INPUT),
    "another head": (lambda document: document["segments"][0].update(head="ab" * 32), FORGED),
    "unsigned heads": (lambda document: document["heads"].append({"day": "2026-11-18", "writers": []}), FORGED),
    "a head of nothing": (lambda document: document["heads"].append({"kind": "head"}), FORGED),
    "another format": (lambda document: another_export(document, format="x"), BAD_INPUT),
    "another version": (lambda document: another_export(document, version=2), BAD_INPUT),
    "no keys": (lambda document: document.pop("keys"), BAD_INPUT),
    "no segments": (lambda document: document.pop("segments"), BAD_INPUT),
    "odd digest": (lambda document: document["segments"][0]["entries"].insert(0, "zz"), BAD_INPUT),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_both_verifiers_say_the_same_of_an_export(document, key, tmp_path, name):
    change, verdict = EXPORTS[name]
    change(document)
    file = tmp_path / "changed.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    assert both(key, file) == (verdict, verdict)


@pytest.mark.parametrize(
    ("was", "forged"),
    [
        ('"event": "', '"event": "REFUSE", "event": "'),
        ('"segments": ', '"segments": [], "segments": '),
        ('"kind": "event"', '"kind": "event", "ki\\u006ed": "event"'),
        ('"number": 1,', '"number": 1e999,'),
    ],
    ids=["an entry's member twice", "segments twice", "a name written in two ways", "a number without end"],
)
def test_an_export_says_each_thing_once(document, key, tmp_path, was, forged):
    """One reader takes the first of two values, the verifiers the last one: so what is read would not be proved."""
    text = json.dumps(document)
    assert was in text
    file = tmp_path / "twice.json"
    file.write_text(text.replace(was, forged, 1), encoding="utf-8")
    assert both(key, file) == (BAD_INPUT, BAD_INPUT)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{}", b"\xff", b'{"a":NaN}', b"[" * 100_000])
def test_both_verifiers_say_the_same_of_what_is_no_export(key, tmp_path, content):
    file = tmp_path / "file.json"
    file.write_bytes(content)
    assert both(key, file) == (BAD_INPUT, BAD_INPUT)


@given(data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_both_verifiers_say_the_same_whatever_is_done(template, key, tmp_path_factory, data):
    """Lines are taken out, doubled, moved, changed in an octet, or chained anew without a member."""
    evidence = shutil.copytree(template, tmp_path_factory.mktemp("fuzz") / "evidence")
    choices = sorted([*log_directory(evidence).glob("*.log"), evidence / "heads.log"])
    for _ in range(data.draw(st.integers(1, 2))):
        file = data.draw(st.sampled_from(choices))
        lines = list(read_lines(file))
        if not lines:
            continue
        at = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.sampled_from(["drop", "twice", "move", "octet", "member", "cut"])):
            case "drop":
                del lines[at]
            case "twice":
                lines.insert(data.draw(st.integers(0, len(lines))), lines[at])
            case "move":
                lines.append(lines.pop(at))
            case "octet":
                line = bytearray(lines[at])
                line[data.draw(st.integers(0, len(line) - 1))] ^= 1 << data.draw(st.integers(0, 7))
                lines[at] = bytes(line)
            case "cut":
                lines = lines[:at]
            case _:
                name = data.draw(st.sampled_from(["signature", "key", "kind", "head", "writers", "number"]))
                file.write_bytes(b"".join(lines))
                if all(parse_line(one).body for one in lines):
                    with suppress(ValueError):  # hashes cannot follow a head that is none any more
                        rewrite(file, without(name))
                continue
        file.write_bytes(b"".join(lines))
    ours, theirs = both(key, evidence)
    assert ours == theirs


@pytest.mark.parametrize("words", [[], ["KEY"], ["KEY", "LOG", "MORE"]])
def test_the_script_says_how_it_is_used(words):
    done = subprocess.run(["python3", "-I", SCRIPT, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.startswith("BAD INPUT: write verify_evidence.py KEY.pem DIR")


def test_the_script_runs_by_itself(evidence, key):
    done = subprocess.run(["python3", "-I", SCRIPT, key, evidence], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "writer 0: verified up to entry" in done.stdout


# ------------------------------------------------------------------------------------------------ mail with partners

ACHIEVED, CLEAR = "none/authenticated", "none/none"
FIRST, LAST = "2026-11-18", "2026-11-20"
OTHER = {"recipient": "x@elsewhere.example", "achieved": CLEAR}
RECEIVED = {"event": "RECEIVE", "sender": "a@sub.b.example", "recipient": "b@own.example"}


def mail(logs, evidence, *rows, off=None):
    """A log of three days, with events on its second day, signed to the end."""
    logs.keep_key(evidence)
    chain = logs.chain(evidence)
    for day in range(3):
        chain.append(logs.events(achieved=ACHIEVED, at=logs.NOON + day * logs.DAY), logs.NOON + day * logs.DAY)
        for row in rows if day == 1 else ():
            chain.append(logs.events(at=logs.NOON + logs.DAY, **row), logs.NOON + logs.DAY)
        chain.checkpoint(logs.NOON + day * logs.DAY)
    if off is not None:
        commands = logs.chain(evidence, "admin")
        commands.append((), logs.NOON + off * logs.DAY, is_off=True)
        commands.checkpoint(logs.NOON + off * logs.DAY)
    logs.heads(evidence).make(logs.NOON + 2 * logs.DAY)


def protected(key, evidence, *words, days=(FIRST, LAST)):
    return script.main([str(key), str(evidence), "--protected", *days, *(words or ("b.example",))])


NOT_ENCRYPTED = 4


@pytest.mark.parametrize(
    "case",
    [
        ((), VERIFIED, "b.example: sent 3: 3 authenticated"),
        ((OTHER,), VERIFIED, "b.example: received 0\n"),
        (({"achieved": "none/encrypted"},), VERIFIED, "3 authenticated, 1 encrypted"),
        (({"achieved": CLEAR},), NOT_ENCRYPTED, "sent unencrypted, b.example, message 0abc"),
        ((RECEIVED | {"achieved": "authenticated"},), VERIFIED, "b.example: received 1: 1 authenticated"),
        ((RECEIVED | {"achieved": "none"},), NOT_ENCRYPTED, "received unencrypted, b.example"),
        (({"event": "DEFER", "achieved": CLEAR},), NOT_ENCRYPTED, "perhaps sent"),
        (({"event": "DEFER", "achieved": CLEAR, "requirement": "encrypted"},), VERIFIED, "sent 3"),
    ],
)
def test_all_mail_with_a_partner_was_encrypted_or_each_that_was_not_is_named(logs, tmp_path, key, capsys, case):
    rows, verdict, said = case
    mail(logs, tmp_path / "evidence", *rows)
    assert protected(key, tmp_path / "evidence") == verdict
    assert said in capsys.readouterr().out


def test_other_days_and_other_domains_do_not_count(logs, tmp_path, key, capsys):
    mail(logs, tmp_path / "evidence", {"achieved": CLEAR}, OTHER)
    assert protected(key, tmp_path / "evidence", days=(LAST, LAST)) == VERIFIED
    assert protected(key, tmp_path / "evidence", "example.b", "a.b.example") == VERIFIED
    assert protected(key, tmp_path / "evidence", "c.example", "elsewhere.example") == NOT_ENCRYPTED
    assert protected(key, tmp_path / "evidence", days=("2026-11-01", LAST)) == NOT_ENCRYPTED
    assert "nothing was recorded on 17 of these days (2026-11-01 to 2026-11-17)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "case",
    [
        (0.2, (FIRST, LAST), CANNOT_TELL),
        (1.2, (LAST, LAST), CANNOT_TELL),  # off until an entry of that day
        (0.2, (LAST, LAST), VERIFIED),
        (2.2, (FIRST, "2026-11-19"), VERIFIED),
        (2.2, ("2026-11-25", "2026-11-30"), CANNOT_TELL),  # it is off since
    ],
)
def test_while_the_log_was_off_nobody_can_tell(logs, tmp_path, key, capsys, case):
    off, days, verdict = case
    mail(logs, tmp_path / "evidence", off=off)
    assert protected(key, tmp_path / "evidence", days=days) == verdict
    assert ("NOT RECORDED" in capsys.readouterr().out) == (verdict == CANNOT_TELL)
    assert both(key, tmp_path / "evidence") == (VERIFIED, VERIFIED)


def test_what_no_signature_covers_and_what_was_dropped_proves_nothing(logs, tmp_path, key, capsys):
    mail(logs, tmp_path / "evidence")
    at = logs.NOON + 2 * logs.DAY + 60
    chain = logs.chain(tmp_path / "evidence")
    chain.append(logs.events(achieved=ACHIEVED, at=at), at)
    assert protected(key, tmp_path / "evidence") == CANNOT_TELL
    assert "no signature proves 1 of these entries yet" in capsys.readouterr().out
    chain.append((), at, dropped=3)
    chain.checkpoint(at)
    assert protected(key, tmp_path / "evidence") == CANNOT_TELL
    assert "missing (dropped)" in capsys.readouterr().out


@pytest.mark.parametrize("days", [("2026-11-20", "2026-11-18"), ("yesterday", LAST), ("2026-02-30", LAST)])
def test_days_that_are_none_are_bad_input(evidence, key, days):
    assert protected(key, evidence, days=days) == BAD_INPUT
    assert script.main([str(key), str(evidence), "--protected", FIRST, LAST]) == BAD_INPUT


def test_an_export_does_not_tell_that_nothing_was_left_out(key, tmp_path):
    (tmp_path / "export.json").write_text("{}")
    assert protected(key, tmp_path / "export.json") == BAD_INPUT
