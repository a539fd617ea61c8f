"""Changing a resource by a form: what would change is shown before, errors stand beside fields, nobody is overwritten.

A form carries the resource as it was when the form was made. What others stored since then is merged field by field
(`merge`): fields that the author left alone keep what is stored. Only if both changed a field is nothing saved: the
page shows these fields, who changed them and when, and whoever sends the form again knows what they overwrite. What
would change is told at once, and what that does to the mail of a week is worked out behind the page, which asks for it.
Used by `resources`, `organizations`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from gatepost.language import _
from gatepost.manage.pages.fields import FormField, errors_by_field, form_fields, label_of, texts_of, values_of
from gatepost.manage.pages.guard import context_of, principal_of
from gatepost.manage.pages.message_head import retry, retry_target
from gatepost.manage.pages.rendering import LONG_PATIENCE, PATIENCE, PENDING, is_partial, render, see_changed, see_other
from gatepost.manage.pages.text_filters import in_words
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.refusal import BusyRefusal, Refusal, RefusalKind
from gatepost.manage.use_cases.reports import ReportCounts
from gatepost.policy.connectors.trust_anchors import anchors_label
from gatepost.texts import N_
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pydantic import BaseModel
    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.manage.use_cases.blast_radius import Radius
    from gatepost.manage.use_cases.change_shapes import ChangeReport, ChangeRequest
    from gatepost.manage.use_cases.declaration import UseCase, UseCaseReply
    from gatepost.manage.use_cases.history import PartChange


class Merge(NamedTuple):
    """texts: of the fields, merged; a field in conflict has the author's. conflicts: fields that both changed.

    kept: fields that others changed and the author did not.
    """

    texts: dict[str, str]
    conflicts: tuple[str, ...]
    kept: tuple[str, ...]


def merge(
    keys: Iterable[str], seen: Mapping[str, str] | None, stored: Mapping[str, str], given: Mapping[str, str]
) -> Merge:
    """Merge the fields `keys`. seen: what the author saw; None if that is not known: then all that differs conflicts.

    A key that `given` lacks was left alone.
    """
    texts = dict(given)
    conflicts: list[str] = []
    kept: list[str] = []
    for key in keys:
        now, mine = stored[key], _normal(given[key]) if key in given else None
        base = None if seen is None else seen[key]
        if mine is None or mine in {base, now}:
            texts[key] = now
            if base is not None and base != now != mine:
                kept.append(key)
        elif base is None or now != base:
            conflicts.append(key)
    return Merge(texts, tuple(conflicts), tuple(kept))


def _normal(text: str) -> str:
    """As a form's text counts, whatever line ends the browser sent."""
    return text.replace("\r\n", "\n").strip()


_WEEK: Final = "7d"
_NO_FIELDS: Final = {"csrf", "was", "do", "retry-message", "retry-organization", "retry-domain"}
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class FormChangeOptions:
    """Options of a form that was sent.

    since: from when on mail is decided again, "" for none. expected: as in `Context`.
    """

    note: str
    dry_run: bool = False
    since: str = ""
    expected: int | None = None


def send_change(
    request: Request, case: UseCase[Any, UseCaseReply[ChangeReport]], change: ChangeRequest, options: FormChangeOptions
) -> ChangeReport:
    """Make a change as a form is sent. Raises Refusal."""
    change = msgspec.structs.replace(change, note=options.note, since=options.since)
    return execute(case, context_of(request, dry_run=options.dry_run, expected=options.expected), change).value


@dataclass(frozen=True, slots=True)
class EditedResource:
    """The resource that a form edits.

    title: of the page. trail: pairs of text and path. stored: gives the table as it is stored now, None for something
    new. change: makes the change, of values by key; takes the name that the form gives, for something new. done: where
    to go afterwards, by the name. identity: the field that holds the name. fixed: fields that cannot be changed here.
    organizations: to choose from, for something new that belongs to one. history: its newest changes, newest first.
    label: of what was saved, in sentences. first: fields that are asked for even if they have their default; the others
    are folded away. issuers: path of the page that trusts an issuer that was seen, "" if there is none.
    """

    title: str
    trail: Sequence[tuple[str, str]]
    model: type[BaseModel]
    stored: Callable[[], dict[str, Any] | None]
    change: Callable[[str, dict[str, Any], FormChangeOptions], ChangeReport]
    done: Callable[[str], str]
    identity: str
    fixed: tuple[str, ...] = ()
    organizations: Sequence[str] = ()
    history: Callable[[], Sequence[PartChange]] = lambda: ()
    label: str = ""
    first: tuple[str, ...] = ()
    issuers: str = ""


