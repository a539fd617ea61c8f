"""Changing a resource by a form: what would change is shown before, errors stand beside fields, nobody is overwritten.

A form carries the resource as it was when the form was made. If it is another by the time it is sent back, nothing is
changed: both are shown, and whoever sends the form again then knows what they overwrite. What would change is told at
once, and what that does to the mail of a week is worked out behind the page, which asks for it. Used by `resources`,
`organizations`.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from gatepost.admin.fields import errors_by_field, label_of, questions, texts_of, values_of
from gatepost.admin.guard import gateway_of, who
from gatepost.admin.pages import LONG_PATIENCE, PATIENCE, PENDING, is_partial, render, see_other
from gatepost.admin.values import in_words
from gatepost.administration.change import Wish
from gatepost.administration.refusal import Kind, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic import BaseModel
    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.admin.fields import Question
    from gatepost.administration.blast_radius import Radius
    from gatepost.administration.change import Outcome

__all__ = ["Edited", "edit", "told_changes", "words_of"]

_WEEK: Final = 7 * 86_400.0
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Edited:
    """What a form is about.

    title: of the page. trail: pairs of text and path. stored: gives the table as it is stored now, None for something
    new. change: makes the change, of values by key; takes the name that the form gives, for something new. done: where
    to go afterwards, by the name. identity: the field that holds the name. fixed: fields that cannot be changed here.
    organizations: to choose from, for something new that belongs to one. last: who changed it last, for a conflict.
    label: of what was saved, in sentences. first: fields that are asked for even if they have their default; the others
    are folded away.
    """

    title: str
    trail: Sequence[tuple[str, str]]
    model: type[BaseModel]
    stored: Callable[[], dict[str, Any] | None]
    change: Callable[[str, dict[str, Any], Wish], Outcome]
    done: Callable[[str], str]
    identity: str
    fixed: tuple[str, ...] = ()
    organizations: Sequence[str] = ()
    last: Callable[[], str] = lambda: ""
    label: str = ""
    first: tuple[str, ...] = ()


def edit(request: Request, edited: Edited) -> Response:
    """The form, and what it is sent back with."""
    asked = questions(edited.model, without=edited.fixed)
    stored = edited.stored()
    if request.method == "GET":
        given = texts_of(asked, stored or {})
        given |= {key: text for key, text in request.query_params.items() if key in given and stored is None}
        return _form(request, edited, asked, given, stored)
    given = {key: text for key, text in request.state.form.items() if key not in {"csrf", "was", "do"}}
    was = _was(request.state.form.get("was", ""))
    if stored is not None and was != stored:
        return _conflict(request, edited, asked, given, (was, stored))
    values = values_of(asked, given)
    wish = Wish(who(request).name, given.get("note", "").strip()[:500])
    try:
        if (do := request.state.form.get("do")) in {"preview", "effects"}:
            name, wish = given.get(edited.identity, "").strip(), replace(wish, dry_run=True)
            decided = _decided(request, edited, name, values, wish) if do == "effects" else None
            # A part that asks until it is decided shows nothing else.
            effects = edited.change(name, values, wish) if do == "preview" or not is_partial(request) else None
            return _form(request, edited, asked, given, stored, effects=effects, decided=decided)
        outcome = _changed(request, edited, given, values, wish)
    except _Overtaken:
        return _conflict(request, edited, asked, given, (stored or {}, edited.stored() or {}))
    except Refusal as refusal:
        if refusal.kind in {Kind.UNREADABLE, Kind.MISSING}:
            raise
        errors = errors_by_field(asked, refusal.errors, refusal.text)
        return _form(request, edited, asked, given, stored, errors=errors)
    return _saved(request, edited, given, outcome)


def _decided(request: Request, edited: Edited, name: str, values: dict[str, Any], wish: Wish) -> Radius | str | None:
    """What it would have done to the mail of a week; PENDING while that is worked out, None if it touches none."""
    gateway = gateway_of(request)
    told = json.dumps([name, values], sort_keys=True, default=str)
    question = "effects", who(request), request.url.path, told, gateway.directory().version

    def work() -> Radius | None:
        return edited.change(name, values, replace(wish, since=time.time() - _WEEK)).radius

    found = gateway.behind.of(question, work, PATIENCE if is_partial(request) else LONG_PATIENCE)
    return PENDING if found is None else found.value


class _Overtaken(Exception):  # noqa: N818 - it names what happened
    """Somebody else changed it between our look and our change."""


def _changed(request: Request, edited: Edited, given: Mapping[str, str], values: dict[str, Any], wish: Wish) -> Outcome:
    """Change it if it is what was looked at, whatever else was changed meanwhile."""
    stored = edited.stored()
    name = given.get(edited.identity, "").strip()
    for left in reversed(range(_TRIES)):
        version = gateway_of(request).directory().version
        if edited.stored() != stored:
            raise _Overtaken
        try:
            return edited.change(name, values, replace(wish, expected=version))
        except Refusal as refusal:
            if refusal.kind is not Kind.CONFLICT or not left:
                raise
    raise AssertionError  # the loop returns or raises


def _saved(request: Request, edited: Edited, given: Mapping[str, str], outcome: Outcome) -> Response:
    path = edited.done(given.get(edited.identity, "").strip())
    if not outcome.changes:
        return see_other(request, path, "Nothing was different, so nothing was changed.", "info")
    text = " ".join([f"{edited.label} was saved as version {outcome.version}.", *outcome.warnings])
    return see_other(request, path, text, "warn" if outcome.warnings else "pass")


def _was(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _conflict(
    request: Request,
    edited: Edited,
    asked: Sequence[Question],
    given: Mapping[str, str],
    tables: tuple[Mapping[str, Any], dict[str, Any]],
) -> Response:
    """Both are shown: what is stored now, and what the form says; sent again, the form overwrites."""
    was, now = tables
    before, theirs = texts_of(asked, was), texts_of(asked, now)
    rows = [
        (label_of(one.key), before[one.key], theirs[one.key], given.get(one.key, "").replace("\r\n", "\n").strip())
        for one in asked
    ]
    different = [row for row in rows if row[2] != row[3] or row[1] != row[2]]
    return _form(request, edited, asked, given, now, conflict=different, status=HTTPStatus.CONFLICT)


def _form(
    request: Request,
    edited: Edited,
    asked: Sequence[Question],
    given: Mapping[str, str],
    stored: dict[str, Any] | None,
    **context: Any,
) -> Response:
    errors: dict[str, str] = context.get("errors", {})
    shown: list[Question] = []
    folded: list[Question] = []
    for one in asked:
        first = one.required or one.key in edited.first or given.get(one.key) or one.key in errors
        (shown if first else folded).append(one)
    known: dict[str, Any] = {
        "edited": edited,
        "shown": shown,
        "folded": folded,
        "given": given,
        "labels": {one.key: one.label for one in asked} | {"organization": "Organization"},
        "was": json.dumps(stored, ensure_ascii=False) if stored is not None else "",
        "errors": {},
        "effects": None,
        "decided": None,
        "partial": is_partial(request),
        "changes": told_changes(context["effects"].changes) if context.get("effects") else (),
        "conflict": (),
        "choices": [("", "Choose one"), *((name, name) for name in edited.organizations)],
        "organization": given.get("organization", "") or request.query_params.get("organization", ""),
        "new": stored is None,
    }
    status = context.pop("status", HTTPStatus.UNPROCESSABLE_ENTITY if errors else HTTPStatus.OK)
    return render(request, "resources/edit.html", status, block="decided", **known | context)


def told_changes(changes: Sequence[Any]) -> list[tuple[str, str | None, str | None]]:
    """For `ui.diff`: fields by their own name, values as people write them; of a whole part its kind and name."""
    return [(_field(one.path), words_of(one.before), words_of(one.after)) for one in changes]


def _field(path: str) -> str:
    if path.endswith("]"):
        return path.split(".", 2)[-1]
    return path.rpartition("].")[2] if "]." in path else path.split(".", 2)[-1]


def words_of(value: Any) -> str | None:
    """A value as people write it; None stays, as what is not there."""
    return None if value is None else in_words(value)
