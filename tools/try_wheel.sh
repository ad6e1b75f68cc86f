#!/usr/bin/env bash
# Build the sdist, the wheel from the sdist, and try the wheel in an empty
# environment, away from the sources.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD
py=$(tools/env.sh --no-build wheel)
out=$root/build/wheel
rm -rf "$out"
"$py" -m build --outdir "$out" . >"$root/build/wheel.log" 2>&1 || {
    tail -n 40 "$root/build/wheel.log" >&2
    exit 1
}
"$py" -m venv "$out/venv"
"$out/venv/bin/python" -m pip install -q --disable-pip-version-check --no-index "$out"/*.whl
cp tools/smoke.py "$out/smoke.py"
(cd "$out" && env -u PYTHONPATH venv/bin/python -I smoke.py "$root")
ls -1 "$out"/*.whl "$out"/*.tar.gz
mkdir -p dist
cp "$out"/*.whl "$out"/*.tar.gz dist/
