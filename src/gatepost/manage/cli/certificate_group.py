"""The group of `certificate` commands: how a refusal ends one, and completing the number of a certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol

from gatepost.manage.cli.lazy import LazyGroup
from gatepost.manage.cli.options import client, current_server
from gatepost.manage.cli.output import _

if TYPE_CHECKING:
    from gatepost.manage.use_cases.refusal import Refusal


class CertificateGroup(LazyGroup):
    """Options are few, and the text of a refusal says all that its fields do, unless it points to them."""

    def end(self, refusal: Refusal) -> NoReturn:
        """With the text alone."""
        if "othing was done" not in refusal.text:
            refusal.errors = ()
        super().end(refusal)


class _OfCertificate(Protocol):
    """A request about one certificate."""

    certificate: str


def addressed[R: _OfCertificate](request: R) -> R:
    """The request with a certificate that is `addressable`."""
    request.certificate = addressable(request.certificate)
    return request


def addressable(number: str) -> str:
    """The same certificate, for another gateway by a name that can be a part of a path: its id, where its label cannot.

    Raises Refusal (MISSING).
    """
    if current_server() is None or (number and "/" not in number and number.strip(".")):
        return number
    from gatepost.manage.use_cases.certificates import GetInventory, get_inventory  # noqa: PLC0415 - seldom needed
    from gatepost.manage.use_cases.refusal import Refusal, RefusalKind  # noqa: PLC0415 - as above

    known = client().call(get_inventory, GetInventory()).certificates
    labelled = [summary for summary in known if number and summary.label == number]
    if len(labelled) > 1:
        labelled = [summary for summary in labelled if summary.state == "current"] or labelled
    if len(labelled) != 1:
        numbers = ", ".join(summary.id for summary in labelled) or _("none")
        text = _(
            "%(number)s does not name exactly one certificate (found: %(numbers)s)",
            number=repr(number),
            numbers=numbers,
        )
        raise Refusal(RefusalKind.MISSING, _("%(text)s; `gatepost certificate list` lists all certificates", text=text))
    return labelled[0].id
