"""Verifies gatepost's evidence without gatepost: Python's standard library and the openssl command (docs/evidence.md).

    python3 verify_evidence.py KEY.pem EXPORT.json    an export
    python3 verify_evidence.py KEY.pem DIR            a copy of data_dir/evidence: all chains, and the daily heads
    python3 verify_evidence.py KEY.pem DIR --protected 2026-10-01 2026-12-31 bank.example insurer.example
        and whether all mail to and from these domains, and those below them, was encrypted on these days (UTC)

Ends with 0 verified: all up to the entries that it names is as it was written; 1 forged, with the first thing that is
wrong; 2 bad input; 3 cannot tell: nothing of a chain is signed, by a key that is not KEY.pem, or it cannot be read;
4 verified, and mail of the domains was not encrypted. `gatepost evidence verify DIR --key KEY.pem` gives the same verdict.
"""

import datetime
import gzip
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import zlib

ORIGIN = "0" * 64
LONGEST = 1 << 20  # octets of a line
NAME = re.compile(r"(\d{4}-\d\d-\d\d)\.([A-Za-z0-9_-]{1,32})\.log(\.gz)?", re.ASCII)
LINE = re.compile(rb"([0-9a-f]{64}) (\{.*\})\n", re.DOTALL)
PUBLIC_KEY = re.compile(rb"-----BEGIN PUBLIC KEY-----\n.+?\n-----END PUBLIC KEY-----\n?", re.DOTALL)
ED25519 = bytes.fromhex("302a300506032b6570032100")  # how DER of a public key begins, RFC 8410


class Forged(Exception):
    pass


class CannotTell(Exception):
    pass


def must(true, where, what):
    if not true:
        raise Forged(f"{where}: {what}")


def canonical(body):
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def once(pairs):
    """Members of an object; a name that is there twice is read as one value by this script and as another by people."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object has a member twice")
    return members


def link(head, digest):
    return hashlib.sha256(bytes.fromhex(head) + bytes.fromhex(digest)).hexdigest()


class Key:
    """The public keys of a file (several nodes, or older ones), and whether something was signed by another one."""

    def __init__(self, file):
        self.pems, self.unknown = {}, ""
        for pem in PUBLIC_KEY.findall(file.read_bytes()):
            command = ["openssl", "pkey", "-pubin", "-pubout", "-outform", "DER"]
            der = subprocess.run(command, input=pem, capture_output=True, check=False).stdout
            if len(der) == 44 and der.startswith(ED25519):
                self.pems[hashlib.sha256(der[12:]).hexdigest()] = pem
        if not self.pems:
            raise ValueError(f"{file}: no public key of Ed25519 in PEM")

    def signed(self, body, where):
        """Whether this key signed it; False, to be told at the end, if that was another key."""
        signature = body.get("signature")
        must(isinstance(signature, str) and re.fullmatch("[0-9a-f]{128}", signature), where, "it has no signature")
        pem = self.pems.get(body.get("key"))
        if pem is None:
            self.unknown = self.unknown or f"{where}: it is signed with another key"
            return False
        message = canonical({name: value for name, value in body.items() if name != "signature"})
        with tempfile.TemporaryDirectory() as folder:
            message_file, signature_file, key_file = (pathlib.Path(folder, name) for name in "msk")
            key_file.write_bytes(pem)
            message_file.write_bytes(message)
            signature_file.write_bytes(bytes.fromhex(signature))
            command = ["openssl", "pkeyutl", "-verify", "-pubin", "-rawin", "-inkey", key_file]
            command += ["-in", message_file, "-sigfile", signature_file]
            good = subprocess.run(command, capture_output=True, check=False).returncode == 0
        must(good, where, "the signature is wrong")
        return True


def lines(path):
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        while line := file.readline(LONGEST):
            yield line


def parsed(line, where):
    found = LINE.fullmatch(line)
    must(found, where, "no line of a log")
    try:
        body = json.loads(found[2])
        same = canonical(body) == found[2]
    except (ValueError, RecursionError):
        same = False
    must(same, where, "not JSON in canonical form")
    number = body.get("number")
    must(isinstance(number, int) and number is not True and number > 0, where, "it has no number")
    return found[1].decode(), hashlib.sha256(found[2]).hexdigest(), body


class Chain:
    """One writer's entries, or the daily heads. start, number, head: where it began and stands. good: last one signed."""

    def __init__(self, key):
        self.key, self.number, self.head, self.good, self.begun, self.start, self.time = (
            key,
            0,
            ORIGIN,
            0,
            False,
            None,
            "",
        )

    def entries(self, path):
        """Verify the lines of a file, one by one; yields each place in it with its body."""
        for at, line in enumerate(lines(path), 1):
            where = f"{path.name}, line {at}"
            head, digest, body = parsed(line, where)
            if not self.begun:  # what was before was removed in order, or there was nothing
                previous = body.get("previous")
                if body["number"] > 1 and isinstance(previous, dict):
                    stated = str(previous.get("head", ""))
                    self.head = stated if re.fullmatch("[0-9a-f]{64}", stated) else ORIGIN
                    self.number = self.good = body["number"] - 1
                self.begun, self.start = True, (self.number, self.head)
            must(body["number"] == self.number + 1, where, f"entry {self.number + 1} is missing, or was moved")
            must(head == link(self.head, digest), where, "it, or what is before it, was changed")
            if body.get("kind") == "checkpoint":
                must(body.get("head") == self.head, where, "not what stands before is signed")
            signed = body.get("kind") in ("checkpoint", "head", "pruned") and self.key.signed(body, where)
            self.number, self.head, self.time = self.number + 1, head, str(body.get("time", ""))
            self.good = self.number if signed else self.good
            yield where, body


