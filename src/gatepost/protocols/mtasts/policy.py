"""The MTA-STS policy of a domain: parse it, match a host, print it (RFC 8461 sections 3.2 and 4.1).

Used by `net.lookups.mtasts`, which fetches other people's, and by `protocols.mtasts.publish`, which writes ours. Pure
text: what is wrong with one is a value with its reason.

A valid policy may be unwise: hosts it leaves out, names that match nothing, a lifetime too short. Lint changes
nothing: what a sender makes of a policy is not ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final, Literal

import msgspec

from gatepost.protocols.tls.names import is_ip_address, normalise
from gatepost.values import check_type

MAX_AGE: Final = 31_557_600
"""Seconds, a year: the longest that a policy is kept (section 3.2)."""
MAX_BYTES: Final = 64 * 1024  # suggested in section 3.3
MAX_PATTERNS: Final = 500
_MAX_LINES: Final = 1000
_MAX_EXTENSIONS: Final = 50
_SHOWN: Final = 60

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_SECONDS: Final = re.compile(r"[0-9]{1,10}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_KNOWN: Final = frozenset({"version", "mode", "max_age"})


class StsMode(StrEnum):
    """The treatment of a host that the policy does not allow (RFC 8461 section 5)."""

    ENFORCE = "enforce"  # does not deliver to it
    TESTING = "testing"  # delivers, and reports it
    NONE = "none"  # as if there were no policy: how one is withdrawn


class Reason(StrEnum):
    """The reason why a policy cannot be used."""

    TOO_LARGE = "too-large"
    NOT_TEXT = "not-text"
    SYNTAX = "syntax"
    VERSION = "version"
    MODE = "mode"
    MAX_AGE = "max-age"
    MX = "mx"


class PolicyError(msgspec.Struct, frozen=True):
    """A policy that cannot be used. detail: a sentence for us, with the line."""

    reason: Reason
    detail: str


class StsPolicy(msgspec.Struct, frozen=True):
    """A policy that can be used (RFC 8461 section 3.2).

    mx: host names or "*.domain", lower-case A-labels, at most 500; () only if the mode is none.
    max_age: seconds for which it may be kept after a fetch, as its domain wrote it: more than `MAX_AGE` counts as that,
    since nobody gains by leaving mail unprotected whose domain asked for too much protection.
    extensions: the fields that this version does not define.
    """

    mode: StsMode
    mx: tuple[str, ...]
    max_age: int
    extensions: tuple[tuple[str, str], ...] = ()

    def matches(self, host: str) -> bool:
        """Whether the policy allows this MX host (section 4.1), written in any way a host name may be."""
        name = normalise(host)
        return name != "" and any(covers(pattern, name) for pattern in self.mx)

    @property
    def lines(self) -> tuple[str, ...]:
        """The policy, a field a line, as the policy-string of TLS-RPT has it (RFC 8460 section 4.4)."""
        return (
            "version: STSv1",
            f"mode: {self.mode}",
            *(f"mx: {pattern}" for pattern in self.mx),
            f"max_age: {self.max_age}",
            *(f"{name}: {value}" for name, value in self.extensions),
        )

    @property
    def text(self) -> str:
        """The policy as it is published."""
        return "".join(f"{line}\r\n" for line in self.lines)


def covers(pattern: str, host: str) -> bool:
    """Whether `pattern` allows `host`, both as `normalise` makes them. "*" stands for one whole label, the first."""
    if "*" in host:
        return False
    if pattern.startswith("*."):
        return host.partition(".")[2] == pattern[2:]
    return host == pattern


def parse_policy(body: bytes) -> StsPolicy | PolicyError:
    """The policy in the body of an HTTPS response (RFC 8461 section 3.2), or why it cannot be used; never an exception.

    Lines end in LF or CRLF; empty ones are passed over, which is more than the grammar allows. Unknown fields are kept
    and ignored; of a repeated one, mx aside, the first counts.
    """
    check_type(body, bytes, "the body of a policy")
    if len(body) > MAX_BYTES:
        return PolicyError(
            Reason.TOO_LARGE, f"the policy has {len(body)} bytes, and more than {MAX_BYTES} are not read"
        )
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        return PolicyError(Reason.NOT_TEXT, f"the policy is not UTF-8 from byte {error.start} on")
    lines = text.split("\n")
    if len(lines) > _MAX_LINES:
        return PolicyError(Reason.TOO_LARGE, f"the policy has more than {_MAX_LINES} lines")
    fields = _Fields()
    for number, line in enumerate(lines, 1):
        wrong = fields.add(line.removesuffix("\r"))
        if wrong is not None:
            return PolicyError(wrong.reason, f"line {number}: {wrong.detail}")
    return fields.policy()


class _Fields:
    """The fields read so far."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._mx: dict[str, None] = {}
        self._extensions: dict[str, str] = {}

    def add(self, line: str) -> PolicyError | None:
        """One line without its end."""
        if control := _CONTROL.search(line):
            return PolicyError(Reason.NOT_TEXT, f"a control character (U+{ord(control[0]):04X})")
        line = line.rstrip(" \t")
        if not line:
            return None
        name, colon, value = line.partition(":")
        if not colon or not _NAME.fullmatch(name):
            return PolicyError(Reason.SYNTAX, f"{_shown(line)} is not of the form name: value")
        return self._field(name, value.lstrip(" \t"))

    def _field(self, name: str, value: str) -> PolicyError | None:
        if name == "mx":
            return self._pattern(value)
        if name in _KNOWN:
            self._values.setdefault(name, value)
            return None
        self._extensions.setdefault(name, value)
        if len(self._extensions) > _MAX_EXTENSIONS:
            return PolicyError(Reason.TOO_LARGE, f"more than {_MAX_EXTENSIONS} unknown fields")
        return None

    def _pattern(self, value: str) -> PolicyError | None:
        pattern = normalise(value)
        if not value.isascii():
            advice = f", which is {pattern}" if pattern else ""
            return PolicyError(Reason.MX, f"mx {_shown(value)} is not written in A-labels{advice}")
        if not pattern:
            return PolicyError(Reason.MX, f"mx {_shown(value)} is neither a host name nor *.domain")
        self._mx.setdefault(pattern)
        if len(self._mx) > MAX_PATTERNS:
            return PolicyError(Reason.TOO_LARGE, f"more than {MAX_PATTERNS} mx")
        return None

    def policy(self) -> StsPolicy | PolicyError:
        """The whole."""
        version, mode, max_age = (self._values.get(name) for name in ("version", "mode", "max_age"))
        if version != "STSv1":
            return _wrong(Reason.VERSION, "version", version, "STSv1")
        if mode not in set(StsMode):
            return _wrong(Reason.MODE, "mode", mode, "enforce, testing or none")
        if max_age is None or not _SECONDS.fullmatch(max_age):
            return _wrong(Reason.MAX_AGE, "max_age", max_age, f"0 to {MAX_AGE} seconds")
        if not self._mx and mode != StsMode.NONE:
            return PolicyError(Reason.MX, f"mode {mode} without an mx, so that no host would be allowed")
        return StsPolicy(StsMode(mode), tuple(self._mx), int(max_age), tuple(self._extensions.items()))


