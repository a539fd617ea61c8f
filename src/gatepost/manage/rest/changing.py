"""Times as calls give them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from gatepost.manage.rest.problem import Problem
from gatepost.manage.use_cases.times import moment
from gatepost.manage.web.problem import ProblemType
from gatepost.policy.connectors.errors import FieldError

type TimeText = Annotated[
    str,
    Meta(max_length=64, description='An age such as "30m", "2h" or "7d", a date, or a date with time (UTC).'),
]


def seconds(name: str, text: str, part: str = "query.") -> float:
    """A time, as seconds since 1970. part: of the call that it is in, "" for the body. Raises Problem."""
    try:
        return moment(text)
    except ValueError as error:
        raise Problem(
            ProblemType.INVALID, "1 error(s); nothing was done.", [FieldError(f"{part}{name}", str(error))]
        ) from error
