#!/usr/bin/env bash
# Run the stress tests on an extension built with ThreadSanitizer.
#
#     PYTHON=... test_tsan.sh [PYTEST ARGUMENT...]
#
# The interpreter has to be a free-threaded one that was built with ThreadSanitizer itself (configure --disable-gil
# --with-thread-sanitizer): in any other, what CPython orders by its own atomics looks like races. It has to have pytest
# and setuptools, on PYTHONPATH for one that was built without pip. Hence this is no step of the CI: building that
# interpreter takes longer than all the steps.
set -euo pipefail
cd "$(dirname "$0")/.."

py=${PYTHON:?name an interpreter that was built with --with-thread-sanitizer}
"$py" - <<'EOF' || exit 1
import sys, sysconfig
if "--with-thread-sanitizer" not in (sysconfig.get_config_var("CONFIG_ARGS") or ""):
    sys.exit(f"treadle: {sys.executable} was not built with --with-thread-sanitizer")
if not sysconfig.get_config_var("Py_GIL_DISABLED"):
    sys.exit(f"treadle: {sys.executable} has a GIL, under which threads cannot race")
EOF

lib=$PWD/build/lib-tsan
reports=$PWD/build/tsan-reports
TREADLE_SANITIZE=thread "$py" setup.py -q build --build-lib "$lib"
rm -rf "$reports"
mkdir -p "$reports"
export TSAN_OPTIONS=log_path=$reports/tsan:exitcode=0:history_size=5:${TSAN_OPTIONS:-}
export PYTHON_GIL=0 PYTHONPATH=$lib:$PWD/tests${PYTHONPATH:+:$PYTHONPATH} TREADLE_SANITIZED=1
export TREADLE_STRESS_SECONDS=${TREADLE_STRESS_SECONDS:-2}
# ThreadSanitizer cannot map its shadow where addresses are randomised by many bits.
run=()
if command -v setarch >/dev/null && setarch -R true 2>/dev/null; then run=(setarch -R); fi
[ $# -gt 0 ] || set -- tests/loop/test_stress.py tests/threads/test_stress.py tests/sync/test_stress.py
status=0
"${run[@]}" "$py" -m pytest -q -p no:cacheprovider "$@" || status=$?
for report in "$reports"/*; do
    [ -e "$report" ] || continue
    echo "=== $report" >&2
    head -n 120 "$report" >&2
    status=1
done
exit $status
