"""Renew the message catalogues of pages and commands, check them, and compile those that are complete.

    make catalogues                                       takes new texts into every .po file, drops old ones, compiles
    .venv/bin/python scripts/catalogues.py --check FILE…  says what is missing or wrong in these .po files

Texts of pages and mails (gatepost.po) are what their templates and modules mark, and what forms make of the
declarations of resources; sentences (sentences.po) what `sentence_sources` finds; texts of commands (commands.po) what
theirs mark, and `command_texts`. A .mo file is written only of a catalogue in which nothing is missing or wrong, and a
language is offered only if it has those it needs (`gatepost.language`, `gatepost.manage.cli.output`). The files hold
no date and no line number, so they change only with the texts.
"""

from __future__ import annotations

import argparse
import ast
import datetime as dt
import io
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Final, NamedTuple

import command_texts
from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from jinja2.ext import extract_from_ast
from pydantic import BaseModel
from sentence_modules import MODULES
from sentence_sources import sentences, skeleton

from gatepost.analysis.alarms.alarm import Severity
from gatepost.language import ENGLISH, NAMES, SENTENCES, catalogue_file
from gatepost.manage.access.principal import Role
from gatepost.manage.access.records import AuditOutcome
from gatepost.manage.cli.output import catalogue_file as commands_file
from gatepost.manage.pages.code_labels import value_label
from gatepost.manage.pages.fields import declared_texts
from gatepost.manage.pages.rendering import environment
from gatepost.manage.use_cases.name_lookup import KINDS
from gatepost.manage.web.problem import ProblemType
from gatepost.pki.certificates.entry import State
from gatepost.policy.connectors.records import Organization

type Text = str | tuple[str, ...]

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCE: Final = ROOT / "src" / "gatepost"
TEMPLATES: Final = SOURCE / "manage" / "pages" / "templates"
GALLERY: Final = "gallery.html"  # shows components to developers
_MARK: Final = re.compile(
    r"import (?:.*|\([^)]*)\b(?:_|N_|NN_|NP_|ngettext|pgettext|say|fail)\b|^def _\(", re.MULTILINE
)
PLACES: Final = 3  # that are named of one text
FORMS: Final = {"_": 1, "N_": 1, "gettext": 1, "ngettext": 2, "NN_": 2, "pgettext": 2, "NP_": 2}
"""How many constants the functions take that translate or mark a text: its forms, or its context and itself."""
_PRINTED: Final = {"say": 0, "fail": 1}
"""Functions of commands that translate a text and print it, with its place among their arguments."""
_CONTEXT: Final = "\4"
"""Between a context and its text, as in compiled catalogues."""
_CELL: Final = (
    "What stands before | is the sign in a cell, another one for each of V|erified, E|ncrypted, F|ailed, U|nencrypted."
)
NOTES: Final = {
    **dict.fromkeys(("V|erified", "E|ncrypted", "F|ailed", "U|nencrypted"), _CELL),
    "y": "Years, as in “2 y 3 d”.",
    "d": "Days, as in “2 d 4 h”.",
}
"""For translators, by text."""
_DATE: Final = dt.datetime(2026, 11, 29, tzinfo=dt.UTC)
_PLACEHOLDER: Final = re.compile(r"%(?:\((\w+)\)s|%)")
_BRACES: Final = re.compile(
    r"(?<!\{)\{(?!number_type\})\w+(?:!r)?\}"
)  # click's; it has English alone for {number_type}
_TAG: Final = re.compile(r"</?[a-z][^>]*>")
_QUOTED: Final = re.compile(r'"[^"]*"')
_WORD: Final = re.compile(r"[a-z]{3}")
_SHORT_WORD: Final = re.compile(r"[A-Za-z]{2}")


@cache
def marked() -> tuple[tuple[Text, str], ...]:
    """Texts that sources mark, and where."""
    return tuple(_marked())


def _marked() -> Iterator[tuple[Text, str]]:
    jinja = environment()
    for path in sorted(TEMPLATES.rglob("*.html")):
        if path.name != GALLERY:
            for _line, function, texts in extract_from_ast(jinja.parse(path.read_text()), list(FORMS)):
                yield from _forms(function, [texts] if isinstance(texts, str) else texts or (), path)
    for path in sorted(SOURCE.rglob("*.py")):
        if command_texts.CLI not in path.parents:
            yield from _marked_by(path)


def _marked_by(path: Path) -> Iterator[tuple[Text, str]]:
    """Texts that a module marks."""
    if _MARK.search(path.read_text()) is None:
        return
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            arguments = [getattr(each, "value", None) for each in node.args]
            yield from _forms(node.func.id, arguments, path)
            if command_texts.CLI in path.parents and node.func.id in _PRINTED:
                yield from _forms("_", arguments[_PRINTED[node.func.id] :], path)


