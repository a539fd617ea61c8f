"""Proves what a real bash, zsh and fish complete, and that a name which others wrote does nothing on a command line."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.debian import need
from support.process import BIN

SPACED = "Insurer of us"
_RESOURCES = """
[organization.contoso]
[[organization.contoso.accepted_domain]]
name = "contoso.example"
[[organization.contoso.mailbox]]
address = "ann@contoso.example"
[[organization.contoso.outbound_connector]]
name = "bank"
recipient_domains = ["bank.example"]
[[organization.contoso.outbound_connector]]
name = "Insurer of us"
recipient_domains = ["insurer.example"]
[[organization.contoso.outbound_connector]]
name = '''zz $(touch CANARY) `touch CANARY` 'q' "d" ~ *, x;>CANARY #'''
recipient_domains = ["evil.example"]
"""
EVIL = _RESOURCES.partition("'''")[2].partition("'''")[0]
# What is typed before the tabulator -> the line after it; and the name that is its last word then.
LINES = {
    "gatepost conn": "gatepost connector ",
    "gatepost connector show --org": "gatepost connector show --organization ",
    "gatepost check partner insu": "gatepost check partner insurer.example ",
    "gatepost mailbox show ann@con": "gatepost mailbox show ann@contoso.example ",
    "gatepost connector set bank tls_d": "gatepost connector set bank tls_domain=",
    "gatepost connector set bank mode=r": "gatepost connector set bank mode=rehearse ",
}
NAMES = {
    "gatepost connector show insu": SPACED,
    "gatepost connector show zz": EVIL,
    'gatepost connector show "zz': EVIL,
}
_START = {
    "bash": ["--norc", "--noprofile", "-i"],
    "zsh": ["-f", "-i"],
}
_PREPARE = {
    "bash": """source SCRIPT; bind -x '"\\C-x\\C-p": printf %s "$READLINE_LINE" > LINE.new; mv LINE.new LINE'""",
    "zsh": """autoload -Uz compinit; compinit -u -D; source SCRIPT
        tell() { print -rn -- "$BUFFER" > LINE.new; mv LINE.new LINE }; zle -N tell; bindkey '^X^P' tell""",
}
_PATIENCE = 60.0
_CLEAR, _TELL = b"\x15", b"\x18\x10"


class Terminal:
    """An interactive shell on a terminal of its own. folder: where it is, and writes its line to."""

    def __init__(self, shell: str, folder: Path, environment: dict[str, str]) -> None:
        self._line = folder / "LINE"
        self._ours, theirs = pty.openpty()

        command = ["setsid", "--ctty", shell, *_START[shell]]
        self._shell = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment)
        os.close(theirs)
        (folder / "prepare").write_text(f"{_PREPARE[shell]}\ntouch READY\n")
        self._type(b"source ./prepare\n", folder / "READY")

    def completed(self, typed: str) -> str:
        """The line after a tabulator behind what is typed."""
        self._line.unlink(missing_ok=True)
        self._type(_CLEAR + typed.encode() + b"\t" + _TELL, self._line)
        return self._line.read_text()

    def _type(self, keys: bytes, until: Path) -> None:
        """Press keys until a file is there; what the shell draws meanwhile is read, so that it need not wait."""
        os.write(self._ours, keys)
        drawn, deadline = b"", time.monotonic() + _PATIENCE
        while not until.exists():
            assert time.monotonic() < deadline, f"the shell hangs: {drawn.decode(errors='replace')}"
            if select.select([self._ours], [], [], 0.05)[0]:
                drawn += os.read(self._ours, 65536)

    def close(self) -> None:
        self._shell.kill()
        self._shell.wait()
        os.close(self._ours)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of shells whose gateway has resources."""
    folder = tmp_path_factory.mktemp("completion")
    user = "" if os.geteuid() else "root"
    settings = f'[server]\nhostname = "mx.contoso.example"\ndata_dir = "{folder}/data"\nuser = "{user}"\n'
    (folder / "gatepost.toml").write_text(settings)
    (folder / "resources.toml").write_text(_RESOURCES)
    environment = {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(folder),
        "TERM": "dumb",
        "LANG": "C.UTF-8",
        "GATEPOST_CONFIG": str(folder / "gatepost.toml"),
    }
    apply = ["gatepost", "apply", "-f", str(folder / "resources.toml")]
    subprocess.run(apply, env=environment, check=True, capture_output=True)
    return environment


def prepared(shell: str, folder: Path, environment: dict[str, str]) -> None:
    """Write the shell's script into a folder."""
    script = subprocess.run(["gatepost", "completion", shell], env=environment, check=True, capture_output=True).stdout
    (folder / "SCRIPT").write_bytes(script)


@pytest.fixture(params=["bash", pytest.param("zsh", marks=pytest.mark.long)])
def terminal(request: pytest.FixtureRequest, tmp_path: Path, environment: dict[str, str]) -> Iterator[Terminal]:
    need(request.param)
    prepared(request.param, tmp_path, environment)
    made = Terminal(request.param, tmp_path, environment)
    yield made
    made.close()


def test_bash_and_zsh_complete_commands_options_names_and_fields(terminal: Terminal, tmp_path: Path) -> None:
    assert {typed: terminal.completed(typed) for typed in LINES} == LINES
    for typed, name in NAMES.items():
        line = terminal.completed(typed)
        words = 'eval "set -- $1"; printf %s "${!#}"'
        heard = subprocess.run(
            ["bash", "-c", words, "-", line], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert heard.stdout == name, line
    assert not (tmp_path / "CANARY").exists()


@pytest.mark.long
def test_fish_completes_commands_options_names_and_fields(tmp_path: Path, environment: dict[str, str]) -> None:
    need("fish")
    prepared("fish", tmp_path, environment)
    asked = [*LINES, *NAMES]
    script = "source SCRIPT\n" + "".join("read -l typed; complete -C $typed; echo END\n" for _ in asked)
    run = subprocess.run(
        ["fish", "--no-config", "-c", script], input="\n".join(asked) + "\n", env=environment, cwd=tmp_path,
        capture_output=True, text=True, check=True, timeout=_PATIENCE,
    )  # fmt: skip
    offered = [part.strip().partition("\t")[0] for part in run.stdout.split("END\n")[: len(asked)]]
    assert offered == [line.strip().rpartition(" ")[2] for line in LINES.values()] + list(NAMES.values())
    assert "connector\tShow, change and test connectors." in run.stdout
    assert not (tmp_path / "CANARY").exists()
