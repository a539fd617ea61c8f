"""Builds the Debian package dist/gatepost_VERSION_ARCHITECTURE.deb, for Debian 13 (make deb).

Libraries come from the hash-checked locks into an environment of the package's own, which Debian's python3.13 runs
(docs/decisions/0101). Nothing is needed but `make env` and dpkg-deb.

.venv/bin/python scripts/debian_package.py [--output FOLDER] [--fast]
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from email.utils import formatdate
from pathlib import Path

import licences
import man_pages

import gatepost
from gatepost.manage.cli import main as gatepost_command
from gatepost.manage.cli.completion import script

ROOT = Path(__file__).resolve().parents[1]
FILES = ROOT / "deploy/debian"
PYTHON = "python3.13"
LOCK = "requirements/all.txt"
VERSION = f"{gatepost.__version__}-1"
MAINTAINER = "the gatepost project <gatepost@localhost>"
HOME = "usr/lib/gatepost"
BUILD_NOTES = ("REQUESTED", "direct_url.json", "uv_cache.json")
LIBRARIES = f"{HOME}/lib/{PYTHON}/site-packages"

COMMAND = f"""\
#!/{HOME}/bin/python3 -IB
from gatepost.manage.cli.run import run

run()
"""

CONTROL = """\
Package: gatepost
Version: {version}
Section: mail
Priority: optional
Architecture: {architecture}
Depends: {python}, libc6 (>= 2.34), ca-certificates, tzdata,
 systemd | systemd-standalone-sysusers, systemd | systemd-standalone-tmpfiles
Recommends: libunbound8, dns-root-data
Suggests: postgresql
Installed-Size: {size}
Maintainer: {maintainer}
Description: mail gateway that decides, proves and rehearses how mail is protected
 gatepost receives, queues and delivers mail over SMTP. Connectors, as in Exchange,
 require TLS of partners by name or certificate; DANE, MTA-STS, DKIM, DMARC and
 REQUIRETLS are built in. It explains each decision, keeps a signed log of them,
 and has an admin centre, a REST API and a command line.
"""

COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: gatepost
Comment: the libraries in /usr/lib/gatepost have licences of their own, listed in licences.md beside this file

Files: *
Copyright: the authors of gatepost
License: Apache-2.0
 On Debian systems the licence is in /usr/share/common-licenses/Apache-2.0.
"""


def build(output: Path, *, fast: bool) -> Path:
    """The package. fast: not compressed, for tests."""
    with tempfile.TemporaryDirectory(prefix="gatepost-deb-") as folder:
        stage = Path(folder, "stage")
        stage.mkdir(mode=0o755)
        install_program(stage)
        install_documents(stage)
        install_service(stage)
        write_control(stage)
        set_modes(stage)
        output.mkdir(parents=True, exist_ok=True)
        target = output / f"gatepost_{VERSION}_{architecture()}.deb"
        compression = "none" if fast else "xz"
        run("dpkg-deb", "--root-owner-group", f"-Z{compression}", "--build", str(stage), str(target))
    return target


def run(*command: str) -> str:
    """A command's standard output; SystemExit if it fails."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch(), "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stderr}debian_package: {command[0]} ended with {done.returncode}")
    return done.stdout.strip()


def epoch() -> str:
    """The time that files of the package have: of the last commit, unless SOURCE_DATE_EPOCH says another one."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return (
        given
        or subprocess.run(
            ["git", "log", "-1", "--format=%ct"], stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True
        ).stdout.strip()
    )


def architecture() -> str:
    """As Debian calls this machine's."""
    return run("dpkg", "--print-architecture")


