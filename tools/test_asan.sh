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

py=$(tools/env.sh --no-build test 'numpy?')
lib=$PWD/build/lib-asan-$(basename "$(dirname "$(dirname "$py")")")
cc=${CC:-cc}
TREADLE_SANITIZE=address,undefined "$py" setup.py -q build --build-lib "$lib"

runtime=$(readlink -f "$("$cc" -print-file-name=libasan.so)")

# Have fork() wait for the run-time library's locks: see asan_fork.c.  A library without
# these symbols is stripped, or new enough to do so itself.
make_fork_safe() {
    local name symbol address base flags=()
    command -v nm >/dev/null || return 1
    nm "$runtime" >"$lib/symbols" 2>/dev/null || return 1
    address_of() { awk -v symbol="$1" '$3 == symbol { print "0x" $1; found = 1 } END { exit !found }' "$lib/symbols"; }
    base=$(address_of __asan_init) || return 1
    while read -r name symbol; do
        address=$(address_of "$symbol") || return 1
        flags+=("-D$name=($address-$base)")
    done <<'NAMES'
LOCK_THREADS _ZN6__lsan18LockThreadRegistryEv
UNLOCK_THREADS _ZN6__lsan20UnlockThreadRegistryEv
LOCK_ALLOCATOR _ZN6__lsan13LockAllocatorEv
UNLOCK_ALLOCATOR _ZN6__lsan15UnlockAllocatorEv
LOCK_STACKS _ZN11__sanitizer17StackDepotLockAllEv
UNLOCK_STACKS _ZN11__sanitizer19StackDepotUnlockAllEv
NAMES
    "$cc" -O1 -Wall -shared -fPIC "${flags[@]}" -o "$lib/asan_fork.so" tests/support/asan_fork.c
}

preload="$runtime $("$cc" -print-file-name=libubsan.so)"
if make_fork_safe; then
    preload+=" $lib/asan_fork.so"
else
    echo "treadle: $runtime is used without asan_fork.c" >&2
fi
export LD_PRELOAD=$preload
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
