#!/usr/bin/env bash
# Run pytest in the installed environment, arguments handed on. Pytest's line comes last.
#
#   tools/test.sh [--venv NAME] [ARGUMENT OF PYTEST...]

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if [[ ${1:-} == --venv ]]; then
    use_venv "${2:?--venv needs a name}"
    shift 2
fi
python=$(recorded python)
[[ -n $python ]] || die "not installed yet: make install"
cd "$root"
exec "$python" -m pytest "$@"
