"""Two administrators and a form each, against a model: no change is lost, and none is undone unseen.

Each looks at a resource, others change it, and each saves the form that was made at the look, as `manage.pages` does:
merged by field with what is stored, and only at the version that was merged with. GATEPOST_STATES says how many runs.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gatepost.manage.pages.editor import merge
from gatepost.store.changes import ConfigConflict, ConfigStore

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # a thousand restarts need no disk
KEYS = ("tls", "hosts", "comment")
PEOPLE = st.sampled_from(["ann", "joe"])
FIELD, TEXT = st.sampled_from(KEYS), st.sampled_from(["", "a", "b", "c"])


class Administrators(RuleBasedStateMachine):
    """stored: what must be in force. seen: what each saw last, with the version. forms: what each has written since."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self.store = ConfigStore(Path(self.folder.name) / "config.db")
        self.versions: list[dict[str, str]] = [{}]
        self.seen: dict[str, tuple[int, dict[str, str]]] = {}
        self.forms: dict[str, dict[str, str]] = {}

    @property
    def stored(self) -> dict[str, str]:
        return self.versions[-1]

    def save(self, person: str, fields: dict[str, str], expected: int) -> None:
        version = self.store.apply({"organization": {"contoso": fields}}, author=person, expected=expected)
        if fields != self.stored:
            self.versions.append(fields)
        assert version == len(self.versions) - 1, "what changes nothing makes no version"

    @initialize()
    def begin(self) -> None:
        self.save("ann", dict.fromkeys(KEYS, "a"), 0)
        for person in ("ann", "joe"):
            self.look(person)

    @rule(person=PEOPLE)
    def look(self, person: str) -> None:
        version, documents = self.store.load()
        self.seen[person] = version, dict(documents["organization"]["contoso"])
        self.forms[person] = {}

    @rule(person=PEOPLE, field=FIELD, text=TEXT)
    def write(self, person: str, field: str, text: str) -> None:
        self.forms[person][field] = text

    @rule(person=PEOPLE)
    def submit(self, person: str) -> None:
        """Saves what merges, and looks again; keeps the form where somebody must choose."""
        (_, saw), form, before = self.seen[person], self.forms[person], self.stored
        merged = merge(KEYS, saw, before, {**saw, **form})
        mine = {key for key, text in form.items() if text != saw[key]}
        theirs = {key for key in KEYS if before[key] != saw[key]}
        clashes = {key for key in mine & theirs if form[key] != before[key]}
        assert set(merged.conflicts) == clashes
        if clashes:
            return
        self.save(person, {key: merged.texts[key] for key in KEYS}, len(self.versions) - 1)
        assert all(self.stored[key] == form[key] for key in mine), "what was written is there"
        assert all(self.stored[key] == before[key] for key in KEYS if key not in mine), "and nothing else was undone"
        self.look(person)

    @rule(person=PEOPLE)
    def save_over(self, person: str) -> None:
        """A program that does not merge says the version that it looked at."""
        version, saw = self.seen[person]
        fields = saw | self.forms[person]
        if version == len(self.versions) - 1:
            self.save(person, fields, version)
            self.look(person)
        else:
            with pytest.raises(ConfigConflict):
                self.store.apply({"organization": {"contoso": fields}}, author=person, expected=version)

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = ConfigStore(Path(self.folder.name) / "config.db")

    @invariant()
    def what_is_in_force_is_what_was_saved_last(self) -> None:
        version, documents = self.store.load()
        assert (version, documents.get("organization", {}).get("contoso", {})) == (len(self.versions) - 1, self.stored)

    def teardown(self) -> None:
        assert len(self.store.history(limit=1000)) == len(self.versions) - 1
        self.store.close()
        self.folder.cleanup()


TestAdministrators = Administrators.TestCase
TestAdministrators.settings = settings(
    max_examples=int(os.environ.get("GATEPOST_STATES", "10")), stateful_step_count=25, deadline=None
)
