"""The evidence log for auditors: whether it is what was written, its heads and keys, entries of it with their proof.

The log is verified behind the page. An export is written to a file without a name, one at a time, and then sent, so
that a slow reader keeps nothing open but that; it is on record, as it holds who wrote to whom.
"""

from __future__ import annotations

import tempfile
import time
from itertools import chain
from typing import IO, TYPE_CHECKING, Final

from starlette.routing import Route

from gatepost.language import _
from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.exports import CSV, chunks_of, download, exported, mark_of, wants_file
from gatepost.manage.pages.guard import every, needs, not_there, perform, principal_of
from gatepost.manage.pages.rendering import link, render, see_other
from gatepost.manage.pages.report_charts import ReportView, read_view
from gatepost.manage.pages.reports import frame_of
from gatepost.manage.use_cases import evidence, evidence_export
from gatepost.manage.use_cases.evidence_export import LogExport, OpenExport, open_export
from gatepost.manage.use_cases.jobs import ConcurrencyLimit
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.request_values import limits
from gatepost.texts import N_

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


_PATH: Final = "/reports/evidence"
_SHOWN: Final = 50
_LIMITS: Final = limits(OpenExport)
_NAMES: Final = {"json": N_("JSON, with proof"), "csv": "CSV", "pdf": "PDF"}
_TYPES: Final = {"json": "application/json", "csv": CSV, "pdf": "application/pdf"}

_exporting: Final = ConcurrencyLimit(4, 1, N_("Another export is running. Try again when it has finished."))


def _page(request: Request) -> Response:
    view, frame = frame_of(request, _PATH)
    principal = principal_of(request)
    run = perform(request, evidence.get_verification, evidence.GetVerification()) if principal.is_of_gateway else None
    heads = _heads(request, view) if principal.is_of_gateway else []
    if wants_file(request) and (request.query_params.get("table") != "heads" or not principal.is_of_gateway):
        raise not_there()
    columns = ("day", "head")
    if file := exported(request, "heads", columns, lambda: heads, cells=lambda head: (head.day, head.hash)):
        return file
    frame |= {
        "heading": _("Evidence"),
        "part": "reports/evidence.html",
        "counted": None,
        "refresh": "2s" if run is not None and run.running else "",
        "shown": _SHOWN,
        "run": run,
        "heads": heads,
        "keys": perform(request, evidence.list_keys, evidence.ListKeys()).items if principal.is_of_gateway else (),
        "kept": perform(request, evidence.get_kept_days, evidence.GetKeptDays()),
        "forms": [(form, _(_NAMES[form])) for form in evidence_export.export_forms()],
    }
    return render(request, "reports/page.html", block="report", **frame)


def _heads(request: Request, view: ReportView) -> list[evidence.Head]:
    """Of the days of the page, the newest first."""
    heads = every(request, evidence.list_heads, evidence.ListHeads(since=view.days.first))
    return [head for head in heads if head.day <= view.days.last][::-1]


def _verify(request: Request) -> Response:
    needs(request, Scope.READ)
    perform(request, evidence.verify_own_log, evidence.VerifyLog())
    organization = request.state.form.get("organization") or ""
    return see_other(request, link(_PATH, organization=organization), _("Verification started."), "info")


def _export(request: Request) -> Response:
    view, params = read_view(request.query_params, time.time()), request.query_params
    if view.organization and not principal_of(request).sees(view.organization):
        raise not_there()
    form = params.get("form", "json")
    if form not in evidence_export.export_forms():
        raise not_there(_("There is no such export format."))
    texts = {name: params.get(name, "").strip()[: _LIMITS[name]] for name in ("partner", "message")}
    days = {"since": view.days.first, "until": view.days.last}
    wanted = OpenExport(form=form, organization=view.organization, **texts, **days)  # type: ignore[arg-type] # checked
    with _exporting.slot(principal_of(request).share_key):
        file = _made(perform(request, open_export, wanted))
    mark = mark_of(request) if form == "csv" else b""
    size = len(mark) + file.seek(0, 2)
    file.seek(0)
    name = f"gatepost-evidence-{view.days.first}-{view.days.last}.{form}"
    chunks = chain([mark], chunks_of(file))
    return download(chunks, name, _TYPES[form], content_length=str(size), cache_control="no-store")


def _made(export: LogExport) -> IO[bytes]:
    """The export in a file without a name, to be closed by whoever sends it. Raises Refusal."""
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed when it is sent
        try:
            export.write_temporary(file)
        except BaseException:
            file.close()
            raise
    except OSError as error:
        why = _("The export could not be written to a temporary file: %(strerror)s.", strerror=error.strerror)
        raise Refusal(
            RefusalKind.UNREADABLE, _("%(why)s Free disk space there (TMPDIR), then try again.", why=why)
        ) from error
    return file


ROUTES: Final = [
    Route(_PATH, _page),
    Route(f"{_PATH}/verify", _verify, methods=["POST"]),
    Route(f"{_PATH}/export", _export),
]
