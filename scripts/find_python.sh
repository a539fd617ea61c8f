#!/bin/sh
# Prints the interpreter to build the environment with: CPython 3.12 or newer, 3.13 preferred, an optimised build
# before an unoptimised one (it halves the CPU of the protocol work, docs/performance.md). PYTHON=... decides instead.
set -u

# Exit 0 if $1 is usable; prints "rank path": the lowest rank is the best.
judge() {
    "$1" -I - "$1" 2>/dev/null <<'PY'
import os, sys, sysconfig
if sys.version_info < (3, 12) or sys.implementation.name != "cpython":
    raise SystemExit(1)
import ensurepip, venv  # noqa: F401  (Debian ships them apart, in python3-venv)
options = sysconfig.get_config_var("CONFIG_ARGS") or ""
# Debian builds /usr/bin/python3.x with profile-guided optimisation, but what it records is its shared library's build.
debian = sys.base_prefix == "/usr" and os.path.exists("/etc/debian_version")
optimised = debian or "--enable-optimizations" in options or "--with-lto" in options
versions = {(3, 13): 0, (3, 14): 1, (3, 12): 2}
print(0 if optimised else 1, versions.get(sys.version_info[:2], 3), os.path.realpath(sys.executable), sep=" ")
PY
}

if [ -n "${PYTHON:-}" ]; then
    found=$(judge "$PYTHON") && { echo "${found##* }"; exit 0; }
    echo "find_python: PYTHON=$PYTHON is not CPython 3.12 or newer with venv and ensurepip" >&2
    exit 1
fi

best=$(
    for name in python3.13 python3.14 python3.12 python3; do
        for folder in $(echo "$PATH:/usr/bin:/usr/local/bin" | tr ':' ' '); do
            [ -x "$folder/$name" ] && judge "$folder/$name"
        done
    done | sort -n | head -n 1
)
if [ -z "$best" ]; then
    echo "find_python: gatepost needs CPython 3.12 or newer with venv (3.13 preferred), and none was found on PATH." >&2
    echo "find_python: on Debian 13: apt-get install python3 python3-venv; elsewhere: make PYTHON=/path/to/python3.13 env" >&2
    exit 1
fi
echo "${best##* }"
