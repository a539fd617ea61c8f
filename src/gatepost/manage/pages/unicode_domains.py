"""Show the Unicode form of an internationalized domain beside its A-labels: "xn--bcher-kva.example (bücher.example)".

In the text of a whole page, once it is rendered, and in nothing that is copied, sent back or run: commands and records
(code, pre), fields, choices, scripts, attributes. The A-labels (RFC 5890) stay what stands first, since they are what
is compared; a name whose letters could be taken for others has nothing beside it (homographs), as browsers do: one
script in a label, or one of East Asia with Latin; no Greek or Cyrillic label that Latin letters could have written.
Pure.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import chain
from typing import Final

_TAG: Final = re.compile(r"(<[^<>]*>)")
_NAME: Final = re.compile(r"</?([a-z]+)")
_KEPT: Final = frozenset({"code", "option", "pre", "script", "style", "svg", "textarea", "title"})
"""Elements whose text stays as it is."""
_TOKEN: Final = re.compile(r"[\w.-]+…?")
_A_LABEL: Final = "xn--"
_COMMAND: Final = "gatepost "  # in a sentence that ends with one to type
_LONGEST: Final = 253  # octets of a domain (RFC 1035)
_ISOLATED: Final = "{} (\u2068{}\u2069)"  # whatever its direction, what is around it stays where it is
_LOOKALIKES: Final = {
    "CYRILLIC": frozenset("асԁеһіјӏорԛѕԝхуъьвҽпгѵѡ"),
    "GREEK": frozenset("αικνρυωηοτ"),
}
"""Letters that look like Latin ones (Chromium's list of whole-script confusables)."""
_ALONE: Final = frozenset({"LATIN", "GREEK", "CYRILLIC", "ARABIC", "HEBREW", "DEVANAGARI"})
_TOGETHER: Final = (
    frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "CJK", "BOPOMOFO"}),
    frozenset({"LATIN", "CJK", "HANGUL"}),
)
"""UTS 39, "highly restrictive"."""
_STROKES: Final = frozenset("ノンソゾ丶丿乀乁一ーㄧ")
"""Letters of East Asia that look like a slash or a hyphen where they stand among ASCII, as in "a.example/login"."""
_LATIN: Final = frozenset(map(chr, chain(range(0xDF, 0x17F), (0x219, 0x21B), range(0x1E00, 0x1F00)))) - set("÷ıĸŉ")
"""Letters of living languages beyond ASCII, without those that look like others of ASCII."""


def with_unicode(page: str) -> str:
    """The page, or a part of it, with the Unicode form beside each internationalized domain in its text."""
    if _A_LABEL not in page:
        return page
    parts = _TAG.split(page)  # text, tag, text, …
    within: list[str] = []  # elements whose text stays
    for place, part in enumerate(parts):
        if place % 2:
            _step(within, part)
        elif not within and _A_LABEL in part:
            text, command, rest = part.partition(_COMMAND)
            parts[place] = _TOKEN.sub(_with_letters, text) + command + rest
    return "".join(parts)


def _step(within: list[str], tag: str) -> None:
    name = _NAME.match(tag)
    if name is None or name[1] not in _KEPT:
        return
    if not tag.startswith("</"):
        within.append(name[1])
    elif name[1] in within:
        within.remove(name[1])


def _with_letters(match: re.Match[str]) -> str:
    token = match[0]
    domain = token.strip(".")
    shown = unicode_form(domain) if _A_LABEL in domain and domain.isascii() and len(domain) <= _LONGEST else ""
    return token.replace(domain, _ISOLATED.format(domain, shown), 1) if shown else token


@lru_cache(maxsize=1024)
def unicode_form(domain: str) -> str:
    """The U-labels of a domain (RFC 5891); "" if it has none, or one that could be taken for another."""
    labels = [_u_label(label) for label in domain.split(".")]
    shown = ".".join(labels)
    return shown if len(labels) > 1 and all(labels) and shown != domain else ""


def _u_label(label: str) -> str:
    """A label of ASCII as it is, an A-label as its U-label; "" for one that is not to be shown."""
    import idna  # noqa: PLC0415 - its tables are large, and most pages need none

    if not label.startswith(_A_LABEL):
        return label
    try:
        text = idna.decode(label)
        return text if idna.encode(text) == label.encode() and _is_unambiguous(text) else ""
    except (idna.IDNAError, UnicodeError):
        return ""


def _is_unambiguous(label: str) -> bool:
    letters = [character for character in label if character not in "-0123456789"]
    scripts = {_script(letter) for letter in letters}
    if len(scripts) == 1 and scripts <= _ALONE:
        (script,) = scripts
        return not set(letters) <= _LOOKALIKES.get(script, frozenset())
    return any(scripts <= together for together in _TOGETHER) and not _has_strokes(label)


def _has_strokes(label: str) -> bool:
    """Whether a letter that looks like a slash or a hyphen stands among ASCII, without another of its script beside."""
    is_mixed = any(map(str.isascii, label))
    around = zip(f"-{label}", label, f"{label[1:]}-", strict=False)
    return is_mixed and any(at in _STROKES and before.isascii() and after.isascii() for before, at, after in around)


def _script(letter: str) -> str:
    """The script as names of Unicode begin with it, "" for what is not a letter of a living language."""
    if unicodedata.category(letter) not in {"Ll", "Lo", "Lm", "Mc", "Mn"} or letter.isdigit():
        return ""
    script = unicodedata.name(letter, "").replace("-", " ").partition(" ")[0]
    if script == "LATIN" and not letter.isascii() and letter not in _LATIN:
        return ""
    return {"IDEOGRAPHIC": "CJK"}.get(script, script)
