#!/usr/bin/env bash
# Run the Python tests on an extension built with ASan and UBSan.
#
#     test_asan.sh [PYTEST ARGUMENT...]
#
# The interpreter itself is not sanitized, so the run-time library has to be
# preloaded, its allocator has to see every object (PYTHONMALLOC=malloc), and
# leaks are not looked for: an interpreter leaves much behind at its exit.
set -euo pipefail
cd "$(dirname "$0")/.."

py=$(tools/env.sh --no-build test)
lib=$PWD/build/lib-asan-$(basename "$(dirname "$(dirname "$py")")")
cc=${CC:-cc}
TREADLE_SANITIZE=address,undefined "$py" setup.py -q build --build-lib "$lib"

export LD_PRELOAD
LD_PRELOAD="$("$cc" -print-file-name=libasan.so) $("$cc" -print-file-name=libubsan.so)"
# Some tests start processes whose stderr nobody sees, so ASan reports to files.
# UBSan does not listen to log_path; stderr is left uncaptured for it.
reports=$PWD/build/asan-reports
rm -rf "$reports"
mkdir -p "$reports"
export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=1:allocator_may_return_null=1
ASAN_OPTIONS+=:log_path=$reports/asan
# Freed blocks are held back for a while; the default of 256 MB looks like a leak to the leak test.
ASAN_OPTIONS+=:quarantine_size_mb=32
export UBSAN_OPTIONS=print_stacktrace=1
export PYTHONMALLOC=malloc PYTHONPATH=$lib PYTHONDONTWRITEBYTECODE=1 TREADLE_SANITIZED=1
loaded=$("$py" -c 'import treadle._native as n; print(n.__file__)')
case $loaded in
    "$lib"/*) ;;
    *) echo "treadle: $loaded was imported, not the sanitized build" >&2; exit 1 ;;
esac
status=0
"$py" -m pytest -q --capture=sys "$@" || status=$?
unset LD_PRELOAD
for report in "$reports"/*; do
    [ -e "$report" ] || continue
    echo "=== $report" >&2
    head -n 60 "$report" >&2
    status=1
done
exit $status
