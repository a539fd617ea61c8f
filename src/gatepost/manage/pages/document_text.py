"""The documents (docs/*.md) as the admin centre shows them: Markdown of this package, each rendered once and kept.

`texts` has them all; `document` renders one. A name that is not in the package is not found, whatever its form: no path
is ever made of what was asked. HTML in Markdown stays text, and a link to what is not among the documents is none.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from markdown_it import MarkdownIt
from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.resources.abc import Traversable

    from markdown_it.renderer import RendererHTML
    from markdown_it.token import Token
    from markdown_it.utils import EnvType, OptionsDict


INDEX: Final = "README"
"""The name of the start page."""

_REPLIES: Final = "reply-codes"
_CODES: Final = re.compile(r"[45]\d\d [45]\.\d{1,3}\.\d{1,3}")
_ANY_DEFERRAL: Final = "450 4.x.y"
_TEXT: Final = re.compile(r"^\| (`.*?`) \| ", re.MULTILINE)
_HEADING: Final = re.compile(r"(#{1,4}) (.+)")
_FENCE: Final = "```"
_COMMENT: Final = re.compile(r"^<!--.*-->\n", re.MULTILINE)
_LINK: Final = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_PAGE: Final = re.compile(r"([A-Za-z0-9-]+)\.md(#.*)?")
_PICTURE: Final = re.compile(r"pictures/([a-z0-9-]+\.png)")


class Section(NamedTuple):
    """A heading and what stands below it. level: 1 is the document itself. anchor: of the heading. text: Markdown."""

    level: int
    title: str
    anchor: str
    text: str


class DocumentPage(NamedTuple):
    """A document. sections: the first is the document itself. html: without its first heading."""

    name: str
    title: str
    sections: Sequence[Section]
    html: Markup

    @property
    def contents(self) -> Sequence[Section]:
        """The headings to choose from."""
        return [section for section in self.sections if section.level in {2, 3}]


def _folder() -> Traversable:
    """The documents of an installed package, or of the working copy."""
    packaged = files("gatepost") / "docs"
    return packaged if packaged.is_dir() else Path(__file__).parents[4] / "docs"


@cache
def texts() -> dict[str, str]:
    """The Markdown of every document by its name: "tls-reporting"."""
    documents = sorted((file for file in _folder().iterdir() if file.name.endswith(".md")), key=lambda file: file.name)
    return {file.name.removesuffix(".md"): file.read_text(encoding="utf-8") for file in documents}


@cache
def pictures() -> dict[str, bytes]:
    """The pictures of documents by their names: "overview.png"."""
    folder = _folder() / "pictures"
    if not folder.is_dir():
        return {}
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name.endswith(".png")}


@cache
def programs() -> dict[str, bytes]:
    """The programs that documents lead to, by their names: "verify_evidence.py"."""
    return {file.name: file.read_bytes() for file in _folder().iterdir() if file.name.endswith(".py")}


def address(name: str, anchor: str = "") -> str:
    """The address of a document, or of a heading in it."""
    path = "/docs" if name == INDEX else f"/docs/{name}"
    return f"{path}#{anchor}" if anchor else path


@cache
def sections(name: str) -> tuple[Section, ...]:
    """The sections of a document. Raises KeyError: there is none of that name."""
    heads: list[tuple[int, str, list[str]]] = []
    fenced = False
    for line in texts()[name].splitlines():
        fenced ^= line.startswith(_FENCE)
        heading = None if fenced else _HEADING.fullmatch(line)
        if heading:
            heads.append((len(heading[1]), _plain(heading[2]), []))
        elif heads:
            heads[-1][2].append(line)
    anchors = _anchors([title for _, title, _ in heads])
    return tuple(
        Section(level, title, anchor, "\n".join(lines))
        for (level, title, lines), anchor in zip(heads, anchors, strict=True)
    )


def reply_help(reply: str, *, is_ours: bool = True) -> str:
    """The address of cause and cure of a reply of the gateway; "" if it is of class 2 or not known.

    is_ours: False where it may be another server's, as of a delivery. Then it must have the words of a text there, too.
    A delivery that expired has the codes of its deferral in class 5.
    """
    if "[Message=" in reply:
        return address(_REPLIES, "tls-requirements-that-were-not-met")
    match = _CODES.match(reply)
    if match is None:
        return ""
    codes, text = match[0], reply[match.end() :].strip()
    for heading in (codes, f"450 4{codes[5:]}", _ANY_DEFERRAL):
        anchor, known = _replies().get(heading, ("", []))
        if anchor and ((is_ours and heading == codes) or any(_begins_with(text, parts) for parts in known)):
            return address(_REPLIES, anchor)
    return ""


@cache
def _replies() -> dict[str, tuple[str, list[list[str]]]]:
    """The anchor of each heading that is a code, and its texts: the parts of each, between what differs each time."""
    return {
        section.title: (section.anchor, [text.split("…") for cell in _TEXT.findall(section.text) for text in _in(cell)])
        for section in sections(_REPLIES)
        if _CODES.match(section.title) or section.title == _ANY_DEFERRAL
    }


def _in(cell: str) -> list[str]:
    """The texts in the first cell of a row."""
    return re.findall("`([^`]*[^`…][^`]*)`", cell)


def _begins_with(text: str, parts: Sequence[str]) -> bool:
    """Whether a text, which may be anyone's, begins with these parts, with something between each two."""
    if not text.startswith(parts[0]):
        return False
    at = len(parts[0])
    for part in parts[1:]:
        place = text.find(part, at + 1)
        if place < 0:
            return False
        at = place + len(part)
    return True


