#!/usr/bin/env bash
# tests/conformance/run.py and run_loop.py on each interpreter (PYTHONS=).  One
# that ships without test.test_concurrent_futures borrows it from the oldest that
# has it; one without test.test_asyncio says that it skips run_loop.py.
#
# Of the process classes only the largest two, with workers of a fork server, are run, unless
# TREADLE_CONFORMANCE_ONLY= (empty: all, which takes minutes for each interpreter).
set -euo pipefail
cd "$(dirname "$0")/.."

has_suite() {
    "$1" -I -c 'import sys, importlib.util as u
sys.exit(not (u.find_spec("test") and u.find_spec("test.test_concurrent_futures")))'
}

if [ -n "${TREADLE_SUITE_FROM+set}" ]; then  # one interpreter, called by each.sh
    py=$(tools/env.sh)
    loop=0
    "$py" tests/conformance/run_loop.py || loop=$?
    if has_suite "$py"; then
        pools=0
        "$py" tests/conformance/run.py || pools=$?
        "$py" tests/conformance/run.py --area processes --only "${TREADLE_CONFORMANCE_ONLY-ForkserverProcessPool}"
        exit "$((loop | pools))"
    elif [ -n "$TREADLE_SUITE_FROM" ]; then
        "$py" tests/conformance/run.py --suite-from "$TREADLE_SUITE_FROM"
        exit "$loop"
    fi
    echo "skipped: this interpreter has no test.test_concurrent_futures and none was found that has"
    exit "$loop"
fi

export TREADLE_SUITE_FROM=
while read -r python; do
    if has_suite "$python"; then
        TREADLE_SUITE_FROM=$python
        break
    fi
done < <(PYTHONS='' tools/find_python.sh all)
exec tools/each.sh conformance tools/conformance.sh
