"""`[store]`: where mail, configuration and accounts are kept, and with which roles. Part of `settings.model`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from gatepost.policy.connectors.fields import Duration, Form, Range, Size, Switch
from gatepost.policy.connectors.units import format_duration
from gatepost.settings.references import secret_reference
from gatepost.settings.section import Checked, Section, setting
from gatepost.settings.store_url import SQLITE, store_url, worker_url


class Durability(StrEnum):
    """When mail in PostgreSQL counts as kept: when the server has it, or only when a standby has it too."""

    LOCAL = "local"
    REPLICATED = "replicated"


class Store(Section):
    """The store, which holds mail until it is delivered."""

    url: Annotated[str, Checked(store_url), Form('"sqlite:" or "postgresql://…"')] = setting(
        default=SQLITE,
        description="sqlite: embedded, files in data_dir, for one node. postgresql://USER@HOST/DATABASE: PostgreSQL 15 "
        "or newer, which several nodes need to share a store; never with a password, which has its place in a file "
        "(passfile=…) or the environment. Other hosts than this one need sslmode=verify-full.",
    )
    worker_url: Annotated[str, Checked(worker_url), Form('"postgresql://…"')] = setting(
        default="",
        description="With PostgreSQL: the same database as url, for processes that talk to the network, with a role "
        "that may not write the configuration, accounts and tokens (docs/several-nodes.md). Files with secrets of url "
        "(passfile, sslkey, servicefile) are then in data_dir. Empty: these processes use url.",
    )
    inline_limit: Size = setting(
        default=262144,
        description="Message bodies up to this size are stored in the database, larger ones in separate files.",
    )
    memory_budget: Size = setting(
        default=33554432, description="Memory for arriving message bodies, for each worker. Beyond it they go to files."
    )
    free_space: Size = setting(
        default=134217728, description="Free disk space below which the gateway accepts no more mail (452 4.3.1)."
    )
    durability: Durability = setting(
        default=Durability.LOCAL,
        description="With PostgreSQL: mail is acknowledged when the server has committed it where its "
        "synchronous_commit says (local), or only when a synchronous standby has it too (replicated): then the gateway "
        "does not start without one.",
    )
    shared_mailboxes: Switch = setting(
        default=False,
        description="With PostgreSQL: maildir in data_dir is a directory that all nodes share. Only then may mailboxes "
        'have delivery = "maildir"; otherwise they need LMTP, because any node delivers.',
    )
    takeover_after: Annotated[Duration, Range(5, 600, format_duration)] = setting(
        default=15,
        description="With PostgreSQL: the silence of a worker after which the other nodes take over its mail.",
    )
    master_key: Annotated[str, Checked(secret_reference), Form('"file:/PATH", "env:NAME" or "credential:NAME"')] = (
        setting(
            default="",
            description="The key that encrypts private keys in the store: 32 bytes or more from a file of mode 0600, "
            "an environment variable, or a systemd credential. Keep a copy apart from the data. Empty: the store "
            "cannot hold private keys; they stay in files.",
        )
    )
