"""`gatepost evidence copy`: the whole evidence log as files, for an auditor or another machine."""

from __future__ import annotations

from pathlib import Path

import click

from gatepost.analysis.checks.evidence import MAX_BYTES, drill_documents
from gatepost.manage.cli.options import UNKNOWN, fail, gateway_options, local_settings, working
from gatepost.manage.cli.output import _, printed_json, quantity, say
from gatepost.node.privileges import as_caller
from gatepost.store.evidence_files import copy_log, copy_results
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@gateway_options
def copy(directory: Path) -> None:
    """Copy the evidence log into a new directory, with its heads, public keys and drill results.

    `evidence verify DIR --key PEM` and docs/verify_evidence.py verify it anywhere. With PostgreSQL, this is how the log
    of all nodes becomes files. No private key is copied.

    Exit codes: 0 copied, 2 usage error, 3 the log cannot be read or DIR not written.
    """
    storage = Storage.of(local_settings())
    try:
        with working(_("copying")):
            days = copy_log(storage.evidence(), directory, as_caller)
            results = drill_documents(storage)
            copy_results(
                directory, ((name, results.read(name, MAX_BYTES)) for name in sorted(results.names())), as_caller
            )
    except StoreFailure as failure:
        fail(UNKNOWN, str(failure))
    except OSError as error:
        fail(UNKNOWN, f"{error.filename or directory}: {error.strerror}")
    if printed_json({"directory": str(directory), "days": days}):
        return
    say("%(files)s of days copied to %(directory)s", err=True, files=quantity(days, "file"), directory=directory)
