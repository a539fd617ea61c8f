"""The fields of `HopKind` as SQL, by which reports count rows of the trace: the same in both engines. No I/O.

For `store.sqlite.trace_tally` and `store.postgres.trace_counts`. A row of one organization says nothing of another's
connectors, hosts and requirements (`policy.decisions.withheld`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

IS_COUNTED: Final = "event <> 'TLSFAIL'"
"""The condition of a row that has a kind: a handshake that failed is not mail, and the client would choose the kind."""


class Dialect(NamedTuple):
    """The expressions that each engine writes in its own way.

    detail, tls: the columns as JSON. find: the function that says where a text stands in another one, 0 for nowhere.
    domain: of an address in a column. code: the enhanced code of a reply. other_sources: the sources of the requirement
    without connectors and rules. names: of the certificate. trial_failed: whether a rehearsal did; trial_sources: its
    sources.
    """

    detail: str
    tls: str
    find: str
    domain: Callable[[str], str]
    code: str
    other_sources: str
    names: str
    trial_failed: str
    trial_sources: str


def counted(dialect: Dialect) -> tuple[str, ...]:
    """The fields of a row."""
    said, find = f"{dialect.detail} ->>", dialect.find
    own_way = f"{said} 'connector_organization' IS NULL AND {said} 'domain_organization' IS NULL"
    # Another organization's connector may be called as one of the organization whose mail it is.
    connector = f"{said} 'connector_organization' IS NULL AND {said} 'connector_of_recipient' IS NULL"
    whole = f"{own_way} AND {said} 'connector_of_recipient' IS NULL OR {find}(requirement, '(') = 0"
    # What the recipient's organization refuses of another's is by no connector of that one.
    own = f"{said} 'recipient_organization' IS NULL"
    refused_on_trial = f"{own} OR {said} 'would_refuse_organization' = organization"
    by_connector = f"{said} 'connector_organization' IS NULL AND {find}({dialect.trial_sources}, '\"connector:') > 0"
    failed = f"CASE WHEN {dialect.trial_failed} AND {by_connector} THEN connector ELSE '' END"
    return (
        "organization",
        "direction",
        "event",
        f"CASE WHEN {connector} THEN connector ELSE '' END",
        _partner(dialect),
        f"CASE WHEN {whole} THEN requirement ELSE substr(requirement, 1, {find}(requirement, '(') - 1) END",
        f"coalesce(CASE WHEN {own_way} THEN {said} 'requirement_sources' ELSE {dialect.other_sources} END, '')",
        *_session(dialect),
        f"CASE WHEN {own_way} THEN lower(peer_host) ELSE '' END",
        f"CASE WHEN {own_way} THEN coalesce({dialect.names}, '') ELSE '' END",
        "result_type",
        f"CASE WHEN event = 'REFUSE' AND {own} THEN {dialect.code} ELSE '' END",
        f"coalesce(CASE WHEN {refused_on_trial} THEN {said} 'would_refuse_connector' END, {failed})",
    )


def refused_for_recipient(dialect: Dialect) -> tuple[str, ...]:
    """The same of what a connector of the recipient's organization refused of another's.

    It counts there as what that one refuses of strangers.
    """
    said = f"{dialect.detail} ->>"
    whose = f"{said} 'recipient_organization'", "'incoming'", "event", f"{said} 'refused_by_connector'"
    names = f"coalesce({dialect.names}, '')"
    return (*whose, _partner(dialect), "''", "''", *_session(dialect), "lower(peer_host)", names, "result_type",
            dialect.code, "''")  # fmt: skip


def _partner(dialect: Dialect) -> str:
    sender, recipient = dialect.domain("sender"), dialect.domain("recipient")
    return f"lower(CASE WHEN event IN ('RECEIVE', 'REFUSE') THEN {sender} ELSE {recipient} END)"


def _session(dialect: Dialect) -> tuple[str, ...]:
    words = (f"coalesce({dialect.tls} ->> '{word}', '')" for word in ("suite", "chain"))
    return "achieved", "tls_version", "tls_group", *words
