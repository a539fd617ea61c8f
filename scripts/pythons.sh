#!/bin/sh
# Runs the tests of single modules and `gatepost demo` on the oldest and the newest CPython that pyproject.toml allows
# and that can be had: found on PATH or among pyenv's, or installed by uv. The one that .venv was made with was tested
# already, a part of it without fresh examples: that is tried where no other can be had. What cannot be had is said.
# What reads nothing but the texts of this repository says the same on every Python, and is not asked again.
# Environments are kept in .pythons, for as long as the locks stay as they are.
#
#   scripts/pythons.sh              by `make pythons`, which says BIN (default .venv/bin) and JOBS
set -eu
cd "$(dirname "$0")/.."
bin=${BIN:-.venv/bin}
uv=$bin/uv
least=$(sed -n 's/^requires-python = ">=\(.*\)"$/\1/p' pyproject.toml)
own=$($bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
for folder in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin; do
    [ ! -d "$folder" ] || PATH=$folder:$PATH
done

texts="addresses catalogues docs import_circles sentence_sources sizes threat_model words"

say() { echo "pythons: $*" >&2; }

# Versions of CPython from the one in $1 on, such as 3.12, the newest last: installed, or for uv to install.
versions() {
    "$uv" python list 2>/dev/null | sed -n 's/^cpython-\(3\.[0-9]*\)\.[0-9]*-.*/\1/p' | sort -Vu |
        awk -F. -v least="${1#*.}" '$2 + 0 >= least + 0'
}

# .pythons/$1 with the locked dependencies.
environment() {
    folder=.pythons/$1
    locks=$(cat requirements/dev.txt requirements/build.txt pyproject.toml | sha256sum)
    [ "$(cat "$folder/.locks" 2>/dev/null)" = "$locks" ] && return 0
    rm -rf "$folder"
    # Where nothing can be downloaded, that is to be known soon, and to be no failure.
    UV_HTTP_RETRIES=1 timeout 180 "$uv" venv --quiet --no-project --python "$1" "$folder" || return 1
    for what in dev build; do
        VIRTUAL_ENV=$folder "$uv" pip install --quiet --require-hashes --requirement "requirements/$what.txt" || return 1
    done
    VIRTUAL_ENV=$folder "$uv" pip install --quiet --no-deps --no-build-isolation --editable . || return 1
    echo "$locks" >"$folder/.locks"
}

# In the environment $2, which has the version $1; unit tests of all that runs, or these files.
try() {
    say "CPython $1: unit tests and the demonstration"
    programs=$2
    shift 2
    if [ $# = 0 ]; then
        set -- tests/unit
        for text in $texts; do
            set -- "$@" "--ignore=tests/unit/test_$text.py"
        done
        "$programs/python" scripts/rewrite_asserts.py tests/unit # once, and not in each process
        scripts/shares.sh "${JOBS:-2}" "$programs/pytest" -q -o timeout=180 "$@" # others may run beside them
    else
        "$programs/pytest" -q -o timeout=180 -n "${JOBS:-2}" --dist worksteal "$@"
    fi
    "$programs/gatepost" demo >/dev/null
}

tried=$own
if [ "$least" != "$own" ]; then
    if environment "$least"; then
        try "$least" ".pythons/$least/bin"
        tried=$least
    else
        say "NOT TESTED on CPython $least, the oldest that may be used: it cannot be had here"
    fi
fi
for newest in $(versions "$own" | sort -Vr); do
    [ "$newest" != "$own" ] || break
    if environment "$newest"; then
        try "$newest" ".pythons/$newest/bin"
        tried=$newest
        break
    fi
    say "not on CPython $newest: it or one of the dependencies cannot be had for it"
done
# shellcheck disable=SC2046 # a word for each file
[ "$tried" != "$own" ] || try "$own" "$bin" $("$bin/python" scripts/own_coverage.py --files)
say "done; this environment is CPython $own, the last other one that was tried $tried"
