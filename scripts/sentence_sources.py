"""Find the sentences with values that modules form, for `scripts/catalogues.py`: f-strings and constants, as templates.

Sources stay as they are: `f"mail to {partner.domain} waits"` is the template "mail to %(domain)s waits", which
`gatepost.sentences` knows again in a text. What stands for a few constant texts is written out: a constant of the
module, a local name that is set once, `"is" if number == 1 else "are"`. A value that is text of ours by itself, as the
results of `OWN` are, has a placeholder that begins with `own_`.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from sentence_exceptions import UNSEEN
from sentence_modules import OWN, OWN_NAMES, OWN_VALUES

type Text = str | tuple[str, ...]
type Parts = list[str | ast.expr]  # literals and values

SAME: Final = frozenset({"N_", "shown_text", "_capital"})
"""Functions that give the text they get, or nearly."""
VARIANTS: Final = 24
"""Texts, at most, that one expression stands for; what stands for more is a value."""
_WORDS: Final = re.compile(r"[A-Za-z]{2,}[,;:]? [A-Za-z(]|[A-Za-z]{3,}")
_SENTENCE: Final = re.compile(r"[A-Za-z]{2,}.* ")
_COMMAND: Final = re.compile(
    r"(?:New-|Set-|Get-|Enable-|Test-|Restart-)\w|\$\w+ = |    -"
    r"|(?:gatepost|openssl|chown|mkdir|ss|du|delv|systemctl|journalctl) |/|_25\._tcp|[a-z_]+=|[A-Z]+ /"
)
_DATA: Final = re.compile(
    r".*\r\n.*|%\((?:domain|own|tlsrpt|name)\)s\. IN .*|_dmarc\..*|organization\.%.*|changeover: .*"
    r"|(?:From|Subject|TLS-Required): .*|application/.*|certificate changeover %.*|openssl_conf = .*"
    r"|(?:%\(note\)s; )?forced: .*"
    r"|[A-Z]+=.*|\s*(?:SELECT|INSERT|UPDATE|DELETE|PRAGMA|CREATE|VACUUM|LOCK|BEGIN|WHERE|ORDER|UNION|document <>) .*",
    re.DOTALL,
)
"""Mails, records, names of fields, and notes that histories keep: no sentences, though they have several words."""
_NO_TEXT: Final = re.compile(
    "use_cases?|setting|Field|Meta|Cli|Form|quantity|in_number|comment|_names|quoted|command|getLogger|Cli|compile|replace|startswith|endswith|removeprefix|removesuffix|partition|rpartition|"
    "split|strptime|strftime"
)
"""Functions whose arguments are no sentences."""
_LOGGED: Final = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
_FORMAT: Final = re.compile(r"\{(\w*)(?:!r)?(?::[^}]*)?\}")
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(slots=True)
class _Scope:
    """What names stand for that are set once, in a function or the module. folded: loads that were written out."""

    names: dict[str, ast.expr] = field(default_factory=dict)
    folded: set[int] = field(default_factory=set)


@cache
def sentences(path: Path) -> tuple[Text, ...]:
    """The templates of a module; two forms for a number with its noun."""
    return tuple(_sentences(path))


def _sentences(path: Path) -> Iterator[Text]:
    tree = ast.parse(path.read_bytes())
    module = _Scope(_assigned(tree.body))
    loads: dict[str, set[int]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            loads.setdefault(node.id, set()).add(id(node))
    made = [(name, list(_templates(node, scope))) for node, name, scope in _expressions(tree, "", module)]
    for name, texts in made:
        if not name or not loads.get(name) or not loads[name] <= module.folded:  # else only part of other texts
            yield from (_with_own(text, path.name) for text in texts if not _is_reply(text, path))
    yield from _nouns(tree)


def skeleton(text: Text) -> Text:
    """The text without the names of its values, by which a text of it is known again."""
    return text if isinstance(text, tuple) else re.sub(r"%\((own_)?\w+?\)s", r"%(\1)s", text)


def _with_own(text: str, module: str) -> str:
    for name in (*OWN_NAMES, *OWN_VALUES.get(module, ())):
        text = text.replace(f"%({name})s", f"%(own_{name})s")
    return text


def _is_reply(text: str, path: Path) -> bool:
    """Whether policy says it to a peer: replies begin with a capital letter, and reasons do not."""
    return "policy" in path.parts and text[:1].isupper()


# names


def _assigned(body: Iterable[ast.stmt]) -> dict[str, ast.expr]:
    """Names that these statements set once, with what to."""
    names: dict[str, list[ast.expr]] = {}
    for statement in itertools.chain.from_iterable(map(_statements, body)):
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                for name, value in _pairs(target, statement.value):
                    names.setdefault(name, []).append(value)
        elif isinstance(statement, ast.AnnAssign) and statement.value and isinstance(statement.target, ast.Name):
            names.setdefault(statement.target.id, []).append(statement.value)
        elif isinstance(statement, ast.For | ast.AugAssign) and isinstance(statement.target, ast.Name):
            names.setdefault(statement.target.id, []).extend([ast.Constant(None)] * 2)
    return {name: values[0] for name, values in names.items() if len(values) == 1}


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        for inner, part in zip(target.elts, value.elts, strict=True):
            yield from _pairs(inner, part)


def _statements(statement: ast.stmt) -> Iterator[ast.stmt]:
    """It and those in it, but not in functions and classes."""
    yield statement
    if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
        return
    for child in ast.iter_child_nodes(statement):
        for each in child.body if isinstance(child, ast.ExceptHandler | ast.match_case) else [child]:
            if isinstance(each, ast.stmt):
                yield from _statements(each)


# texts


def _expressions(node: ast.AST, name: str, scope: _Scope) -> Iterator[tuple[ast.expr, str, _Scope]]:
    """Expressions that are texts, the whole of each: with the name that it is set to, and the names it may use."""
    if isinstance(node, _FUNCTIONS):
        scope = _Scope(scope.names | _assigned(node.body), scope.folded)
    for child in ast.iter_child_nodes(node):
        if _is_no_text(child, node):
            continue
        if isinstance(child, ast.expr) and _is_text(child):
            yield child, _target(node), scope
            for call in ast.walk(child):
                if isinstance(call, ast.Call) and _called(call) not in {*SAME, "quantity"}:
                    yield from _expressions(call, "", scope)
        else:
            yield from _expressions(child, name, scope)


def _target(node: ast.AST) -> str:
    """The one name that a statement sets."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return targets[0].id if len(targets) == 1 and isinstance(targets[0], ast.Name) else ""