class Mail:
    """Mail to and from some domains on some days: how it was protected, each that was not, and what was not recorded."""

    def __init__(self, since, until, domains):
        for day in (since, until):
            datetime.date.fromisoformat(day)
        if since > until or not domains:
            raise ValueError("the first day is after the last one, or no domain is named")
        self.since, self.until, self.clear, self.lost, self.unproven = since, until, [], [], []
        self.domains = [domain.lower().strip(".") for domain in domains]
        self.counts, self.days, self.off, self.latest = {}, set(), [], {}

    def look(self, writer, where, body):
        time, event = str(body.get("time", "")), body.get("event")
        day = time[:10]
        if body.get("what") == "off":
            self.off.append((time, where))
        elif writer != "admin":
            self.latest[day] = max(self.latest.get(day, ""), time)
        if not self.since <= day <= self.until:
            return
        self.days.add(day)
        if body.get("kind") == "gap" and body.get("what") != "off":
            self.lost.append(f"{where}: the log says itself that events are missing ({body.get('what')})")
        domain = self.partner(body, event)
        if domain is None:
            return
        protection = str(body.get("protection", "not recorded"))
        if event in ("SEND", "RECEIVE"):
            line = self.counts.setdefault((domain, event), {})
            line[protection] = line.get(protection, 0) + 1
        elif body.get("requirement", "opportunistic") != "opportunistic":
            protection = ""  # the requirement is judged before anything of the message is sent
        self.unproven.append((writer, body["number"]))
        if protection in ("clear", "not recorded") and (event in ("SEND", "RECEIVE") or protection == "clear"):
            what = {"SEND": "sent", "RECEIVE": "received"}.get(event, "perhaps sent, in an attempt that failed,")
            self.clear.append(
                f"{where}, {body.get('time')}: {what} unencrypted, {domain}, message {body.get('message')}"
            )

    def partner(self, body, event):
        """The domain that the other side of an event is of; None if it is none of these."""
        side = {"RECEIVE": "sender_domain"}.get(event, "recipient_domain")
        if event not in ("SEND", "RECEIVE", "DEFER", "FAIL") or body.get("protection") == "local":
            return None
        name = str(body.get(side, "")).lower()
        return next((domain for domain in self.domains if name == domain or name.endswith(f".{domain}")), None)

    def report(self, good):
        """good: by writer, the last entry that is proved. The exit code."""
        for domain in self.domains:
            for event in ("SEND", "RECEIVE"):
                counts = self.counts.get((domain, event), {})
                said = ", ".join(f"{count} {protection}" for protection, count in sorted(counts.items()))
                print(
                    f"{domain}: {'sent' if event == 'SEND' else 'received'} {sum(counts.values())}{': ' * bool(said)}{said}"
                )
        for line in self.clear:
            print(f"NOT ENCRYPTED: {line}")
        first, last = map(datetime.date.fromisoformat, (self.since, self.until))
        days = (str(first + datetime.timedelta(number)) for number in range((last - first).days + 1))
        if empty := [day for day in days if day not in self.days]:
            print(
                f"nothing was recorded on {len(empty)} of these days ({empty[0]} to {empty[-1]}): no mail, or no log; ask why"
            )
        for time, where in self.off:
            on = min((day for day, latest in self.latest.items() if latest > time), default="9999")
            if time[:10] <= self.until and on >= self.since:
                until = "" if on == "9999" else f" until {on}"
                self.lost.append(
                    f"{where}: the log was switched off at {time}{until}: mail of that time is in no entry"
                )
        for line in self.lost:
            print(f"NOT RECORDED: {line}")
        if self.clear:
            return 4
        open_ = sum(number > good.get(writer, 0) for writer, number in self.unproven)
        if self.lost or open_:
            raise CannotTell(
                "the log is not whole, see above" if self.lost else f"no signature proves {open_} of these entries yet"
            )
        return 0


