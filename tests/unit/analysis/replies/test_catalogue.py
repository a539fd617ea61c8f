"""The list of replies has all that the source makes, and nothing that it does not."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import gatepost
from gatepost.analysis.replies.catalogue import ENTRIES, markdown
from gatepost.analysis.replies.requirements import TITLES, WORDS
from gatepost.policy.decisions import outbound, refusals, tls_floor, withheld
from gatepost.protocols.message import next_step

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(gatepost.__file__).parent
ANY = "…"

# Where a reply is made of another one, or of what is not known before: what such a function makes, as the list has it.
DERIVED = {
    "mail.inbound.source_limits.SourceLimits.spent": tuple(
        f"Too many {ANY} {where}, try again later" for where in (f"from {ANY} in a minute", "at the moment")
    ),
    "mail.outbound.failure.located": (),  # the same words, and where
    "mail.outbound.failure.loss_reply": (
        f"{ANY} while waiting for the reply to {ANY}",
        f"{ANY} while sending the message",
    ),
    "mail.queue.gate.Gate.reply_for": ("The next hop did not answer a moment ago",),
    "mail.queue.retry_decision._expired": (f"Message expired, {ANY}",),
    "mail.queue.retry_decision._returned": (ANY,),  # an administrator's words
    "policy.decisions.outbound.deferral": (),  # the statuses and words of `requirements`
    "policy.decisions.refusals.untrusted": (
        f"TenantAttribution; Relay Access Denied: your certificate is not trusted, {ANY}",
        f"{refusals.LOCKED_DOWN.lines[0]}: your certificate is not trusted, {ANY}",
    ),
    "policy.decisions.withheld.public_reply": (
        withheld._TAKEN,
        withheld._WAITS,
        withheld._REFUSED,
        *withheld._TEXTS.values(),
    ),
    "protocols.smtp.client.reply_parser.ReplyParser._joined": (ANY,),  # of another server
    "protocols.smtp.client.reply_parser._parse_line": (),
    "protocols.smtp.client.sending._for_now": (),
    "protocols.smtp.server.server.Server._answer_hello": (ANY,),
    "protocols.smtp.server.server._ehlo_reply": (ANY,),
}
# What a transcript has in place of a challenge, which may hold a secret.
NOTED = {("334", "...")}


@cache
def sources() -> list[tuple[str, ast.Module]]:
    """The modules that make replies or shortfalls."""
    texts = {path: path.read_text() for path in SOURCE.rglob("*.py") if "analysis/replies" not in path.as_posix()}
    made = {path: text for path, text in texts.items() if re.search(r"\b(?:Reply|Shortfall)\(", text)}
    return [(".".join(path.relative_to(SOURCE).with_suffix("").parts), ast.parse(text)) for path, text in made.items()]


def constants(tree: ast.Module) -> dict[str, str]:
    """Texts that a module gives a name to."""
    found: dict[str, str] = {}
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                text = written(value, found)[0]
                if ANY not in text:
                    found[name] = text
    return found


def written(node: ast.expr, names: dict[str, str]) -> list[str]:
    """What an expression may be, with ANY for what only a run shows."""
    match node:
        case ast.Constant(value=value):
            return [str(value)]
        case ast.Name(id=name):
            return [names.get(name, ANY)]
        case ast.IfExp(body=body, orelse=other):
            return [*written(body, names), *written(other, names)]
        case ast.JoinedStr(values=parts):
            texts = [written(part.value if isinstance(part, ast.FormattedValue) else part, names)[0] for part in parts]
            return [re.sub(f"{ANY}+", ANY, "".join(texts))]
        case ast.Tuple(elts=parts):
            return [re.sub(f"(?:{ANY} ?)+$", ANY, " ".join(written(part, names)[0] for part in parts))]
    return [ANY]


def calls(name: str) -> Iterator[tuple[str, ast.Call, dict[str, str]]]:
    """Every call of a class, the function that it stands in, and what the module's names are."""
    for module, tree in sources():
        names = constants(tree)
        scopes: list[tuple[str, ast.AST]] = [(module, tree)]
        while scopes:
            where, scope = scopes.pop()
            for node in ast.iter_child_nodes(scope):
                inner = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
                scopes.append((f"{where}.{node.name}" if inner else where, node))
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                    yield where, node, names


@cache
def made() -> tuple[set[tuple[str, str]], set[str]]:
    """The replies of the source as codes and text, and the functions that make them of something else."""
    replies, derived = set(), set()
    for where, call, names in calls("Reply"):
        code, status, lines = call.args
        (text,) = written(lines, names)
        for number in written(code, names):
            for enhanced in written(status, names):
                if ANY in {number, text}:
                    derived.add(where)
                else:
                    shown = f"{number[0]}.x.y" if ANY in enhanced else enhanced
                    replies.add((f"{number} {shown}".rstrip(), text))
    return replies, derived


def listed() -> set[tuple[str, str]]:
    return {(entry.codes, text) for entry in ENTRIES for text in entry.texts}


def test_every_reply_that_the_source_makes_is_listed():
    replies, _ = made()
    assert len(replies) > 120
    assert sorted(replies - listed() - NOTED) == []


def test_each_place_that_makes_a_reply_of_another_is_known():
    assert made()[1] ^ DERIVED.keys() == set()
    texts = {text for _, text in listed()}
    assert [text for made_here in DERIVED.values() for text in made_here if text not in texts] == []


def test_nothing_is_listed_that_the_source_does_not_make():
    replies, _ = made()
    derived = {text for texts in DERIVED.values() for text in texts}
    assert sorted(reply for reply in listed() - replies if reply[1] not in derived) == []


def test_no_reply_is_listed_twice():
    texts = [(entry.codes, text) for entry in ENTRIES for text in entry.texts]
    assert len(texts) == len(set(texts))


def test_every_word_of_an_unmet_requirement_is_listed_with_its_statuses():
    tables = {word for _, word in outbound._UNTRUSTED.values()} | {word for _, word in outbound._DANE.values()}
    tables |= {"TlsVersionTooOld", *tls_floor._UNMET.values()}
    words = set(tables)
    for _, call, names in calls("Shortfall"):
        statuses, (word,) = written(call.args[1], names), written(call.args[2], names)
        if word != ANY:
            plain = word.split()[0]
            words.add(plain)
            assert {status for status in statuses if status != ANY} <= set(WORDS[plain][0])
    assert words == WORDS.keys() == next_step._BY_WORD.keys()
    for status, word in outbound._DANE.values():
        assert status in WORDS[word][0]
    for _, word in outbound._UNTRUSTED.values():
        assert {outbound._VALIDATE, outbound._VALIDATE_STS} <= set(WORDS[word][0])


def test_every_status_of_an_unmet_requirement_has_its_text():
    assert {status for statuses, _ in WORDS.values() for status in statuses} == TITLES.keys()
    assert {status: TITLES[status] for status in outbound._TITLES} == outbound._TITLES


def test_the_page_has_each_reply_and_what_to_do():
    page = markdown()
    assert "### 550 5.7.64\n" in page
    assert all(f"### {entry.codes}\n" in page and entry.cure in page for entry in ENTRIES)
    assert "### 450 4.7.320\n" in page
    assert "| `SubjectMismatch` | 4.7.320, 4.7.5, 4.7.325 |" in page
    assert "must present a certificate with the expected name" in page
    assert page.index("### 550 5.7.60") < page.index("### 550 5.7.64") < page.index("### 421 4.7.0")
