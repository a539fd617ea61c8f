"""docs/reply-codes.md has all replies that the source makes with their cause and cure, and nothing that it does not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from support import source_trees

import gatepost
from gatepost.mail.model.delivery_result import Disposition
from gatepost.policy.decisions import outbound, refusals, requirement, withheld
from gatepost.protocols.message import next_step
from gatepost.protocols.mtasts.policy import Reason
from gatepost.protocols.tls.facts import ChainStatus
from gatepost.protocols.tlsrpt.result import ResultType

SOURCE = Path(gatepost.__file__).parent
PAGE = Path(__file__).resolve().parents[2] / "docs" / "reply-codes.md"
ANY = "…"
UNMET = f" [Message={ANY}]"
GROUPS = {
    "Refused (5xx)": "5",
    "Try again later (4xx)": "4",
    "Accepted (2xx and 3xx)": "23",
    "With the codes of something else": ANY,
}
WORDS = "TLS requirements that were not met"
MEMBERS = {
    "Results of TLS (RFC 8460)": ResultType,
    "Results of a certificate chain": ChainStatus,
    "MTA-STS policies that cannot be used": Reason,
    "Results of a delivery": Disposition,
}

# Where a reply is made of another one, or of what is not known before: what such a function makes, as the page has it.
DERIVED = {
    "mail.inbound.source_limits._refusal": tuple(
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
    "policy.decisions.outbound.deferral": (),  # the statuses and words of WORDS
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
def sections() -> dict[str, list[tuple[str, list[str]]]]:
    """By heading, the rows of its tables: the heading of the third level above each, and its cells."""
    found: dict[str, list[tuple[str, list[str]]]] = {}
    rows, codes = [], ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            rows = found[line[3:]] = []
            codes = ""
        elif line.startswith("### "):
            codes = line[4:]
        elif line.startswith("| `"):
            rows.append((codes, line[2:-2].split(" | ")))
    return found


def listed() -> list[tuple[str, str]]:
    """The replies of the page, as codes and text."""
    return [
        (codes, text)
        for heading in GROUPS
        for codes, cells in sections()[heading]
        for text in re.findall("`(.*?)`", cells[0])
        if not text.endswith(UNMET)
    ]


def titles() -> dict[str, tuple[str, str]]:
    """The title and the cause of each status of unmet TLS requirements."""
    replies = [reply for heading in GROUPS for reply in sections()[heading]]
    return {
        codes.partition(" ")[2]: (text[1 : -len(UNMET) - 1], cause)
        for codes, (text, cause, _) in replies
        if text.endswith(f"{UNMET}`")
    }


def words() -> dict[str, list[str]]:
    """The statuses of each word of an unmet requirement."""
    return {cells[0].strip("`"): cells[1].split(", ") for _, cells in sections()[WORDS]}


@cache
def sources() -> list[tuple[str, ast.Module]]:
    """The modules that make replies or shortfalls."""
    texts = {path: path.read_text() for path in SOURCE.rglob("*.py")}
    made = [path for path, text in texts.items() if re.search(r"\b(?:Reply|Shortfall)\(", text)]
    return [(".".join(path.relative_to(SOURCE).with_suffix("").parts), source_trees.tree(path)) for path in made]


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


def test_every_reply_that_the_source_makes_is_on_the_page():
    replies, _ = made()
    assert len(replies) > 120
    assert sorted(replies - set(listed()) - NOTED) == []


def test_each_place_that_makes_a_reply_of_another_is_known():
    assert made()[1] ^ DERIVED.keys() == set()
    texts = {text for _, text in listed()}
    assert [text for made_here in DERIVED.values() for text in made_here if text not in texts] == []


def test_nothing_is_on_the_page_that_the_source_does_not_make():
    replies, _ = made()
    derived = {text for texts in DERIVED.values() for text in texts}
    assert sorted(reply for reply in set(listed()) - replies if reply[1] not in derived) == []


def test_no_reply_is_on_the_page_twice():
    assert len(listed()) == len(set(listed()))


@pytest.mark.parametrize("heading", GROUPS)
def test_replies_are_under_their_class_in_the_order_of_their_codes(heading):
    def order(codes: str) -> tuple[str, list[int]]:
        code, _, status = codes.partition(" ")
        return code, [int(part) if part.isdigit() else -1 for part in status.split(".")]

    headings = list(dict.fromkeys(codes for codes, _ in sections()[heading]))
    assert headings
    assert all(codes[0] in GROUPS[heading] for codes in headings)
    assert headings == sorted(headings, key=order)


def test_every_row_has_a_cause_and_a_cure():
    rows = [cells for found in sections().values() for _, cells in found]
    assert [cell for cells in rows for cell in cells[-2:] if not cell.endswith(".")] == []
    assert {len(cells) for _, cells in sections()[WORDS]} == {4}
    assert {len(cells) for heading in (*GROUPS, *MEMBERS) for _, cells in sections()[heading]} == {3}


def test_every_word_of_an_unmet_requirement_is_on_the_page_with_its_statuses():
    tables = {word for _, word in outbound._UNTRUSTED.values()} | {word for _, word in outbound._DANE.values()}
    tables |= {"TlsVersionTooOld", *requirement._UNMET.values()}
    made_words = set(tables)
    for _, call, names in calls("Shortfall"):
        statuses, (word,) = written(call.args[1], names), written(call.args[2], names)
        if word != ANY:
            plain = word.split()[0]
            made_words.add(plain)
            assert {status for status in statuses if status != ANY} <= set(words()[plain])
    assert made_words == words().keys() == next_step._BY_WORD.keys()
    for status, word in outbound._DANE.values():
        assert status in words()[word]
    for _, word in outbound._UNTRUSTED.values():
        assert {outbound._VALIDATE, outbound._VALIDATE_STS} <= set(words()[word])


def test_the_cure_of_a_word_is_what_pages_and_notices_say():
    for _, (word, statuses, _, cure) in sections()[WORDS]:
        status = statuses.split(", ")[0]
        reply = f"{'550' if status.startswith('5') else '450'} {status} [Message={word.strip('`')} …]"
        step = next_step.failed_step("the recipient's domain", reply).text
        assert cure == step.partition("; this message failed")[0] + "."


def test_every_status_of_an_unmet_requirement_has_its_title_and_its_words():
    assert {status for statuses in words().values() for status in statuses} == titles().keys()
    assert {status: titles()[status][0] for status in outbound._TITLES} == outbound._TITLES
    for status, (_, cause) in titles().items():
        assert re.findall("`(.*?)`", cause) == [word for word, statuses in words().items() if status in statuses]


@pytest.mark.parametrize("heading", MEMBERS)
def test_every_result_is_on_the_page(heading):
    assert [cells[0].strip("`") for _, cells in sections()[heading]] == list(MEMBERS[heading])
