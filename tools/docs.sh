#!/usr/bin/env bash
# Make the pages of docs/ that follow from the programs.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

python=$(recorded python)
[[ -n $python ]] || die "not installed yet: make install"
cd "$root"
exec "$python" tools/make_docs.py
