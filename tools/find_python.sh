#!/bin/sh
# Print the interpreter to work with, or every supported one.
#
#     find_python.sh        the first that will do; one line on stderr and exit
#                           status 1 if there is none
#     find_python.sh all    one of each version and build, a line each
#
# Environment: PYTHON names the one to use and stops the search; PYTHONS (blank
# separated) does the same for "all".
#
# Looked at, in this order: python3 and python3.N on PATH, pyenv's versions,
# and ${XDG_CACHE_HOME:-~/.cache}/pythons/*.  Each is run: a pyenv shim of a
# version that is not selected is on PATH and does not work.
set -eu

oldest=11
newest=15

# What an interpreter is: "3 13 t /path/to/python", or nothing if it is none.
probe() {
    "$1" -I - 2>/dev/null <<'PROBE' || true
import sys
if sys.implementation.name == "cpython":
    print(sys.version_info[0], sys.version_info[1], "abi" + sys.abiflags, sys.executable)
PROBE
}

supported() {  # MAJOR MINOR...
    [ "${1:-0}" -eq 3 ] && [ "$2" -ge $oldest ] && [ "$2" -le $newest ]
}

candidates() {
    echo python3
    for minor in 15 14 13 12 11; do
        echo "python3.$minor"
        echo "python3.${minor}t"
    done
    for directory in "${PYENV_ROOT:-$HOME/.pyenv}/versions" "${XDG_CACHE_HOME:-$HOME/.cache}/pythons"; do
        for python in "$directory"/*/bin/python3; do
            [ ! -x "$python" ] || echo "$python"
        done
    done
}

named() {  # an interpreter that was asked for by name has to do
    found=$(probe "$1")
    if [ -z "$found" ]; then
        echo "treadle: $1 is not a CPython interpreter that can be run" >&2
        return 1
    fi
    # shellcheck disable=SC2086
    if ! supported $found; then
        echo "treadle: $1 is too old or too new: Python 3.$oldest to 3.$newest is needed" >&2
        return 1
    fi
    echo "${found#* * * }"
}

one() {
    if [ -n "${PYTHON:-}" ]; then
        named "$PYTHON"
        return
    fi
    for python in $(candidates); do
        found=$(probe "$python")
        # shellcheck disable=SC2086
        if supported $found; then
            echo "${found#* * * }"
            return
        fi
    done
    echo "treadle: no Python 3.$oldest or newer found: install one, or name it with PYTHON=" >&2
    return 1
}

all() {
    if [ -n "${PYTHONS:-}" ]; then
        for python in $PYTHONS; do
            named "$python"
        done
        return
    fi
    seen=" "
    for python in $(candidates); do
        found=$(probe "$python")
        # shellcheck disable=SC2086
        supported $found || continue
        path=${found#* * * }
        kind=${found%" $path"}
        case $seen in *" [$kind] "*) continue ;; esac
        seen="$seen[$kind] "
        printf '%s %s\n' "$kind" "$path"
    done | sort -k2,2n -k3,3 | cut -d' ' -f4-
}

case ${1:-one} in
    one) one ;;
    all) all ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0" >&2; exit 2 ;;
esac
