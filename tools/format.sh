#!/usr/bin/env bash
# clang-format (from PyPI, one version for everybody) on the C sources.
#
#     format.sh -i | --dry-run --Werror
set -euo pipefail
cd "$(dirname "$0")/.."

py=$(tools/env.sh --no-build format)
git ls-files -z '*.c' '*.h' | xargs -0 -r "$(dirname "$py")/clang-format" "$@"
