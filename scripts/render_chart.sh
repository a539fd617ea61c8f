#!/bin/sh
# Writes deploy/helm/rendered.yaml, what the chart makes of its defaults, with Helm 3.8 or newer (HELM=... names it).
# The first line has the hash of the chart's files: tests/unit/test_deploy.py finds that it is not current.
set -eu
cd "$(dirname "$0")/../deploy/helm"
helm=${HELM:-helm}
"$helm" lint --strict gatepost >&2
hash=$(cd gatepost && LC_ALL=C find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d' ' -f1)
{
    echo "# $hash"
    echo "# Rendered by scripts/render_chart.sh from the chart beside it; tests read it."
    "$helm" template mail gatepost --kube-version 1.30.0
} >rendered.yaml.new
mv rendered.yaml.new rendered.yaml