def of_pages() -> Iterator[tuple[Text, str]]:
    """Every text of the admin centre, and where it is."""
    yield from marked()
    yield from (entry for entry in declared() if is_language(entry[0]))


def of_commands() -> Iterator[tuple[Text, str]]:
    """Every text of commands, and where it is."""
    for path in sorted(command_texts.CLI.glob("*.py")):
        yield from _marked_by(path)
    yield from (entry for entry in command_texts.unmarked() if _SHORT_WORD.search(_QUOTED.sub("", "".join(entry[0]))))


def _forms(function: str, arguments: Sequence[object], path: Path) -> Iterator[tuple[Text, str]]:
    """The text of a call, if it is one that translates or marks a constant."""
    forms = [text for text in arguments[: FORMS.get(function, 0)] if isinstance(text, str) and text]
    if forms and len(forms) == FORMS[function]:
        text = _CONTEXT.join(forms) if function in {"pgettext", "NP_"} else tuple(forms)
        yield forms[0] if len(forms) == 1 else text, _place(path)


def declared() -> Iterator[tuple[Text, str]]:
    """Texts that no source marks: of the declarations of resources, and labels of codes."""
    models: list[type[BaseModel]] = [Organization, *(kind.model for kind in KINDS.values())]
    for model in models:
        for text in declared_texts(model):
            yield text, f"policy/connectors/{model.__name__}"
    for kind in KINDS.values():
        yield kind.label, "use_cases/name_lookup.py"
    for problem in ProblemType:
        yield problem.value.title, "web/problem.py"
    for codes in (Role, Severity, ("incoming", "outgoing", "internal")):
        for code in codes:
            yield value_label(str(code)), "pages/code_labels.py"
    for context, with_context in (("certificate", State), ("audit log", AuditOutcome)):
        for code in with_context:
            yield f"{context}{_CONTEXT}{value_label(str(code))}", "pages/code_labels.py"