def _wrong(reason: Reason, name: str, value: str | None, allowed: str) -> PolicyError:
    if value is None:
        return PolicyError(reason, f"{name} is missing")
    return PolicyError(reason, f"{name} {_shown(value)} is not {allowed}")


def _shown(text: str) -> str:
    """Quote foreign text for a sentence of ours."""
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


SHORT: Final = 86_400  # seconds: a sender refreshes once a day, so that a shorter one is often not there
LONG: Final = 15_778_800  # half a year

type Level = Literal["info", "warn", "fail"]


class LintKind(StrEnum):
    """The kind of a lint warning."""

    HOST_NOT_COVERED = "host-not-covered"
    MX_NEVER_MATCHES = "mx-never-matches"
    MX_UNUSED = "mx-unused"
    MAX_AGE_SHORT = "max-age-short"
    MAX_AGE_LONG = "max-age-long"
    MAX_AGE_EXCEEDED = "max-age-exceeded"
    MODE_TESTING = "mode-testing"
    MODE_NONE = "mode-none"


class Lint(msgspec.Struct, frozen=True):
    """One remark. level: "fail", if mail is not delivered because of it. text: what, and what to do."""

    kind: LintKind
    level: Level
    text: str


def lint(policy: StsPolicy, hosts: Sequence[str] = ()) -> tuple[Lint, ...]:
    """Remarks on a policy. hosts: the domain's MX hosts as DNS has them; () if they are not known."""
    return (*_mode(policy), *_hosts(policy, hosts), *_patterns(policy, hosts), *_age(policy))


