"""Retired words stay out of names, riddles out of the first lines of modules, and old labels out of visible text.

The lists of exceptions may only shrink: an entry that is no longer needed fails the test, too.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from support import source_trees

SOURCE = Path(__file__).resolve().parents[2] / "src" / "gatepost"

# Whichever test is the first of its process parses all modules: 5 s of CPU, a minute on a busy machine.
pytestmark = pytest.mark.timeout(180)


# Names: words that say nothing by themselves, or say it as nobody in the field does.
# fmt: off
RETIRED = {
    "agenda", "asked", "behind", "beside", "deed", "deeds", "departure", "desk", "doorkeeper", "fate", "fates",
    "hardships", "keeper", "luck", "owed", "seldom", "shipment", "sights", "sort", "standing", "staples",
    "told", "traps", "unable", "untold", "vouch", "vouching", "whence", "wish", "workbench",
}
# fmt: on
RETIRED_CLASSES = {"Answer", "Door", "Here", "Look", "Outcome", "Reach", "Scene", "Sight", "Way"}

# What is still called by a retired word, by module. Names that are stored or public are marked.
NAMES_LEFT = {
    "events/delivery_problems": {"untold"},  # a key of workers/N.json
    "node/http_session": {"_asked"},
    "protocols/smtp/client/client": {"is_behind"},
    "protocols/smtp/client/sending": {"is_behind"},
}

# Locals: words that do not say what a variable holds.
RETIRED_LOCALS = {"asked", "found", "given", "one", "standing", "told", "untold"}

# The rooms that handle each message. A public class name says which class it is.
MESSAGE_PATH = {"protocols", "policy", "net", "mail", "store"}
TWICE_LEFT: set[str] = set()

# Text that people see: what is written no more, and what is written instead.
LABELS = {
    # overview and lists
    "What needs somebody": "Needs attention",
    "There is no alarm": "All clear",
    "none is known": "No active alarms",
    "wait for somebody": "waiting for an administrator",
    "until somebody": "until an administrator",
    "Waiting for": "Largest queues",
    "The fullest": "Largest",
    "Certificates that end first": "Expiring soonest",
    "Sent on": "Sent",
    "by recipient and hop": "deliveries",
    "In clear": "Unencrypted",
    "Mail in clear": "Unencrypted mail",
    " in clear.": "unencrypted",
    " in clear,": "unencrypted",
    "LEFT in clear": "LEFT unencrypted",
    "Of all with it": "Share of its mail",
    "Failed for TLS": "TLS failures",
    "Blocked for TLS": "Held back by TLS policy",
    "blocked for TLS": "held back by TLS policy",
    "No mail met it": "No matching mail",
    "What it did": "Results",
    "Other side": "Remote server",
    "All that is known": "Raw event",
    "All that is kept": "All time",
    "No row matches": "No messages found",
    "Deed": "Event",
    "Beside this page": "Related",
    "Looked at": "Checked",
    # actions
    "Go on": "Continue",
    "Begin here": "Get started",
    "Make the owner": "Create owner account",
    "What would change": "Preview changes",
    "Why, for the history": "Reason (recorded)",
    "for the record": "Reason (recorded)",
    "is ticked": "Selected",
    "Nothing is done before you": "You will confirm first",
    "Explain again": "Re-evaluate with today's rules",
    "Look at the gates now": "Run checks",
    "Text for a mail": "Notification text",
    "As command and file": "Show as CLI / TOML",
    "The same as a command": "Show as CLI / TOML",
    "Another password": "Reset password",
    "Is it you?": "Confirm your password",
    # connectors
    "Demands": "Requires",
    "It demands": "Requires",
    "It must be": "Requires",
    "Fields that were written": "Configured settings",
    "with their default": "Defaults",
    "the certificate bears this name": "TLS with a certificate for this name",
    "client that would come": "Simulate a client",
    "Wanted:got": "Required / achieved",
    "asked for by default": "default",
    # certificates
    "a gate is red": "Override failed checks",
    "24 hours one step": "You can roll back for 24 hours",
    "Partners told": "Partners notified",
    "TO TELL": "Not yet notified",
    "The table for partners": "Certificate page for partners",
    "nothing names it": "Not used by any listener",
    "took nobody": "Replaced nothing",
    "in its stead": "instead",
    "no handshake, now as then": "No handshake before or after",
    # results
    "all can be told": "Some checks could not run",
    "cannot be told": "is not known",
    "ould not tell": "Inconclusive",
    "does not run as it should": "Unhealthy",
    "mend what is red": "Resolve the items marked",
    "NOT verified": "FAILED: the log was altered",
    "not what was written": "the log was altered",
    "ready to be forced": "ready for mandatory TLS",
    "withstands a quantum computer": "post-quantum key exchange",
    "turns away who is not a node": "OK: rejects non-members",
    "; by configuration": "; using configuration version",
    "again and again": "Gave up after repeated conflicts",
    "wrong use": "Usage error",
    "does not promise to stop": "out-of-scope attack",
    "There is nothing here": "Page not found",
    "This is not right": "Invalid request",
    "Nobody was logged in here": "Your session expired",
    " Takes: ": "One domain per line",
}
# By module or template: what is still written so.
LABELS_LEFT: dict[str, set[str]] = {
    "analysis/checks/validation": {"ould not tell"},  # how the last line of `validate` begins: scripts read it
}

_COMMENT = re.compile(r"{#.*?#}", re.DOTALL)
_TAG = re.compile(r"{[{%].*?[%}]}", re.DOTALL)
_STRING = re.compile(r"\"[^\"]*\"|'[^']*'")
_QUESTION_WORD = re.compile(r"(Who|What|Whose|Whom|Which|Where|Whether|When|Why|How)\b")


def modules() -> list[str]:
    """All modules."""
    paths = sorted(path.relative_to(SOURCE).with_suffix("") for path in SOURCE.rglob("*.py"))
    return [path.as_posix() for path in paths]


def tree(module: str) -> ast.Module:
    return source_trees.tree(SOURCE / f"{module}.py")


def nodes(module: str) -> Sequence[ast.AST]:
    return source_trees.nodes(SOURCE / f"{module}.py")


def words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def retired_names(module: str) -> set[str]:
    kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    names = {node.name for node in nodes(module) if isinstance(node, kinds)} | {module.rpartition("/")[2]}
    return {name for name in names if words(name) & RETIRED or name.lstrip("_") in RETIRED_CLASSES}


@pytest.mark.parametrize(
    ("name", "found"),
    [("Outcome", {"outcome"}), ("_learn_untold", {"learn", "untold"}), ("SMTPServer", {"smtp", "server"})],
)
def test_words_of_a_name(name, found):
    assert words(name) == found


def test_no_name_has_a_retired_word():
    found = {module: names for module in modules() if (names := retired_names(module))}
    assert found == NAMES_LEFT, "rename it, or take what is gone off the list"


def retired_locals(code: Sequence[ast.AST]) -> list[str]:
    """Names without annotation that functions, lambdas and comprehensions bind, as often as they bind them."""
    annotated = {id(node.target) for node in code if isinstance(node, ast.AnnAssign)}
    bound: list[str] = []
    for node in code:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in annotated:
            bound.append(node.id)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs) and node.name:
            bound.append(node.name)
        elif isinstance(node, ast.Lambda):
            bound += [argument.arg for argument in node.args.args]
    return [name for name in bound if name in RETIRED_LOCALS]


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("found = [one for one in rows]", ["found", "one"]),
        ("for number, one in rows: pass", ["one"]),
        ("with lock as told: pass", ["told"]),
        ("sorted(rows, key=lambda one: one.at)", ["one"]),
        ("try: pass\nexcept OSError as asked: pass", ["asked"]),
        ("found: list[Row] = []\ncall(one=1).given", []),
        ("def send(one: Row, given: str = ''): pass", []),
    ],
)
def test_locals_of_a_module(code, names):
    assert sorted(retired_locals(list(ast.walk(ast.parse(code))))) == sorted(names)


def test_locals_say_what_they_hold():
    left = {module: names for module in modules() if (names := retired_locals(nodes(module)))}
    assert left == {}, "name what it holds"


@pytest.mark.parametrize("rooms", [MESSAGE_PATH, {"manage"}], ids=["message-path", "manage"])
def test_no_two_public_classes_share_a_name(rooms):
    counts = Counter(
        node.name
        for module in modules()
        if module.split("/")[0] in rooms
        for node in tree(module).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert {name for name, count in counts.items() if count > 1} == TWICE_LEFT


def test_the_first_line_of_a_module_says_what_it_is():
    lines = {module: (ast.get_docstring(tree(module)) or "").split("\n")[0] for module in modules()}
    riddles = {m: line for m, line in lines.items() if _QUESTION_WORD.match(line) and "?" not in line}
    assert riddles == {}


# Packages with docstrings that still begin with a word of `_RIDDLE`. May only shrink.
RIDDLES_LEFT = {"mail", "protocols/smtp/server"}
_RIDDLE = re.compile(r"(Who|What|Whose|Whom|Which|How|That)\b")


def riddles_of(module: str) -> set[str]:
    """The names of the public classes and functions whose docstring begins as a question and asks none."""
    kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    documented = [
        (node.name, ast.get_docstring(node) or "")
        for node in nodes(module)
        if isinstance(node, kinds) and not node.name.startswith("_")
    ]
    return {name for name, text in documented if _RIDDLE.match(text) and "?" not in text.split("\n")[0]}


def test_the_docstring_of_a_class_or_function_says_what_it_is():
    riddles = {module: names for module in modules() if (names := riddles_of(module))}
    left = {package: [module for module in riddles if module.startswith(f"{package}/")] for package in RIDDLES_LEFT}
    excused = {module for found in left.values() for module in found}
    assert {module: names for module, names in riddles.items() if module not in excused} == {}
    assert [package for package, found in left.items() if not found] == [], "take it off the list"


@cache
def texts(module: str) -> str:
    """All strings of a module but its documentation: those that stand alone."""
    alone = {id(node.value) for node in nodes(module) if isinstance(node, ast.Expr)}
    return "\n".join(
        node.value
        for node in nodes(module)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone
    )


def text_of(template: str) -> str:
    """What a template may show: the text around its tags, and the strings within them."""
    shown = _COMMENT.sub("", template)
    strings = [one[1:-1] for tag in _TAG.findall(shown) for one in _STRING.findall(tag)]
    return "\n".join([_TAG.sub("", shown), *strings])


def templates() -> dict[str, str]:
    return {path.relative_to(SOURCE).as_posix(): path.read_text() for path in SOURCE.rglob("*.html")}


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("{# in clear #}", ""),
        ("<p>Sent{% if clear %} on{% endif %}", "<p>Sent on"),
        ("{% call ui.panel(\"Sent\", id='one') %}", "\nSent\none"),
        ("{{ clear }} {{ ui.badge('pass') }}", " \npass"),
    ],
)
def test_text_of_a_template(template, shown):
    assert text_of(template) == shown


def test_no_visible_text_has_an_old_label():
    every = [path.relative_to(SOURCE).with_suffix("").as_posix() for path in SOURCE.rglob("*.py")]
    shown = {module: texts(module) for module in every} | {name: text_of(text) for name, text in templates().items()}
    found = {name: old for name, text in shown.items() if (old := {label for label in LABELS if label in text})}
    assert found == LABELS_LEFT, "write what LABELS says instead, or take what is gone off the list"
