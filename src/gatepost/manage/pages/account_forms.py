"""Values of the forms of pages, and the texts of refusals beside their fields."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gatepost.manage.pages.text_filters import sentence
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.policy.connectors.errors import FieldError
from gatepost.sentences import ours
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.datastructures import ImmutableMultiDict


ALL: Final = "all"
SOME: Final = "some"
type Form = ImmutableMultiDict[str, str]
"""`request.state.form`."""
_BETWEEN: Final = re.compile(r"[,\s]+")


def chosen_organizations(form: Form) -> list[str] | None:
    """Those that are ticked, or written with commas between; None if the whole gateway is chosen.

    Raises Refusal (INPUT) if nothing is chosen: an account of everything is never made by leaving something out.
    """
    reach = form.get("reach", "")
    if reach == ALL:
        return None
    if reach != SOME:
        raise refused_fields({"reach": N_("choose the whole gateway, or selected organizations")})
    return [name for text in form.getlist("organizations") for name in _BETWEEN.split(text) if name]


def access_text(organizations: list[str] | None) -> str:
    """The choice of the form for these organizations."""
    return ALL if organizations is None else SOME


def demand_same(password: str, again: str) -> None:
    """Raise Refusal (INPUT) if they differ."""
    if password != again:
        raise refused_fields({"again": N_("the passwords do not match")})


def octets(text: str) -> bytes:
    """The id of a passkey in a form; b"" for what is none."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def field_errors(refusal: Refusal) -> dict[str, str]:
    """Texts by field; "" is the form itself. Raises the refusal if no person can mend it in the form."""
    if refusal.kind not in {RefusalKind.INPUT, RefusalKind.CONFLICT}:
        raise refusal
    texts: dict[str, list[str]] = {}
    for error in refusal.errors:
        texts.setdefault(error.path, []).append(ours(error.message))
    return {field: "; ".join(said) for field, said in texts.items()} or {"": f"{sentence(ours(refusal.text))}."}


def refused_fields(errors: Mapping[str, str]) -> Refusal:
    """To be raised."""
    return Refusal(
        RefusalKind.INPUT, N_("nothing was changed"), [FieldError(name, text) for name, text in errors.items()]
    )


def located(error: FieldError) -> str:
    """An error with the path of its field."""
    return f"{error.path}: {ours(error.message)}"


def by_field(refusal: Refusal) -> dict[str, str]:
    """The errors by field; "" has the text, where there are none."""
    return {error.path: ours(error.message) for error in refusal.errors} or {"": ours(refusal.text)}


def all_errors(refusal: Refusal) -> str:
    """The errors in one line, each with its field; the text, where there are none."""
    return "; ".join(map(located, refusal.errors)) or ours(refusal.text)
