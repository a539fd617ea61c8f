"""Wheel and source distribution: the same bytes twice, all files in them, and a command that works in a fresh venv."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import gatepost

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/gatepost"

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def build(folder: Path, epoch: str) -> dict[str, Path]:
    """What `make dist` makes, by its suffix, at this time."""
    command = [Path(sys.executable).with_name("hatchling"), "build", "-t", "sdist", "-t", "wheel", "-d", folder]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": epoch})
    return {path.suffix: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build(tmp_path_factory.mktemp("dist"), "1790000000")


def documents() -> set[str]:
    """What the admin centre serves under /docs."""
    files = [path for kind in ("*.md", "*.py", "pictures/*.png") for path in (ROOT / "docs").glob(kind)]
    return {f"gatepost/{path.relative_to(ROOT)}" for path in files}


def sources() -> set[str]:
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {str(path.relative_to(PACKAGE.parent)) for path in files}


def test_two_builds_are_equal(built: dict[str, Path], tmp_path: Path) -> None:
    again = build(tmp_path, "1790000000")
    assert set(again) == {".whl", ".gz"}
    for suffix, path in again.items():
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(built[suffix].read_bytes()).digest()


def test_every_file_is_in_both(built: dict[str, Path]) -> None:
    assert any(name.endswith(".html") for name in sources())
    with zipfile.ZipFile(built[".whl"]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        assert names == sources() | documents()
        (metadata,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        said = Parser().parsestr(wheel.read(metadata).decode())
    assert said["Version"] == gatepost.__version__
    assert said["License-Expression"] == "Apache-2.0"
    assert {"acme", "all", "otel", "pdf", "postgres", "sso"} == set(said.get_all("Provides-Extra") or ())
    assert "Typing :: Typed" in (said.get_all("Classifier") or ())
    with tarfile.open(built[".gz"]) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in sources()} | {"docs/tls.md", "docs/pictures/overview.png"} <= inside
    assert {"pyproject.toml", "requirements/run.txt", "LICENSE", "README.md"} <= inside


def test_the_wheel_works_in_a_fresh_environment(built: dict[str, Path], tmp_path: Path) -> None:
    """Its libraries are those of this environment, so that no network is needed; gatepost itself is the wheel's."""
    uv = Path(sys.executable).with_name("uv")
    venv, environment = tmp_path / "venv", {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, venv], check=True, env=environment)
    command = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--offline",
        "--no-deps",
        "--python",
        venv / "bin/python",
        built[".whl"],
    ]
    subprocess.run(command, check=True, env=environment)
    (site,) = venv.glob("lib/*/site-packages")
    (site / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")

    def said(*words: object) -> str:
        done = subprocess.run(
            [str(word) for word in words], capture_output=True, text=True, check=False, env=environment, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert said(venv / "bin/gatepost", "--version").startswith(f"gatepost {gatepost.__version__}")
    where = "import gatepost.manage.pages.rendering as r; print(r.__file__)"
    assert said(venv / "bin/python", "-c", where).startswith(str(venv))
    html = (
        "from gatepost.manage.pages.document_text import document, pictures; print(document('tls').html, *pictures())"
    )
    assert "overview.png" in (page := said(venv / "bin/python", "-c", html))
    assert "TLS_AES_256_GCM_SHA384" in page
    assert "TLS_AES_256_GCM_SHA384" in said(venv / "bin/gatepost", "tls", "profiles")
