"""Verifies gatepost's evidence without gatepost: Python's standard library and the openssl command (docs/evidence.md).

    python3 verify_evidence.py KEY.pem EXPORT.json    an export
    python3 verify_evidence.py KEY.pem DIR            a copy of data_dir/evidence: all chains, and the daily heads

Prints the first thing that is wrong and exits with 1; with 0 if all up to the last signature is as it was written.
"""

import gzip
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile

KEY = pathlib.Path(sys.argv[1])
NAME = re.compile(r"(\d{4}-\d\d-\d\d)\.([A-Za-z0-9_-]+)\.log(\.gz)?")


def canonical(body):
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def link(head, digest):
    return hashlib.sha256(bytes.fromhex(head) + bytes.fromhex(digest)).hexdigest()


def must(true, where, what):
    if not true:
        sys.exit(f"{where}: {what}")


def signed(body, where):
    message = canonical({name: value for name, value in body.items() if name != "signature"})
    with tempfile.TemporaryDirectory() as folder:
        message_file, signature_file = pathlib.Path(folder, "m"), pathlib.Path(folder, "s")
        message_file.write_bytes(message)
        signature_file.write_bytes(bytes.fromhex(body["signature"]))
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-rawin", "-inkey", KEY]
        command += ["-in", message_file, "-sigfile", signature_file]
        good = subprocess.run(command, capture_output=True, check=False).returncode == 0
    must(good, where, "the signature is wrong")


def chain(path, number, head, good=0):
    """The lines of a file: where the chain stands after each, its content, and the last signature before."""
    data = path.read_bytes()
    lines = (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines(keepends=True)
    for at, line in enumerate(lines, 1):
        where = f"{path.name}, line {at}"
        must(re.fullmatch(rb"[0-9a-f]{64} \{.*\}\n", line), where, "no line of a log")
        data = line[65:-1]
        body = json.loads(data)
        must(canonical(body) == data, where, "not in canonical form")
        if at == 1 and number == 0:  # what was before was removed in order, or there was nothing
            previous = body.get("previous", {"number": 0, "head": "0" * 64})
            number, head = previous["number"], previous["head"]
        must(body["number"] == number + 1, where, f"entry {number + 1} is missing, or was moved")
        before, head = head, link(head, hashlib.sha256(data).hexdigest())
        must(line[:64].decode() == head, where, "it, or what is before it, was changed")
        if at == 1 and (name := NAME.fullmatch(path.name)):
            must((body.get("day"), body.get("writer")) == name.groups()[:2], where, "the file has another's name")
        if body["kind"] == "checkpoint":
            must(body["head"] == before, where, "not what stands before is signed")
        if "signature" in body:
            signed(body, where)
            good = number + 1
        number += 1
        yield number, head, body, good


def log(folder):
    ends, heads, before = {}, {}, ""
    for _, _, body, _ in chain(folder / "heads.log", 0, "") if (folder / "heads.log").exists() else ():
        before = body.get("before", before)
        heads |= {(body["day"], one["writer"]): (one["number"], one["head"]) for one in body.get("writers", ())}
    files = sorted(path for path in (folder / "log").iterdir() if NAME.fullmatch(path.name))
    for writer in sorted({NAME.fullmatch(path.name)[2] for path in files}):
        number, head, good = 0, "", 0
        for path in (path for path in files if NAME.fullmatch(path.name)[2] == writer):
            day = NAME.fullmatch(path.name)[1]
            *_, (number, head, _, good) = chain(path, number, head, good)
            if day in {one for one, _ in heads}:
                must(
                    heads.get((day, writer)) == (number, head), path.name, "it does not end as the head of its day says"
                )
            ends[day, writer] = (number, head)
        print(f"writer {writer}: {number} entries, signed up to entry {good}")
    for day, writer in heads:
        must((day, writer) in ends or day < before, f"{day}.{writer}.log", "the file is gone")


def export(document):
    shown = 0
    for at, segment in enumerate(document["segments"], 1):
        number, head, waiting = segment["number"], segment["head"], 0
        for item in segment["entries"]:
            number, where, before = number + 1, f"segment {at}, entry {number + 1}", head
            body = item if isinstance(item, dict) else {}
            head = link(head, hashlib.sha256(canonical(body)).hexdigest() if body else item)
            must(not body or body["number"] == number, where, "it has another number")
            waiting += body.get("kind") == "event"
            shown += body.get("kind") == "event"
            if body.get("kind") == "checkpoint":
                must(body["head"] == before, where, "something before it was changed, removed, added or moved")
                signed(body, where)
                waiting = 0
        for body in document["heads"] if waiting else ():
            if {"writer": segment["writer"], "number": number, "head": head} in body["writers"]:
                signed(body, f"head of {body['day']}")
                waiting = 0
        must(not waiting, f"segment {at}", f"no signature covers {waiting} entries")
    print(f"{shown} entries")


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[2])
    log(target) if target.is_dir() else export(json.loads(target.read_bytes()))
    print("verified")
