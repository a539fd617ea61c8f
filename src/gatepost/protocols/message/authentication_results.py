"""The Authentication-Results field: written, found in a header section, and taken out where it is forged (RFC 8601).

Called by `mail.inbound.transaction`, which takes out what claims to be ours, `mail.inbound.authentication`, which
writes ours, and `mail.outbound.arc`, which repeats it. Octets in, octets out: every other field stays as it is.

A field is found wherever any reader might see one, as in `protocols.message.organization_headers`. One whose
authserv-id cannot be read is taken out as well: it says nothing, and another reader may find our name in it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

FIELD: Final = "Authentication-Results"

_COMMON: Final = b"authentication-results"
_LOWER: Final = bytes(range(256)).lower()
_CONTROLS: Final = bytes([*range(9), *range(10, 32), 127])
_UNSEEN: Final = rb"[\x00-\x08\x0e-\x1b\x1f\x7f]*"  # controls that end no line: a reader may leave them out
_ENDS: Final = rb"\r\n\x0b\x0c\x1c-\x1e"
_NAME: Final = _UNSEEN.join(re.escape(bytes([octet])) for octet in _COMMON)
_BEGINNING: Final = re.compile(
    rb"(?:\A|(?<=[" + _ENDS + rb"]))" + _UNSEEN + _NAME + rb"[\x00-\x09\x0e-\x1b\x1f \x7f]*:", re.IGNORECASE
)
_END: Final = rb"(?:\r\n|[" + _ENDS + rb"]|\Z)"
_WHOLE: Final = re.compile(rb"[^" + _ENDS + rb"]*" + _END + rb"(?:[ \t][^" + _ENDS + rb"]*" + _END + rb")*")

_BLANKS: Final = re.compile(r"[ \t\r\n]+")
_COMMENT_PART: Final = re.compile(r"(?:[^()\\]|\\.)+", re.DOTALL)
_TOKEN: Final = re.compile(r"[^\s\x00-\x1f\x7f\"(),/:;<=>?@\[\\\]]+")
_QUOTED: Final = re.compile(r'"((?:[^"\\\r\n]|\\.)*)"')
_ARC: Final = re.compile(r"(?:\A|;)\s*arc\s*=\s*([A-Za-z]+)", re.IGNORECASE)
_PLAIN: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+^_`{|}~/@-]{1,320}")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9.:@_+-]")
_UNSHOWN: Final = re.compile(r'[^ -~]|["\\;]')
_RESULT: Final = re.compile(r"=(?=\S)")
_SHOWN: Final = 200  # characters of a value or reason
_READ: Final = 4000  # octets; comments before a name may be as long as the header section


class MethodResult(msgspec.Struct, frozen=True):
    """One method's result. properties: as ("smtp.mailfrom", "b.example"). reason: a clause, "" for none."""

    method: str
    result: str
    properties: tuple[tuple[str, str], ...] = ()
    reason: str = ""

    @property
    def text(self) -> str:
        """As the field has it: "spf=pass smtp.mailfrom=b.example"."""
        words = [f"{self.method}={self.result}"]
        words += [f"reason={_quoted(self.reason)}"] if self.reason else []
        words += [f"{name}={_value(value)}" for name, value in self.properties if value]
        return " ".join(words)


def results_text(authserv_id: str, results: Sequence[MethodResult]) -> str:
    """The value of the field, a line for each result. "none" where nothing was looked at (RFC 8601 section 2.2)."""
    return ";\r\n\t".join([authserv_id, *([result.text for result in results] or ["none"])])


def is_plain(text: str) -> bool:
    """Whether a value stands in the field as it is. Anything else may have been written to look like results."""
    return _PLAIN.fullmatch(text) is not None


def _value(text: str) -> str:
    return text if is_plain(text) else f'"{_UNSAFE.sub("?", text[:_SHOWN])}"'


def _quoted(text: str) -> str:
    """A sentence, in which foreign text may be: nothing of it looks like a result to who searches for "dkim=pass"."""
    return f'"{_RESULT.sub("?", _UNSHOWN.sub("?", text[:_SHOWN]))}"'


def without_forged(section: bytes, names: Collection[str]) -> tuple[bytes, int]:
    """A header section without fields that claim one of `names` as their authserv-id, and how many these were.

    names: in lower case. The very section that came, if there were none.
    """
    if _COMMON not in section.translate(_LOWER, _CONTROLS):
        return section, 0
    kept: list[bytes] = []
    removed = at = 0
    for match in _BEGINNING.finditer(section):
        whole = _WHOLE.match(section, match.start())
        end = whole.end() if whole is not None else match.end()
        if (name := authserv_id(section[match.end() : end])) and name not in names:
            continue
        kept.append(section[at : match.start()])
        removed, at = removed + 1, end
    return (b"".join((*kept, section[at:])), removed) if removed else (section, 0)


def authserv_id(value: bytes) -> str:
    """The authserv-id of a field's value, in lower case; "" if that cannot be read, or stands behind 4000 octets."""
    text = value[:_READ].decode("utf-8", "replace")
    at = _after_comments(text, 0)
    match = _QUOTED.match(text, at) or _TOKEN.match(text, at)
    if match is None or (len(value) > _READ and match.end() == len(text)):
        return ""
    rest = _after_comments(text, match.end())
    if match.end() < len(text) and rest == match.end() and text[rest] != ";":
        return ""  # something else clings to it
    name = re.sub(r"\\(.)", r"\1", match[1]) if match.re is _QUOTED else match[0]
    return name.strip().removesuffix(".").lower()


def own_results(section: bytes, name: str) -> str:
    """The results in the first field of this authserv-id: the text behind it, unfolded; "" if there is none.

    To be asked only of a section from which forged ones were taken out.
    """
    for match in _BEGINNING.finditer(section):
        whole = _WHOLE.match(section, match.start())
        value = section[match.end() : whole.end()] if whole is not None else b""
        if authserv_id(value) == name:
            _, _, said = _BLANKS.sub(" ", value.decode("utf-8", "replace")).partition(";")
            return said.strip()
    return ""


def chain_of(said: str) -> str:
    """The state of the ARC chain in results as `own_results` has them: "none", "pass", "fail"; "" if it is not told."""
    match = _ARC.search(said)
    if match is None or match[1].lower() == "temperror":
        return ""
    return match[1].lower() if match[1].lower() in {"none", "pass"} else "fail"


def _after_comments(text: str, at: int) -> int:
    """Where comments, blanks and folds at a place end; the end of the text if a comment does not."""
    while True:
        if blank := _BLANKS.match(text, at):
            at = blank.end()
        elif text.startswith("(", at):
            at = _after_comment(text, at)
        else:
            return at


def _after_comment(text: str, at: int) -> int:
    depth = 0
    while at < len(text):
        if text[at] == "(":
            depth, at = depth + 1, at + 1
        elif text[at] == ")":
            depth, at = depth - 1, at + 1
            if not depth:
                return at
        elif part := _COMMENT_PART.match(text, at):
            at = part.end()
        else:
            break  # a backslash is the last
    return len(text)
