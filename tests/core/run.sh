#!/bin/sh
# Run test programs one after the other and sum up their last lines.
#
#     run.sh PROGRAM...
#
# A program that crashes, hangs or is stopped by a sanitizer counts as one more
# failure, whatever its own tests said.  The last line is "N passed, N failed".

passed=0
failed=0
log=$(mktemp) || exit 2
trap 'rm -f "$log"' EXIT

for program in "$@"; do
    timeout "${CHECK_TIMEOUT:-120}" "$program" >"$log" 2>&1
    status=$?
    kind=$(basename "$(dirname "$program")")
    grep -v '^[0-9]* passed, [0-9]* failed$' "$log" | sed "s|^ok   |&$kind/|; s|^FAIL |&$kind/|"
    summary=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log" | tail -n 1)
    good=${summary% *}
    bad=${summary#* }
    passed=$((passed + ${good:-0}))
    failed=$((failed + ${bad:-0}))
    if [ "$status" -ne 0 ] && [ "${bad:-0}" -eq 0 ]; then
        echo "FAIL $program: exit status $status"
        failed=$((failed + 1))
    elif [ -z "$summary" ]; then
        echo "FAIL $program: ended without a summary"
        failed=$((failed + 1))
    fi
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