def _place(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix().removeprefix("manage/").replace("pages/templates/", "")


def is_language(text: Text) -> bool:
    """Whether there is something to translate in it, beside codes and placeholders."""
    return isinstance(text, str) and bool(_WORD.search(_QUOTED.sub("", text).lower()))


def spoken() -> Iterator[tuple[Text, str]]:
    """Sentences that modules form; one of those that differ in names of values only.

    A marked one without values is found in the catalogue of pages as it is.
    """
    known: set[Text] = {text for text, _place in marked() if isinstance(text, str) and "%(" not in text}
    for module in MODULES:
        for text in sentences(SOURCE / module):
            if skeleton(text) not in known:
                known.add(skeleton(text))
                yield text, _place(SOURCE / module)


class Domain(NamedTuple):
    """A catalogue in every language. file: of a language and suffix. texts: with their places."""

    title: str
    file: Callable[[str, str], Path]
    texts: Callable[[], Iterator[tuple[Text, str]]]


PAGES_DOMAIN: Final = Domain("the admin centre", catalogue_file, of_pages)
SENTENCES_DOMAIN: Final = Domain("sentences with values", partial(catalogue_file, domain=SENTENCES), spoken)
COMMANDS_DOMAIN: Final = Domain("commands", lambda language, suffix: Path(commands_file(language, suffix)), of_commands)
DOMAINS: Final = (PAGES_DOMAIN, SENTENCES_DOMAIN, COMMANDS_DOMAIN)


def template(domain: Domain = PAGES_DOMAIN) -> Catalog:
    """All texts, in the order of their sources."""
    result = _catalogue(None, domain)
    for text, place in domain.texts():
        notes = [NOTES[text]] if text in NOTES else []
        context, _separator, shown = text.rpartition(_CONTEXT) if isinstance(text, str) else ("", "", text)
        result.add(shown, locations=[(place, 0)], auto_comments=notes, context=context or None)
    for message in result:
        message.locations = list(dict.fromkeys(message.locations))[:PLACES]
        message.flags.discard("python-format")
    return result


def _catalogue(language: str | None, domain: Domain) -> Catalog:
    return Catalog(
        locale=language,
        project="gatepost",
        version="1",
        copyright_holder="the gatepost project",
        header_comment=f"# Texts of {domain.title}. Renew with `make catalogues`.",
        creation_date=_DATE,
        revision_date=_DATE,
        last_translator="",
        language_team="",
        fuzzy=False,
    )


def renewed(language: str, texts: Catalog, domain: Domain = PAGES_DOMAIN) -> Catalog:
    """The catalogue of a language with exactly the texts there are, and the translations that it had."""
    path = domain.file(language, "po")
    known = {}
    if path.exists():
        with path.open("rb") as file:
            known = {(message.id, message.context): message.string for message in read_po(file, locale=language)}
    result = _catalogue(language, domain)
    for message in texts:
        if message.id:
            translation = known.get((message.id, message.context))
            notes, context = message.auto_comments, message.context
            result.add(message.id, translation, message.locations, auto_comments=notes, context=context)
    for message in result:
        message.flags.discard("python-format")
    return result


def po_octets(catalogue: Catalog) -> bytes:
    """The catalogue as its file has it."""
    file = io.BytesIO()
    write_po(file, catalogue, width=120, include_lineno=False)
    return re.sub(rb'"(?:POT-Creation-Date|PO-Revision-Date|Generated-By|Last-Translator|Language-Team)[^\n]*\n', b"",
                  file.getvalue())  # fmt: skip


def mo_octets(catalogue: Catalog) -> bytes:
    """The catalogue as the program reads it, the same whenever it is made."""
    catalogue.creation_date = catalogue.revision_date = _DATE
    file = io.BytesIO()
    write_mo(file, catalogue)
    return file.getvalue()


def problems(catalogue: Catalog) -> list[str]:
    """What is missing or wrong in a catalogue, a line each."""
    return [
        f"{problem}: {message.id if isinstance(message.id, str) else message.id[0]!r}"
        for message in catalogue
        if message.id
        for problem in _problems(message, catalogue.num_plurals)
    ]


def _problems(message: Message, plurals: int) -> Iterator[str]:
    originals: Sequence[str] = [message.id] if isinstance(message.id, str) else list(message.id)
    written = [message.string] if isinstance(message.string, str) else list(message.string or ())
    if not written or not all(written):
        yield "missing"
        return
    if len(originals) > 1 and len(written) != plurals:
        yield f"has {len(written)} plural forms instead of {plurals}"
    if "fuzzy" in message.flags:
        yield "fuzzy"
    for text, form in zip(written, [originals[0], *[originals[-1]] * len(written)], strict=False):
        yield from _differences(text, form, counts=len(originals) > 1)


def _differences(text: str, original: str, *, counts: bool) -> Iterator[str]:
    has, wants = _names(text), _names(original)
    if counts:  # "one message" may leave the number out
        has.discard("num")
        wants.discard("num")
    if has != wants:
        yield f"placeholders differ ({', '.join(sorted(has ^ wants))})"
    if "%" in _PLACEHOLDER.sub("", text) and "%(" in original:
        yield "a % that is not a placeholder (write %%)"
    if not counts and Counter(_BRACES.findall(text)) != Counter(_BRACES.findall(original)):
        yield "placeholders in braces differ"
    if Counter(_TAG.findall(text)) != Counter(_TAG.findall(original)):
        yield "tags differ"
    if set("<>") & set(_TAG.sub("", text)) and not set("<>") & set(_TAG.sub("", original)):
        yield "a < or > that is no tag"
    if (text[:1].isspace(), text[-1:].isspace()) != (original[:1].isspace(), original[-1:].isspace()):
        yield "spaces at the ends differ"
    if ("|" in text) != ("|" in original):
        yield "the | is missing or too many"


def _names(text: str) -> set[str]:
    return {name for name in _PLACEHOLDER.findall(text) if name}


def read(path: Path) -> Catalog:
    """A .po file, in the language that it names."""
    with path.open("rb") as file:
        return read_po(file)


def renew(languages: Iterable[str], domain: Domain) -> None:
    """Write the catalogues of the languages, compiled where they are complete."""
    texts = template(domain)
    for language in languages:
        catalogue = renewed(language, texts, domain)
        source, compiled = domain.file(language, "po"), domain.file(language, "mo")
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_bytes(po_octets(catalogue))
        found = problems(catalogue)
        if found:
            compiled.unlink(missing_ok=True)
            print(
                f"{source.name}, {language}: {len(found)} of {len(catalogue)} texts are missing or wrong, not offered"
            )
        else:
            compiled.write_bytes(mo_octets(catalogue))
            print(f"{source.name}, {language}: {len(catalogue)} texts")


def main() -> int:
    """Run it; 1 if a file that is checked is not complete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", nargs="+", metavar="FILE", type=Path, help="say what is missing or wrong in them")
    options = parser.parse_args()
    if not options.check:
        for domain in DOMAINS:
            renew([language for language in NAMES if language != ENGLISH], domain)
        return 0
    wrong = {path: problems(read(path)) for path in options.check}
    for path, found in wrong.items():
        print(*(f"{path}: {line}" for line in found), sep="\n", end="\n" if found else "")
    return int(any(wrong.values()))


if __name__ == "__main__":
    sys.exit(main())
