"""Forms that were not acted upon, for browsers without scripts: what was typed is shown again, to be sent once more.

The session had ended, was another one, or the password had to be confirmed. The answer has what was typed in a field of
the form to log in, or to confirm; once that is right, it comes back with a button. Nothing is kept here, and no secret
goes out again. What one user typed is shown to no other: a form's token says for whom it was made
(`manage.access.secret.author_tag`). With scripts the browser keeps it, and takes the field out (static/unsent.js).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.manage.access.secret import author_tag, same
from gatepost.manage.pages import signed_cookies
from gatepost.manage.pages.rendering import render
from gatepost.manage.pages.text_filters import cut

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


FIELD: Final = "unsent"
"""Of the form to log in, and to confirm."""
SECRETS: Final = frozenset({"csrf", FIELD, "password", "again", "old", "key", "secret"})
"""Fields that never come back: what is typed in them is a secret, or of the form alone."""
_HIDDEN: Final = frozenset({"was", "do", "back", "expected"})  # sent again, and typed by nobody
_PRIVATE: Final = "PRIVATE KEY"
_MOST: Final = 256 * 1024  # characters


class UnsentForm(msgspec.Struct, frozen=True):
    """action: of ours, path and query. author: tag of whom the form was made for. fields: names and values."""

    action: str
    author: str
    fields: tuple[tuple[str, str], ...]

    @property
    def typed(self) -> list[tuple[str, str]]:
        """The fields that a person filled in, cut to what a page shows."""
        return [(name, cut(value)) for name, value in self.fields if value.strip() and name not in _HIDDEN]


def sealed(request: Request, action: str) -> str:
    """The form of a request as text for `FIELD`, valid for ten minutes.

    "" if it is too large, has no author, or an address that browsers take for that of another host.
    """
    form = request.state.form
    author = form.get("csrf", "").partition(".")[2]
    fields = tuple((name, value) for name, value in form.multi_items() if name not in SECRETS and _PRIVATE not in value)
    if not author or action[1:2] in {"/", "\\"} or sum(len(name) + len(value) for name, value in fields) > _MOST:
        return ""
    return signed_cookies.sealed(FIELD, UnsentForm(action, author, fields))


def given(request: Request) -> str:
    """The value of `FIELD` in the form of a request, to be asked with again after a wrong password."""
    text: str = request.state.form.get(FIELD, "")
    return text


def given_back(request: Request, user: str) -> UnsentForm | None:
    """The form that came with this one, if `sealed` made it and the user is its author; else None."""
    unsent = signed_cookies.unsealed(FIELD, given(request), UnsentForm)
    return unsent if unsent is not None and same(unsent.author, author_tag(user)) else None


def form_of(request: Request, action: str, user: str) -> UnsentForm | None:
    """The form of a request itself, if the user is its author."""
    unsent = signed_cookies.unsealed(FIELD, sealed(request, action), UnsentForm)
    return unsent if unsent is not None and same(unsent.author, author_tag(user)) else None


def unsent_page(request: Request, unsent: UnsentForm, text: str, status: int = 0, back: str = "") -> Response:
    """The page that shows what was typed, with a button that sends it again.

    text: why it was not saved. back: to the page of the form.
    """
    return render(request, "entrance/unsent.html", status, text=text, unsent=unsent, back=back)