def edit(request: Request, edited: EditedResource) -> Response:
    """The form, and what it is sent back with."""
    fields = form_fields(edited.model, without=edited.fixed)
    stored = edited.stored()
    if request.method == "GET":
        values = texts_of(fields, stored or {})
        values |= {key: text for key, text in request.query_params.items() if key in values and stored is None}
        return _form(request, edited, fields, values, stored)
    values = {key: text for key, text in request.state.form.items() if key not in _NO_FIELDS}
    seen = _was(request.state.form.get("was", ""), edited.identity, stored)
    for _try in range(_TRIES):
        try:
            return _sent(request, edited, fields, values, (seen, stored))
        except _Overtaken:
            stored = edited.stored()
    raise BusyRefusal(N_("Gave up after repeated conflicts with other changes; your change was not saved. Try again."))


def _sent(
    request: Request,
    edited: EditedResource,
    fields: Sequence[FormField],
    entered: dict[str, str],
    tables: tuple[dict[str, Any] | None, dict[str, Any] | None],
) -> Response:
    """Handle a form that was sent. tables: as its author saw it, and as it is stored. Raises _Overtaken."""
    seen, stored = tables
    kept: tuple[str, ...] = ()
    if stored is not None and seen != stored:
        before, theirs = texts_of(fields, seen) if seen is not None else None, texts_of(fields, stored)
        entered, conflicts, kept = merge((field.key for field in fields), before, theirs, entered)
        if conflicts or seen is None:
            rows = _conflict_rows(edited, conflicts, before or {}, theirs, entered)
            return _form(request, edited, fields, entered, stored, conflict=rows, kept=kept, status=HTTPStatus.CONFLICT)
    values = values_of(fields, entered)
    options = FormChangeOptions(entered.get("note", "").strip()[:500])
    try:
        if (do := request.state.form.get("do")) in {"preview", "effects"}:
            name, options = entered.get(edited.identity, "").strip(), replace(options, dry_run=True)
            decided = _decided(request, edited, name, values, options) if do == "effects" else None
            # A part that asks until it is decided shows nothing else.
            effects = edited.change(name, values, options) if do == "preview" or not is_partial(request) else None
            return _form(request, edited, fields, entered, stored, effects=effects, decided=decided, kept=kept)
        outcome = _changed(request, edited, entered, stored, values, options)
    except Refusal as refusal:
        if refusal.kind in {RefusalKind.UNREADABLE, RefusalKind.MISSING}:
            raise
        errors = errors_by_field(fields, refusal.errors, refusal.text)
        return _form(request, edited, fields, entered, stored, errors=errors, kept=kept)
    return _saved(request, edited, entered, outcome, kept)


def _decided(
    request: Request, edited: EditedResource, name: str, values: dict[str, Any], options: FormChangeOptions
) -> Radius | str | None:
    """What it would have done to the mail of a week; PENDING while that is worked out, None if it touches none."""
    context = context_of(request)
    text = json.dumps([name, values], sort_keys=True, default=str)
    question = "effects", principal_of(request), request.url.path, text, context.directory().version

    def work() -> Radius | None:
        return edited.change(name, values, replace(options, since=_WEEK)).radius

    result = context.kept(ReportCounts).answers.of(
        context.principal.share_key, question, work, PATIENCE if is_partial(request) else LONG_PATIENCE
    )
    return PENDING if result is None else result.value


class _Overtaken(Exception):  # noqa: N818 - it names what happened
    """Somebody else changed it between our look and our change."""


def _changed(
    request: Request,
    edited: EditedResource,
    given: Mapping[str, str],
    stored: dict[str, Any] | None,
    values: dict[str, Any],
    options: FormChangeOptions,
) -> ChangeReport:
    """Change it if it is what was looked at, whatever else was changed meanwhile. Raises _Overtaken."""
    name = given.get(edited.identity, "").strip()
    for left in reversed(range(_TRIES)):
        version = context_of(request).directory().version
        if edited.stored() != stored:
            raise _Overtaken
        try:
            return edited.change(name, values, replace(options, expected=version))
        except Refusal as refusal:
            if refusal.kind is not RefusalKind.CONFLICT or not left:
                raise
    raise AssertionError  # the loop returns or raises