def install_program(stage: Path) -> None:
    """The environment with its libraries and gatepost, compiled, and the command."""
    target = stage / LIBRARIES
    target.mkdir(parents=True)
    uv = [str(ROOT / ".venv/bin/uv"), "pip", "install", "--quiet", "--python", f"/usr/bin/{PYTHON}"]
    uv += ["--target", str(target), "--link-mode", "copy", "--no-deps"]
    run(*uv, "--require-hashes", "--requirement", LOCK)
    with tempfile.TemporaryDirectory() as folder:
        run(str(ROOT / ".venv/bin/hatchling"), "build", "--target", "wheel", "--directory", folder)
        (wheel,) = Path(folder).glob("*.whl")
        run(*uv, str(wheel))
    for path in (target / "bin", target / ".lock"):  # commands of libraries are none of ours
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True)
    for path in target.glob("*/tests"):
        shutil.rmtree(path)
    forget_the_build(target)
    for extension in target.rglob("*.so"):
        extension.chmod(0o644)
    # By one process: with several, a busy machine made a file in two ways, of which one shares equal constants.
    compiled = [
        "-m",
        "compileall",
        "-q",
        "--invalidation-mode",
        "unchecked-hash",
        "-s",
        str(stage),
        "-p",
        "/",
    ]
    compiled += ["-x", "/gatepost/docs/"]  # what an auditor takes along
    run(f"/usr/bin/{PYTHON}", *compiled, str(target))
    home = stage / HOME
    (home / "bin").mkdir()
    (home / "bin/python3").symlink_to(f"/usr/bin/{PYTHON}")
    version = run(f"/usr/bin/{PYTHON}", "-c", "import platform; print(platform.python_version())")
    (home / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {version}\n")
    write(stage / "usr/bin/gatepost", COMMAND, 0o755)


def forget_the_build(target: Path) -> None:
    """Remove what says when and from where each library was installed: it differs each time."""
    for record in target.glob("*.dist-info/RECORD"):
        for name in BUILD_NOTES:
            (record.parent / name).unlink(missing_ok=True)
        notes = {f"{record.parent.name}/{name}" for name in BUILD_NOTES}
        lines = record.read_text(encoding="utf-8").splitlines(keepends=True)
        record.write_text("".join(line for line in lines if line.partition(",")[0] not in notes), encoding="utf-8")


def install_documents(stage: Path) -> None:
    """Man pages, completions, what a Debian package says of itself, licences."""
    for name, text in man_pages.pages().items():
        compressed(stage / f"usr/share/man/man{name[-1]}/{name}.gz", text)
    places = {"bash": "bash-completion/completions/gatepost", "zsh": "zsh/vendor-completions/_gatepost"}
    places["fish"] = "fish/vendor_completions.d/gatepost.fish"
    for shell, place in places.items():
        write(stage / "usr/share" / place, script(shell, gatepost_command))
    doc = stage / "usr/share/doc/gatepost"
    doc.mkdir(parents=True)
    (doc / "docs").symlink_to(f"/{LIBRARIES}/gatepost/docs")  # the Markdown that the pages show
    write(doc / "README.Debian", (FILES / "README.Debian").read_text(encoding="utf-8"))
    write(doc / "copyright", COPYRIGHT)
    write(doc / "licences.md", licences.page())
    compressed(doc / "changelog.Debian.gz", debian_changelog())
    compressed(doc / "changelog.gz", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))


def debian_changelog() -> str:
    """What changed is in the changelog of gatepost itself, beside it."""
    when = formatdate(int(epoch()))
    return f"gatepost ({VERSION}) trixie; urgency=medium\n\n  * See changelog.gz.\n\n -- {MAINTAINER}  {when}\n"


def install_service(stage: Path) -> None:
    """The unit, its account and directories, the settings."""
    places = {
        "gatepost.service": "usr/lib/systemd/system/gatepost.service",
        "gatepost.sysusers": "usr/lib/sysusers.d/gatepost.conf",
        "gatepost.tmpfiles": "usr/lib/tmpfiles.d/gatepost.conf",
        "gatepost.toml": "etc/gatepost/gatepost.toml",
    }
    for name, place in places.items():
        write(stage / place, (FILES / name).read_text(encoding="utf-8"))


def write_control(stage: Path) -> None:
    """What dpkg reads."""
    size = sum(path.lstat().st_size for path in stage.rglob("*") if not path.is_dir()) // 1024
    values = {"version": VERSION, "architecture": architecture(), "python": PYTHON, "size": size}
    values["maintainer"] = MAINTAINER
    write(stage / "DEBIAN/control", CONTROL.format_map(values))
    write(stage / "DEBIAN/conffiles", "/etc/gatepost/gatepost.toml\n")
    for name in ("postinst", "prerm", "postrm"):
        write(stage / "DEBIAN" / name, (FILES / name).read_text(encoding="utf-8"), 0o755)


def set_modes(stage: Path) -> None:
    """For all to read, whatever the umask was, and with the time of the commit."""
    when = int(epoch())
    for path in [stage, *stage.rglob("*")]:
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if executable else 0o644)
        os.utime(path, (when, when), follow_symlinks=False)


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def compressed(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the Debian package.")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder for the package")
    parser.add_argument("--fast", action="store_true", help="do not compress: larger, and sooner there")
    given = parser.parse_args()
    print(build(given.output, fast=given.fast))
    return 0


if __name__ == "__main__":
    sys.exit(main())
