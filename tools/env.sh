#!/bin/sh
# Run env.py with the interpreter that find_python.sh chooses (PYTHON=).
set -eu
here=$(dirname "$0")
python=$("$here/find_python.sh")
exec "$python" -I "$here/env.py" "$@"