def _plain(text: str) -> str:
    """A heading without marks."""
    return _LINK.sub(r"\1", text).replace("`", "").replace("**", "")


def _anchors(titles: Sequence[str]) -> Iterator[str]:
    """The anchors of headings, as GitHub makes them."""
    seen: dict[str, int] = {}
    for title in titles:
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        times = seen[anchor] = seen.get(anchor, -1) + 1
        yield f"{anchor}-{times}" if times else anchor


@cache
def document(name: str) -> DocumentPage:
    """A document, rendered. Raises KeyError: there is none of that name."""
    parts = sections(name)
    markdown = _markdown()
    tokens = markdown.parse(_COMMENT.sub("", texts()[name]))
    anchors = iter(parts)
    for token in tokens:
        if token.type == "heading_open":
            token.attrs["id"] = next(anchors).anchor
        token.attrs.pop("style", None)  # the policy of the pages takes none
        if token.children:
            token.children = list(_linked(token.children))
    _label_cells(tokens)
    body = list(_without_empty_heads(tokens[3:] if tokens and tokens[0].tag == "h1" else tokens))
    return DocumentPage(name, parts[0].title, parts, Markup(markdown.renderer.render(body, markdown.options, {})))  # noqa: S704 - markdown-it escapes, and the text is ours


@cache
def _markdown() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False}).enable("table")
    made.add_render_rule("table_open", _table_open)
    made.add_render_rule("table_close", _table_close)
    made.add_render_rule("td_open", _cell_open)
    made.add_render_rule("td_close", _cell_close)
    made.add_render_rule("code_block", _code)
    made.add_render_rule("fence", _code)
    return made


def _table_open(_self: RendererHTML, _tokens: Sequence[Token], _at: int, _options: OptionsDict, _env: EnvType) -> str:
    return '<div class="table-wrap stacked" role="region" tabindex="0" aria-label="Table"><table>'


def _table_close(_self: RendererHTML, _tokens: Sequence[Token], _at: int, _options: OptionsDict, _env: EnvType) -> str:
    return "</table></div>\n"


def _cell_open(self: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: EnvType) -> str:
    return f"{self.renderToken(tokens, at, options, env)}<div>"  # beside its label stands one element


def _cell_close(self: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: EnvType) -> str:
    return f"</div>{self.renderToken(tokens, at, options, env)}"


def _code(_self: RendererHTML, tokens: Sequence[Token], at: int, _options: OptionsDict, _env: EnvType) -> str:
    return f'<pre class="lines" tabindex="0"><code>{escape(tokens[at].content)}</code></pre>\n'


def _label_cells(tokens: Sequence[Token]) -> None:
    """Give each cell of a table the heading of its column, which stands beside it where the table is stacked."""
    labels: list[str] = []
    column = 0
    for token, following in pairwise(tokens):
        if token.type == "table_open":
            labels = []
        elif token.type == "tr_open":
            column = 0
        elif token.type == "th_open":
            labels.append("".join(part.content for part in following.children or ()))
        elif token.type == "td_open":
            if labels[column]:
                token.attrs["data-label"] = labels[column]
            column += 1


def _without_empty_heads(tokens: Sequence[Token]) -> Iterator[Token]:
    """Leave out the head of a table that has none: Markdown demands an empty one."""
    head: list[Token] = []
    for token in tokens:
        if head or token.type == "thead_open":
            head.append(token)
            if token.type == "thead_close":
                if any(token_of_head.content for token_of_head in head):
                    yield from head
                head = []
        else:
            yield token


def _linked(tokens: Sequence[Token]) -> Iterator[Token]:
    """The parts of a paragraph with links and pictures as addresses here; what leads elsewhere in the clone is text."""
    kept: list[bool] = []
    for token in tokens:
        if token.type == "link_open":
            target = _target(str(token.attrs["href"]))
            kept.append(bool(target))
            token.attrs["href"] = target
            if target.startswith("https://"):
                token.attrs["rel"] = "noreferrer"
            if not target:
                continue
        elif token.type == "link_close" and not kept.pop():
            continue
        elif token.type == "image":
            picture = _PICTURE.fullmatch(str(token.attrs["src"]))
            if not picture or picture[1] not in pictures():
                continue
            token.attrs["src"] = f"/docs/pictures/{picture[1]}"
        yield token


def _target(written: str) -> str:
    """The address that a link of a document leads to here, "" if it leads to none."""
    if written.startswith(("#", "https://")):
        return written
    if written in programs():
        return f"/docs/{written}"
    page = _PAGE.fullmatch(written)
    if page and page[1] in texts():
        return address(page[1], (page[2] or "").removeprefix("#"))
    return ""
