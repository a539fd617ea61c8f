"""Fetch the front end's libraries from npm packages into src/gatepost/manage/pages/static/vendor; draw icons.svg.

    .venv/bin/python scripts/vendor.py           fetch what is named here, and write it
    .venv/bin/python scripts/vendor.py --check   fetch it, and say whether the repository holds just that

Needs npm, which the gateway itself and its tests never do: what it fetched is committed, with licences and a list of
hashes (VERSIONS). Each package must have the SHA-512 written here; a new version is a new line with a new hash
(`npm view PACKAGE@VERSION dist.integrity`). No registry is named: npm uses the one the machine is set up for.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

STATIC = Path(__file__).resolve().parents[1] / "src/gatepost/manage/pages/static"


class Package(NamedTuple):
    """One npm package. integrity: SHA-512 of its archive, base64. files: path in the package -> name here."""

    name: str
    version: str
    licence: str
    integrity: str
    files: dict[str, str]


PACKAGES = (
    Package(
        "htmx.org",
        "4.0.1",
        "0BSD",
        "oF7JgXhDW9UXCy/k1ZYFUQgzu/rm19ORWPSPNL91vPluB2PB9+MV55tyQdH/w7o2EAbTYUG5SDW1R60mdkdqGg==",
        {"dist/htmx.min.js": "htmx.min.js", "dist/ext/hx-sse.min.js": "hx-sse.min.js", "LICENSE": "htmx.LICENSE.txt"},
    ),
    Package(
        "lucide-static",
        "1.62.0",
        "ISC",
        "WBZA/m2PvkFpMGHDtsBck5P2A9G4ehLlYu4GwwICcmEm1BvYVgj00lCDxKRWLlbMlOibLaiwdQ88G5pHkSWgwA==",
        {"LICENSE": "lucide.LICENSE.txt"},
    ),
)

# Our name of an icon, as templates use it -> Lucide's name of the drawing.
ICONS = {
    "alarm": "bell",
    "archive": "inbox",
    "ascending": "arrow-up",
    "certificate": "badge-check",
    "check": "check",
    "chevron": "chevron-down",
    "close": "x",
    "clock": "clock",
    "copy": "copy",
    "descending": "arrow-down",
    "download": "download",
    "external": "external-link",
    "fail": "circle-x",
    "flow": "waypoints",
    "gear": "settings",
    "hold": "pause",
    "info": "info",
    "lock": "lock",
    "menu": "menu",
    "minus": "minus",
    "moon": "moon",
    "open": "lock-open",
    "organization": "building-2",
    "overview": "layout-dashboard",
    "pass": "circle-check",
    "plus": "plus",
    "queue": "layers",
    "report": "chart-column",
    "retry": "rotate-ccw",
    "running": "loader-circle",
    "search": "search",
    "sortable": "chevrons-up-down",
    "sun": "sun",
    "theme": "sun-moon",
    "trace": "route",
    "unknown": "circle-question-mark",
    "user": "user",
    "verified": "shield-check",
    "waiting": "circle-dashed",
    "warn": "triangle-alert",
}
_BODY = re.compile(r"<svg[^>]*>(.*)</svg>", re.DOTALL)


class VendorError(Exception):
    """A package could not be fetched, or is not what is written here."""


def fetched(package: Package, folder: Path) -> Path:
    """The archive of a package, its hash verified."""
    wanted = f"{package.name}@{package.version}"
    command = ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", str(folder), wanted]
    try:
        done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise VendorError("npm is needed, and is not installed") from error
    if done.returncode:
        raise VendorError(f"{wanted}: npm ended with {done.returncode}")
    archive = folder / done.stdout.split()[-1]
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != package.integrity:
        raise VendorError(f"{wanted}: SHA-512 is {digest}, and not the one in this script")
    return archive


def _member(archive: tarfile.TarFile, path: str) -> bytes:
    try:
        file = archive.extractfile(f"package/{path}")
    except KeyError:
        file = None
    if file is None:
        raise VendorError(f"no {path} in the package")
    return file.read()


def _icons(archive: tarfile.TarFile) -> bytes:
    """One file of symbols: `<use href="…/icons.svg#NAME">` shows one."""
    symbols = []
    for name, drawing in sorted(ICONS.items()):
        found = _BODY.search(_member(archive, f"icons/{drawing}.svg").decode())
        if found is None:
            raise VendorError(f"{drawing}.svg is no drawing")
        body = re.sub(r"\s*\n\s*", "", found[1]).replace(" />", "/>")
        symbols.append(f'<symbol id="{name}" viewBox="0 0 24 24">{body}</symbol>\n')
    head = '<svg xmlns="http://www.w3.org/2000/svg"><!-- Lucide, ISC: vendor/lucide.LICENSE.txt -->\n'
    return (head + "".join(symbols) + "</svg>\n").encode()


def _without_map(content: bytes) -> bytes:
    """Without the line that makes a browser's tools ask for a map that is not here."""
    return re.sub(rb"\n?//# sourceMappingURL=\S+\s*$", b"\n", content)


def gathered() -> dict[str, bytes]:
    """Every file to write: path below `STATIC` -> content."""
    files: dict[str, bytes] = {}
    notes = []
    with tempfile.TemporaryDirectory() as folder:
        for package in PACKAGES:
            with tarfile.open(fetched(package, Path(folder))) as archive:
                for path, name in package.files.items():
                    files[f"vendor/{name}"] = _without_map(_member(archive, path))
                if package.name == "lucide-static":
                    files["icons.svg"] = _icons(archive)
            notes.append(f"{package.name} {package.version} {package.licence}\n")
    hashes = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())]
    files["vendor/VERSIONS"] = (
        "Made by scripts/vendor.py. Package, version, licence; then the SHA-256 of each file.\n\n"
        + "".join(notes)
        + "\n"
        + "".join(hashes)
    ).encode()
    return files


def main() -> int:
    parser = argparse.ArgumentParser(description="Fetch the libraries of the admin centre's pages.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the repository differs")
    check: bool = parser.parse_args().check
    try:
        files = gathered()
    except VendorError as error:
        print(f"vendor: {error}", file=sys.stderr)
        return 1
    changed = 0
    for name, content in files.items():
        target = STATIC / name
        if target.exists() and target.read_bytes() == content:
            continue
        changed += 1
        print(f"{name}: {'differs' if check else 'written'}")
        if not check:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    return int(check and changed > 0)


if __name__ == "__main__":
    sys.exit(main())