def head_lines(key, path):
    """By day, where each writer's file ended; and before which day files were removed in order."""
    heads, before = {}, ""
    for where, body in Chain(key).entries(path) if path.exists() else ():
        must(body.get("kind") in ("head", "pruned"), where, "it is no head of a day")
        if body["kind"] == "pruned":
            before = max(before, str(body.get("before", "")))
        else:
            try:
                ends = {str(one["writer"]): (int(one["number"]), str(one["head"])) for one in body["writers"]}
                heads[str(body["day"])] = ends
            except (KeyError, TypeError, ValueError):
                pass  # signed with another key: what that one said is not looked at
    return heads, before


def one_writer(key, writer, files, heads, drills, begun, mail):
    chain, anchored = Chain(key), False
    for day, path in files:
        for at, (where, body) in enumerate(chain.entries(path)):
            mine = (body.get("kind"), body.get("day"), body.get("writer")) == ("begin", day, writer)
            must(at or mine, where, "the file has another's name")
            if not at and writer != "admin":
                begun[day] = min(begun.get(day, "9999"), str(body.get("time", "")))
            if mail:
                mail.look(writer, where, body)
            if body.get("event") == "DRILL":
                drills[str(body.get("file"))] = str(body.get("sha256"))
        if chain.start is not None and not anchored:
            known = max((one for one in heads if one < day and writer in heads[one]), default=None)
            must(known or not chain.start[0], path.name, "entries before it are missing, and no head says why")
            must(
                not known or heads[known][writer] == chain.start,
                path.name,
                "it does not go on where the days before ended",
            )
            anchored = True
        if day in heads:
            ends = heads[day].get(writer) == (chain.number, chain.head)
            must(ends, path.name, "it does not end as the head of its day says")
            chain.good = chain.number
    left = f"; no signature by these keys proves the {chain.number - chain.good} after it"
    print(f"writer {writer}: verified up to entry {chain.good}{left if chain.number > chain.good else ''}")
    if chain.begun and chain.good <= chain.start[0]:
        key.unknown = key.unknown or f"writer {writer}: nothing of it is signed"
    return chain


def drill_results(folder, logged):
    """Results of drills that are kept beside the log are what it says of them; the oldest of a connector may be gone."""
    kept = {path.name: path for path in sorted(folder.glob("[0-9]*-*.json"))}
    for name in kept.keys() & logged.keys():
        try:
            record = json.loads(kept[name].read_bytes())["record"]
            digest = hashlib.sha256(canonical(record)).hexdigest()
        except (ValueError, KeyError, TypeError, RecursionError):
            digest = ""
        must(digest == logged[name], f"drills/{name}", "it is not what the log has the SHA-256 of")
    for name in logged.keys() - kept.keys():
        older = [one for one in kept if one[-17:] == name[-17:] and one.split("-")[0] < name.split("-")[0]]
        must(not older, f"drills/{name}", "it is gone, and older ones of its connector are there")
    if matching := len(kept.keys() & logged.keys()):
        print(f"{matching} drill result{'' if matching == 1 else 's'} verified")


def must_have_head(days, heads, begun, newest):
    """Days whose heads are missing, though the gateway went on for minutes after them."""

    def moment(time, otherwise):
        try:
            return datetime.datetime.strptime(time, "%Y-%m-%dT%H:%M:%S.%fZ")
        except ValueError:
            return otherwise

    last, never = moment(newest, datetime.datetime.min), datetime.datetime.max
    settled = [day for day, time in begun.items() if (last - moment(time, never)).total_seconds() >= 240]
    return [day for day in sorted(days) if day not in heads and day < max(settled, default="")]


