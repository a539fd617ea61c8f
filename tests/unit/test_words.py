"""Retired words stay out of names, riddles out of the first lines of modules, and old labels out of visible text.

The lists of exceptions may only shrink: an entry that is no longer needed fails the test, too.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "gatepost"

EXEMPT_ROOMS = {"manage"}

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

# The rooms that handle each message. A public class name says which class it is.
MESSAGE_PATH = {"protocols", "policy", "net", "mail", "store"}
TWICE_LEFT: set[str] = set()

# Text that people see: what WORDS replaced, and by what.
LABELS = {
    "What needs somebody": "Needs attention",
    "Beside this page": "Related",
    "Looked at": "Checked",
    "Nothing. There is no alarm": "All clear",
    "Certificates that end first": "Expiring soonest",
    "The fullest destinations": "Largest queues",
    "What would change?": "Preview changes",
    "Why, for the history": "Reason (recorded)",
    "Look at the gates now": "Run checks",
    "Switch though a gate is red": "Override failed checks",
    "There is nothing here": "Page not found",
    "mend what is red above": "Resolve the items marked",
    "cannot be told": "is not known",
    "could not tell": "Inconclusive",
    "wrong use": "Usage error",
}
LABELS_LEFT = {
    ("analysis/checks/validation", "could not tell")
}  # how the last line of `validate` begins: scripts read it

_QUESTION_WORD = re.compile(r"(Who|What|Whose|Whom|Which|Where|Whether|When|Why|How)\b")


def modules() -> list[str]:
    paths = sorted(path.relative_to(SOURCE).with_suffix("") for path in SOURCE.rglob("*.py"))
    return [path.as_posix() for path in paths if path.parts[0] not in EXEMPT_ROOMS]


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((SOURCE / f"{module}.py").read_text())


def words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def retired_names(module: str) -> set[str]:
    kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    names = {node.name for node in ast.walk(tree(module)) if isinstance(node, kinds)} | {module.rpartition("/")[2]}
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


def test_no_two_public_classes_on_the_path_of_a_message_share_a_name():
    counts = Counter(
        node.name
        for module in modules()
        if module.split("/")[0] in MESSAGE_PATH
        for node in tree(module).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert {name for name, count in counts.items() if count > 1} == TWICE_LEFT


def test_the_first_line_of_a_module_says_what_it_is():
    lines = {module: (ast.get_docstring(tree(module)) or "").split("\n")[0] for module in modules()}
    riddles = {m: line for m, line in lines.items() if _QUESTION_WORD.match(line) and "?" not in line}
    assert riddles == {}


# Packages with docstrings that still begin with a word of `_RIDDLE`. May only shrink.
RIDDLES_LEFT = {"events", "mail", "net", "protocols/smtp/server", "store"}
_RIDDLE = re.compile(r"(Who|What|Whose|Whom|Which|How|That)\b")


def riddles_of(module: str) -> set[str]:
    """The names of the public classes and functions whose docstring begins as a question and asks none."""
    kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    documented = [
        (node.name, ast.get_docstring(node) or "")
        for node in ast.walk(tree(module))
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
    """All strings of a module but its docstrings."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree(module))
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    return "\n".join(
        node.value
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    )


def test_no_visible_text_has_an_old_label():
    found = {(module, label) for module in modules() for label in LABELS if label in texts(module)}
    assert found == LABELS_LEFT, "write what LABELS says instead, or take what is gone off the list"
