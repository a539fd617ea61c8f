#!/bin/sh
# Runs unit tests in N processes that know nothing of each other, a share of the files in each (tests/unit/conftest.py):
# with pytest-xdist each process collects all files, and reports each test to one that does nothing else.
#
#   scripts/shares.sh N pytest WORD...      with folders, not files, among the words; 0 if all of them end with 0
set -eu
count=$1
shift
seq "$count" | xargs -P "$count" -I {} env "UNIT_TESTS_SHARE={}/$count" "$@" -p no:cacheprovider