def _is_text(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=str()) | ast.JoinedStr():
            return True
        case ast.BinOp(op=ast.Add(), left=one, right=other) | ast.IfExp(body=one, orelse=other):
            return _is_text(one) or _is_text(other)
        case ast.BoolOp(op=ast.Or()):
            return any(map(_is_text, node.values))
        case _:
            return isinstance(node, ast.Call) and _called(node) in SAME and bool(node.args) and _is_text(node.args[0])


def _is_no_text(child: ast.AST, node: ast.AST) -> bool:
    """Documentation, annotations, names of things, and what is compared."""
    match node:
        case ast.Expr() | ast.Compare() | ast.Subscript():
            return isinstance(child, ast.Constant)
        case ast.Dict():
            return child in node.keys
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return child is node.returns or child in node.decorator_list
        case ast.arg() | ast.AnnAssign():
            return child is node.annotation
        case ast.Call(args=[first, *others]) if _called(node) in {"_rule", "_lost"}:
            return child is first or (_called(node) == "_lost" and child in others[1:])
        case _:
            return isinstance(node, ast.Call) and (_NO_TEXT.fullmatch(_called(node)) is not None or _is_logged(node))


def _is_logged(node: ast.Call) -> bool:
    """Whether it is a call of a logger; `error` of a draft of resources or settings is none."""
    return isinstance(node.func, ast.Attribute) and node.func.attr in _LOGGED and _name(node.func.value).endswith("log")


def _called(node: ast.Call) -> str:
    return getattr(node.func, "id", "") or getattr(node.func, "attr", "")


def _templates(node: ast.expr, scope: _Scope) -> Iterator[str]:
    for parts in _variants(node, scope):
        text = _written(parts)
        if text not in UNSEEN and _is_sentence(text):
            yield text


def _is_sentence(text: str) -> bool:
    plain = re.sub(r"%\(\w+\)s", "", text)
    is_worded = " " in text and _WORDS.search(plain) and (plain != text or _SENTENCE.search(plain))
    is_own = "%(own_" in text and bool(plain.strip())
    is_part = text.startswith((" ", ",", ";", "(")) or text.endswith(" ") or " ," in text
    return bool(is_own or is_worded) and not is_part and not _COMMAND.match(text) and not _DATA.fullmatch(text)