def log(key, folder, mail=None):
    """The exit code."""
    if (folder / "evidence").is_dir() and not (folder / "log").is_dir():
        folder = folder / "evidence"
    found, heads_file = {}, folder / "heads.log"
    for path in sorted((folder / "log").iterdir()) if (folder / "log").exists() else ():
        if name := NAME.fullmatch(path.name):  # a compressed file after the plain one that it replaces
            found[name[2], name[1]] = path
    for path in [*found.values(), *([heads_file] if heads_file.exists() else [])]:
        for _ in lines(path):  # what cannot be read to its end is no matter of forgery
            pass
    files = {place: path for place, path in found.items() if path.suffix == ".gz" or path.stat().st_size}
    heads, before = head_lines(key, heads_file)
    newest, signed, drills, begun, good = "", bool(heads), {}, {}, {}
    for writer in sorted({writer for writer, _ in files}):
        own = [(day, files[one, day]) for one, day in sorted(files) if one == writer]
        chain = one_writer(key, writer, own, heads, drills, begun, mail)
        good[writer] = chain.good
        newest = newest if writer == "admin" else max(newest, chain.time)
    for day, writers in heads.items():
        for writer in writers if day >= before else ():
            must((writer, day) in files, f"{day}.{writer}.log", "the file is gone")
    drill_results(folder / "drills", drills)
    missing = must_have_head({day for _, day in files}, heads, begun, newest)
    if key.unknown or missing or not (files or signed):
        raise CannotTell(key.unknown or (f"the heads of {missing} are missing" if missing else "there is no log here"))
    return mail.report(good) if mail else 0


def export(key, document):
    if document["format"] != "gatepost evidence export" or document["version"] != 1:
        raise ValueError("it is no export of evidence")
    _ = [one["pem"] for one in document["keys"]], document.get("selection", {}).items()
    ends, shown, waiting, after = set(), 0, 0, {}
    for body in document["heads"]:
        if key.signed(body, f"head of {body.get('day')}"):
            ends |= {(str(one["writer"]), int(one["number"]), str(one["head"])) for one in body["writers"]}
    for at, segment in enumerate(document["segments"], 1):
        writer, number, head, open_ = str(segment["writer"]), int(segment["number"]), str(segment["head"]), 0
        if len(head) != len(ORIGIN):
            raise ValueError(f"the head of segment {at}")
        must(number >= after.get(writer, 0), f"segment {at}", "entries that were shown before come again")
        after[writer] = number + len(segment["entries"])
        for item in segment["entries"]:
            number, before, where = number + 1, head, f"segment {at}, entry {number + 1}"
            body = item if isinstance(item, dict) else None
            head = link(head, str(item) if body is None else hashlib.sha256(canonical(body)).hexdigest())
            if body is not None:
                must(body.get("number") == number, where, "it has another number")
                open_ += body.get("kind") == "event"
                shown += body.get("kind") == "event"
                if body.get("kind") == "checkpoint":
                    same = (body.get("writer"), body.get("head")) == (writer, before)
                    good = key.signed(body, where)
                    must(same, where, "something before it was changed, removed, added or moved")
                    open_ = 0 if good else open_
            open_ = 0 if (writer, number, head) in ends else open_
        waiting += open_
    print(f"{shown - waiting} entries verified, {waiting} that no signature covers")
    if key.unknown or waiting or not shown:
        raise CannotTell(key.unknown or "not everything in it is signed" if shown else "nothing in it is signed")


def main(words):
    """The exit code."""
    if len(words) != 2 and (words[2:3] != ["--protected"] or len(words) < 6):
        print(
            "BAD INPUT: write verify_evidence.py KEY.pem DIR [--protected FIRST-DAY LAST-DAY DOMAIN…], or KEY.pem EXPORT.json"
        )
        return 2
    code = 0
    try:
        key_file, target = map(pathlib.Path, words[:2])
        key, mail = Key(key_file), Mail(*words[3:5], words[5:]) if words[2:] else None
        if target.is_dir():
            code = log(key, target, mail)
        elif mail:
            raise ValueError(
                "whether all was encrypted is told by the whole log only, as an export may leave entries out"
            )
        else:
            export(key, json.loads(target.read_bytes().decode(), object_pairs_hook=once))
    except Forged as error:
        print(f"FORGED: {error}")
        return 1
    except CannotTell as error:
        print(f"CANNOT TELL: {error}")
        return 3
    except FileNotFoundError as error:
        print(f"BAD INPUT: {error}")
        return 2
    except (OSError, EOFError, zlib.error) as error:
        print(f"CANNOT TELL: it cannot be read: {error}")
        return 3
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        print(f"BAD INPUT: {error!r}")
        return 2
    print("verified" if not code else "verified, and not all mail was encrypted: see above")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
