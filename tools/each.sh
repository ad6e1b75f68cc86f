#!/usr/bin/env bash
# Run a command once for each interpreter (PYTHONS=), with PYTHON set, and sum up.
#
#     each.sh NAME COMMAND...
#
# An interpreter that was not asked for by name is left out, with the reason,
# if it cannot build anything: no Python.h, no venv module.  So is EXCEPT=, which
# somebody else takes care of.  With EACH_LIMIT= (as for timeout(1)) a command is killed
# after that time.
set -euo pipefail
cd "$(dirname "$0")/.."

name=$1
shift
found=$(tools/find_python.sh all)
[ -n "$found" ] || { echo "treadle: no supported interpreter found" >&2; exit 1; }
mapfile -t pythons <<<"$found"

limited=()
[ -z "${EACH_LIMIT:-}" ] || limited=(timeout --kill-after=30 "$EACH_LIMIT")

summary=()
failed=0
ran=0
for python in "${pythons[@]}"; do
    version=$("$python" -VV 2>&1 | tr '\n' ' ')
    if [ "$python" = "${EXCEPT:-}" ]; then
        summary+=("left out $version")
        continue
    fi
    if [ -z "${PYTHONS:-}" ] && ! reason=$("$python" -I tools/env.py --check 2>&1); then
        summary+=("skipped  $python ($reason)")
        continue
    fi
    printf '\n=== %s on %s (%s)\n' "$name" "$python" "$version"
    start=$SECONDS
    ran=$((ran + 1))
    if PYTHON=$python PYTHONS='' "${limited[@]}" "$@"; then
        outcome=passed
    else
        outcome=FAILED
        failed=$((failed + 1))
    fi
    summary+=("$outcome   $version($((SECONDS - start)) s)")
done

printf '\n=== %s\n' "$name"
printf '%s\n' "${summary[@]}"
[ $failed -eq 0 ] && [ $ran -gt 0 ]
