#!/usr/bin/env bash
# Run pytest in the installed environment, arguments handed on. Pytest's line comes last.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

python=$(recorded python)
[[ -n $python ]] || die "not installed yet: make install"
cd "$root"
exec "$python" -m pytest "$@"