def _saved(
    request: Request, edited: EditedResource, given: Mapping[str, str], outcome: ChangeReport, kept: Sequence[str]
) -> Response:
    path = edited.done(given.get(edited.identity, "").strip())
    retried: list[str] = []
    if request.state.form.get("do") == "save-and-retry" and (target := retry_target(request.state.form)):
        path, retried = target.path, [retry(request, target, changed=bool(outcome.changes))]
    if not outcome.changes:
        return see_other(request, path, " ".join([_("There were no changes to save."), *retried]), "info")
    others = (
        [
            _(
                "Another user changed %(fields)s in the meantime; that change was kept.",
                fields=", ".join(map(label_of, kept)),
            )
        ]
        if kept
        else []
    )
    saved = _(
        "%(label)s was saved as revision %(version)s%(places)s.",
        label=edited.label,
        version=outcome.version,
        places=outcome.places,
    )
    return see_changed(request, path, " ".join([saved, *retried, *others]), outcome.warnings)


def _was(text: str, identity: str, stored: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The table as the author of the form saw it; None if the form lacks it, or is about another resource."""
    try:
        result = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(result, dict) or (stored is not None and result.get(identity) != stored.get(identity)):
        return None
    return result


def _conflict_rows(
    edited: EditedResource,
    keys: Sequence[str],
    before: Mapping[str, str],
    theirs: Mapping[str, str],
    given: Mapping[str, str],
) -> list[tuple[str, str, str, str, PartChange | None]]:
    """Of each field that both changed: what its author saw, what is stored, what the form says, and who changed it."""
    history = edited.history() if keys else ()
    shown = anchors_label
    return [
        (label_of(key), shown(before.get(key, "")), shown(theirs[key]), shown(given[key]), _last_change(history, key))
        for key in keys
    ]


def _last_change(history: Sequence[PartChange], key: str) -> PartChange | None:
    fields = {key, key.partition(".")[0]}
    return next(
        (
            part_change
            for part_change in history
            if any(_field(part.path) in fields for part in part_change.differences)
        ),
        None,
    )


def _form(
    request: Request,
    edited: EditedResource,
    fields: Sequence[FormField],
    given: Mapping[str, str],
    stored: dict[str, Any] | None,
    **context: Any,
) -> Response:
    errors: dict[str, str] = context.get("errors", {})
    clashing = {row[0] for row in context.get("conflict") or ()}
    shown: list[FormField] = []
    folded: list[FormField] = []
    for field in fields:
        first = field.required or field.key in edited.first or given.get(field.key) or field.key in errors
        first = first or field.label in clashing
        (shown if first else folded).append(field)
    known: dict[str, Any] = {
        "edited": edited,
        "shown": shown,
        "folded": folded,
        "given": given,
        "labels": {field.key: field.label for field in fields} | {"organization": _("Organization")},
        "was": json.dumps(stored, ensure_ascii=False) if stored is not None else "",
        "errors": {},
        "effects": None,
        "decided": None,
        "partial": is_partial(request),
        "changes": change_rows(context["effects"].changes) if context.get("effects") else (),
        "conflict": None,
        "kept": (),
        "label_of": label_of,
        "choices": [("", _("Select")), *((name, name) for name in edited.organizations)],
        "organization": given.get("organization", "") or request.query_params.get("organization", ""),
        "new": stored is None,
        "retry": retry_target(request.query_params if request.method == "GET" else request.state.form),
    }
    return render(request, "resources/edit.html", block="decided", **known | context)


def change_rows(changes: Sequence[Any]) -> list[tuple[str, str | None, str | None]]:
    """For `ui.diff`: fields by their own name, values as people write them; of a whole part its kind and name."""
    return [(_field(change.path), words_of(change.before), words_of(change.after)) for change in changes]


def _field(path: str) -> str:
    if path.endswith("]"):
        return path.split(".", 2)[-1]
    return path.rpartition("].")[2] if "]." in path else path.split(".", 2)[-1]


def words_of(value: Any) -> str | None:
    """A value as people write it; None stays, as what is not there."""
    return None if value is None else in_words(value)