def _mode(policy: StsPolicy) -> Iterator[Lint]:
    if policy.mode is StsMode.TESTING:
        text = "mode testing protects no mail, it only reports failures; enforce when the reports are clean"
        yield Lint(LintKind.MODE_TESTING, "info", text)
    if policy.mode is StsMode.NONE:
        text = "mode none withdraws MTA-STS; keep it until every older policy's max_age has passed"
        yield Lint(LintKind.MODE_NONE, "info", text)


def _hosts(policy: StsPolicy, hosts: Sequence[str]) -> Iterator[Lint]:
    if policy.mode is StsMode.NONE:
        return
    for host in hosts:
        if policy.matches(host):
            continue
        effect = "is not delivered to" if policy.mode is StsMode.ENFORCE else "is reported as failing"
        near = _near(policy, host)
        hint = f"; {near} stands for one label only" if near else ""
        level: Level = "fail" if policy.mode is StsMode.ENFORCE else "warn"
        text = f"the MX host {host} {effect}: no mx of the policy covers it{hint}; add mx: {_advice(host)}"
        yield Lint(LintKind.HOST_NOT_COVERED, level, text)


def _near(policy: StsPolicy, host: str) -> str:
    """A wildcard that was probably meant to cover `host`, "" if there is none."""
    name = normalise(host)
    return next((mx for mx in policy.mx if mx.startswith("*.") and f".{name}".endswith(mx[1:])), "")


def _advice(host: str) -> str:
    return normalise(host) or host


def _patterns(policy: StsPolicy, hosts: Sequence[str]) -> Iterator[Lint]:
    names = [normalise(host) for host in hosts]
    for pattern in policy.mx:
        if why := _impossible(pattern):
            yield Lint(LintKind.MX_NEVER_MATCHES, "warn", f"mx {pattern} can never match: {why}")
        elif names and not any(covers(pattern, name) for name in names):
            yield Lint(LintKind.MX_UNUSED, "info", f"mx {pattern} covers none of the MX hosts that DNS has now")


def _impossible(pattern: str) -> str:
    """Explain why no MX host can have this name, "" if one can."""
    name = pattern.removeprefix("*.")
    if is_ip_address(name):
        return "an MX record names a host, never an address"
    if pattern == name and "." not in name:
        return "MX hosts have whole names, as mail.b.example"
    return ""


def _age(policy: StsPolicy) -> Iterator[Lint]:
    if policy.mode is StsMode.ENFORCE and policy.max_age < SHORT:
        text = (
            f"max_age {policy.max_age} is less than a day: whoever disturbs DNS or HTTPS that long can switch the "
            "policy off; 604800 (a week) or more is usual"
        )
        yield Lint(LintKind.MAX_AGE_SHORT, "warn", text)
    if policy.max_age > MAX_AGE:
        text = (
            f"max_age {policy.max_age} is more than {MAX_AGE}, the longest there is: some senders ignore the whole "
            "policy for it; the gateway keeps it for a year"
        )
        yield Lint(LintKind.MAX_AGE_EXCEEDED, "warn", text)
    elif policy.mode is not StsMode.NONE and policy.max_age > LONG:
        text = f"max_age {policy.max_age} is more than half a year: a sender may apply a wrong policy that long"
        yield Lint(LintKind.MAX_AGE_LONG, "info", text)
