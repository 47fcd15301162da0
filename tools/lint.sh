#!/usr/bin/env bash
# Check style and formatting with ruff: the one on PATH, else one put into .venv.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

cd "$root"
ruff=$(command -v ruff || true)
if [[ -z $ruff ]]; then
    ruff=$root/.venv/bin/ruff
    if [[ ! -x $ruff ]]; then
        [[ -x .venv/bin/python ]] || die "no ruff on PATH: pip install ruff, or make install first"
        say "installing ruff into .venv"
        .venv/bin/python -m pip install -qq --disable-pip-version-check ruff
    fi
fi
"$ruff" check .
"$ruff" format --check .
