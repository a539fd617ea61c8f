"""Count what four use cases run through: the files and code lines of the functions of `manage` that are entered.

Each is run twice on a gateway that really serves: by a command beside it, and by a command for another machine, through
REST. What is entered in any of the processes counts once: so much of the source has to be read to follow the use case
from the interfaces to where the rooms below do the work. Prints a table.

    .venv/bin/python scripts/walks.py [ROOM]...      the rooms that count (default: manage)
"""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from code_lines import code_lines

ROOT = Path.cwd()
SOURCE = ROOT / "src" / "gatepost"
sys.path.insert(0, str(ROOT / "tests" / "system"))
from support import admin, scenes  # noqa: E402 - of the tests
from support.gateway import Gateway  # noqa: E402
from support.process import GATEPOST  # noqa: E402

from gatepost.testing.pki import Pki  # noqa: E402
from gatepost.testing.process import free_port, wait_until  # noqa: E402

PASSWORD = "a password of twenty letters\n"  # noqa: S105 - of nobody

# Loaded by every Python that is started here: while a file "now" is there, each function that is entered for the first
# time in this process is written down. "now" holds the name of the walk. Type parameters of a function are evaluated
# where it is defined, in a scope that begins in its first line: that is no call of it.
NOTE = """
import os, sys
folder, source, mark, seen = os.environ["WALKS"], os.environ["WALKS_SOURCE"], sys.monitoring, set()
def enter(code, _offset):
    if not code.co_filename.startswith(source):
        return mark.DISABLE
    try:
        with open(folder + "/now") as now:
            key = (now.read(), code.co_filename, code.co_firstlineno)
    except FileNotFoundError:
        return None
    if key not in seen and code.co_name != "<module>" and not code.co_name.startswith("<generic parameters"):
        seen.add(key)
        with open(folder + "/entered", "a") as entered:
            print(*key, sep="\\t", file=entered)
mark.use_tool_id(mark.PROFILER_ID, "walks")
mark.register_callback(mark.PROFILER_ID, mark.events.PY_START, enter)
mark.set_events(mark.PROFILER_ID, mark.events.PY_START)
"""


class Walk(NamedTuple):
    """What was entered by one use case, in the rooms that count. own: what none of the others enters."""

    name: str
    files: int
    lines: int
    own_files: int
    own_lines: int


class Notes:
    """Where processes write down what they enter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "sitecustomize.py").write_text(NOTE)
        os.environ["PYTHONPATH"] = f"{folder}:{ROOT / 'src'}"
        os.environ["WALKS"], os.environ["WALKS_SOURCE"] = str(folder), str(SOURCE)

    def run(self, name: str, argv: list[str], given: str, exits: tuple[int, ...]) -> None:
        """Run a command and note what it makes all processes enter."""
        now, fresh = self.folder / "now", self.folder / "next"
        fresh.write_text(name)
        fresh.replace(now)  # a gateway that runs may read it at any moment, and would find it empty
        try:
            done = subprocess.run(argv, input=given, capture_output=True, text=True, check=False, timeout=120)
        finally:
            now.unlink()
        if done.returncode not in exits:
            raise SystemExit(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")

    def walks(self, rooms: tuple[str, ...]) -> Iterator[Walk]:
        """What was entered under each name."""
        entered: dict[str, set[tuple[Path, int]]] = defaultdict(set)
        for line in (self.folder / "entered").read_text().splitlines():
            name, file, first = line.split("\t")
            if Path(file).relative_to(SOURCE).parts[0] in rooms:
                entered[name].add((Path(file), int(first)))
        for name, functions in entered.items():
            others = set().union(*(those for other, those in entered.items() if other != name))
            yield Walk(name, *_counted(functions), *_counted(functions - others))


def _counted(functions: set[tuple[Path, int]]) -> tuple[int, int]:
    """Files and code lines of functions, named by where they begin."""
    by_file: dict[Path, set[int]] = defaultdict(set)
    for path, first in functions:
        by_file[path].add(first)
    return len(by_file), sum(_lines(path, firsts) for path, firsts in by_file.items())


def _lines(path: Path, firsts: set[int]) -> int:
    """How many code lines the functions have that begin in these lines."""
    text = path.read_text()
    tree = ast.parse(text)
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
            if first in firsts:
                inside.update(range(first, (node.end_lineno or first) + 1))
    return len(inside & code_lines(text, tree))


class Scene:
    """A gateway with an admin centre, two messages that wait, and two certificates that could be switched to."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        pki = Pki(folder / "pki")
        current, *self._next = (pki.leaf("mx1.contoso.example") for _ in range(3))
        key = folder / "master.key"
        key.touch(0o600)
        key.write_bytes(bytes(range(32)))
        port = free_port()
        settings = {"store": {"master_key": f"file:{key}"}, **admin.settings(port)}
        settings["server"] = {
            **settings.get("server", {}),
            "confine": False,
        }  # its processes write their notes elsewhere
        resources = scenes.contoso(outbound=[scenes.connector("partner.example", "127.0.0.1:1")])
        self.gateway = Gateway(resources, certificates=[current], anchors=pki.root, settings=settings)
        stack.enter_context(self.gateway)
        centre = admin.AdminCentre(self.gateway, port)
        wait_until(centre.answers, "the admin centre answers", timeout=60)
        token = folder / "token"
        token.touch(0o600)
        token.write_text(centre.token() + "\n")
        ca = self.gateway.data_dir / "admin" / "certificate.pem"
        self.beside = [str(GATEPOST), "--config", str(self.gateway.config)]
        self.afar = [str(GATEPOST), "--server", centre.url, "--token-file", str(token), "--ca", str(ca)]
        for user in ("ann", "eve"):
            scenes.send(self.gateway.port, f"{user}@partner.example")  # and it waits: nobody listens there
        for leaf in self._next:
            self.gateway.cli("certificate", "add", str(leaf.chain), "--key", str(leaf.key))

    def switch(self, number: int) -> str:
        """The words that switch to one of the two certificates."""
        return f"certificate changeover switch {self._next[number].sha256[:16].lower()} --force walk"


def walks(rooms: tuple[str, ...] = ("manage",)) -> Iterator[Walk]:
    """The four walks."""
    with ExitStack() as stack:
        notes = Notes(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        scene = Scene(notes.folder, stack)
        drop = "queue drop --reason walk --recipient"
        validate = f"connector validate '{scenes.OWN_SERVERS['name']}'"
        table = {
            "queue drop": (f"{drop} ann@partner.example", f"{drop} eve@partner.example"),
            "certificate switch": (scene.switch(0), scene.switch(1)),
            "connector validate": (validate, validate),
            "user add": tuple(f"user add {name} --role owner --password-stdin" for name in ("ann", "eve")),
        }
        for name, commands in table.items():
            exits = (0, 1) if commands == (validate, validate) else (0,)
            for prefix, words in zip((scene.beside, scene.afar), commands, strict=True):
                notes.run(name, [*prefix, *shlex.split(words)], PASSWORD if name == "user add" else "", exits)
        yield from notes.walks(rooms)


def main(rooms: tuple[str, ...]) -> None:
    print("| use case | files | code lines | files of its own | code lines of its own |\n|---|--:|--:|--:|--:|")
    for walk in walks(rooms or ("manage",)):
        print(f"| {walk.name} | {walk.files} | {walk.lines:,} | {walk.own_files} | {walk.own_lines:,} |")


if __name__ == "__main__":
    main(tuple(sys.argv[1:]))
