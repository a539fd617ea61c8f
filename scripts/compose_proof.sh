#!/bin/sh
# Starts deploy/compose.yaml as it stands and sees that it keeps its promises: tests/system/test_compose.py, with real
# containers in a network of their own. Run as root: make deploy-proof. scripts/container_images.sh makes the images.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
export PODMAN_IGNORE_CGROUPSV1_WARNING=1

# Loudly: where CI=true a missing tool is a failure.
give_up() {
    echo "deploy-proof: PEER MISSING: $*; deploy/compose.yaml was not started" >&2
    [ "${CI:-}" != true ] || exit 1
    exit 0
}

for tool in podman-compose unshare; do
    command -v "$tool" >/dev/null || give_up "$tool"
done
podman=$("$here/scripts/container_images.sh" gatepost postgres) || give_up "the images"
tidy() {
    for words in "rm --all --force --volumes" "network prune --force" "volume prune --force" "image prune --force"; do
        # shellcheck disable=SC2086  # several words
        "$podman" $words >/dev/null 2>&1 || true
    done
}
trap tidy EXIT
export GATEPOST_PODMAN="$podman"
cd "$here"
unshare --net --mount --propagation private sh -c 'ip link set lo up && exec "$@"' proof \
    .venv/bin/pytest -q -n 0 -o timeout=1500 tests/system/test_compose.py "$@"