def _variants(node: ast.expr, scope: _Scope) -> list[Parts]:
    """The texts that an expression stands for, each in parts."""
    match node:
        case ast.Constant(value=str() as text):
            pieces = _FORMAT.split(text)  # texts for str.format
            return [[part if place % 2 == 0 else ast.Name(part or "value") for place, part in enumerate(pieces)]]
        case ast.JoinedStr():
            return _product([_variants(value, scope) for value in node.values], node)
        case ast.BinOp(op=ast.Add()):
            return _product([_variants(node.left, scope), _variants(node.right, scope)], node)
        case ast.IfExp():
            return _variants(node.body, scope) + _variants(node.orelse, scope)
        case ast.BoolOp(op=ast.Or()):
            return [variant for value in node.values for variant in _variants(value, scope)]
        case _:
            return _variants_of_value(node, scope)


def _variants_of_value(node: ast.expr, scope: _Scope) -> list[Parts]:
    match node:
        case ast.FormattedValue():
            return [[node]] if node.format_spec or node.conversion != -1 else _variants(node.value, scope)
        case ast.BinOp(op=ast.Mult(), left=ast.Constant(value=str() as text)):
            return [[text], [""]]
        case ast.Call(args=[first, *_]) if _called(node) in SAME:
            return _variants(first, scope)
        case ast.Name() if isinstance(value := scope.names.get(node.id), ast.Call) and _called(value) in OWN:
            return [[value]]
        case ast.Name() if (value := scope.names.get(node.id)) is not None and _is_text(value):
            scope.folded.add(id(node))
            others = {name: text for name, text in scope.names.items() if name != node.id}
            return _variants(value, _Scope(others, scope.folded))
    return [[node]]


def _product(parts: list[list[Parts]], node: ast.expr) -> list[Parts]:
    made = [list(itertools.chain.from_iterable(combined)) for combined in itertools.product(*parts)]
    return made if len(made) <= VARIANTS else [[node]]


def _written(parts: Parts) -> str:
    """The template, with a name for each value."""
    names: dict[str, str] = {}
    text = ""
    for part in parts:
        if isinstance(part, str):
            text += part.replace("%", "%%") if any(isinstance(each, ast.expr) for each in parts) else part
            continue
        key, name = ast.dump(part), _name(part) or "value"
        if key not in names:
            others = (f"{name}{number}" for number in itertools.count(2))
            names[key] = next(free for free in itertools.chain([name], others) if free not in names.values())
        text += f"%({names[key]})s"
    return text


def _name(node: ast.expr) -> str:
    """A name for a value, that of the last thing that it is made of; "" for none."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_").lower()
        case ast.Call():
            return _name_of_call(node)
        case (
            ast.Subscript(value=inner)
            | ast.Starred(value=inner)
            | ast.Await(value=inner)
            | ast.IfExp(body=inner)
            | ast.FormattedValue(value=inner)  # 0644 is another text than 420, and 'a' than a
        ):
            return _name(inner)
        case ast.BinOp(left=ast.Constant(), right=inner) | ast.BinOp(left=inner):
            return _name(inner)
        case ast.GeneratorExp(generators=[first, *_]) | ast.ListComp(generators=[first, *_]):
            return _name(first.iter)
        case _:
            return ""


def _name_of_call(node: ast.Call) -> str:
    called = _called(node)
    nouns = _constants(node.args[1:])
    if called == "quantity" and nouns:
        return f"own_{(nouns[1] if len(nouns) > 1 else f'{nouns[0]}s').split()[-1]}"
    is_method = isinstance(node.func, ast.Attribute) and called != "join"
    inner = _name(node.func.value) if isinstance(node.func, ast.Attribute) and is_method else ""
    name = inner or next(filter(None, map(_name, node.args)), "") or "value"
    return f"own_{name}" if called in OWN else name


def _constants(nodes: Iterable[ast.expr]) -> list[str]:
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def _nouns(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Numbers with their noun, in both forms."""
    pairs = {name: value.elts for name, value in _assigned(tree.body).items() if isinstance(value, ast.Tuple)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) == "in_number":
            one, many = _constants(node.args[1:])
            yield one, many
        if isinstance(node, ast.Call) and _called(node) == "quantity":
            starred = [_name(each) for each in node.args[1:] if isinstance(each, ast.Starred)]
            named = [elements for name, elements in pairs.items() if name.strip("_").lower() in starred]
            if nouns := _constants(node.args[1:]) or _constants(itertools.chain.from_iterable(named)):
                yield f"%(num)s {nouns[0]}", f"%(num)s {nouns[1] if len(nouns) > 1 else nouns[0] + 's'}"
