#!/usr/bin/env bash
# Run the tests under the latest DIALS, beside the DIALS of this system.
#
#   tools/test-latest.sh [ARGUMENT OF PYTEST...]
#   tools/test-latest.sh --install
#
# The second form ends where the tests could begin.
#
# $DIALS_LATEST_RUN names the program that gives this DIALS. It is called as
#
#   RUNNER DIR COMMAND [ARGUMENT...]
#
# and runs the command in DIR, which the command sees under the same path, on a system
# whose /usr/bin/python3 has DIALS. A program dials-latest-build beside it is called
# first; it makes this system where it is not there yet. The environment for the tests
# is .venv-latest in the checkout. Pytest's line comes last.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

runner=$(latest_runner)
[[ -n $runner ]] || die "the latest DIALS is needed: DIALS_LATEST_RUN= must name a program that runs 'RUNNER DIR COMMAND [ARGUMENT...]' under it"

builder=$(dirname "$runner")/dials-latest-build
if [[ -x $builder ]]; then
    log=$(mktemp)
    say "building the latest DIALS where it is missing (the first time about three minutes)"
    if ! "$builder" ${DIALS_LATEST:+"$DIALS_LATEST"} >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        die "$builder failed; all that it printed is in $log"
    fi
    rm -f "$log"
fi

within() { "$runner" "$root" "$@"; }

within python3 -c 'from dials.array_family import flex' ||
    die "$runner gives no system whose python3 has DIALS"

# The runner may clear the environment, or not. What leads pip to its packages has to go
# along, of files what is there on the other side; another Python must not.
settings=(-u PYTHON -u VIRTUAL_ENV -u CONDA_PREFIX)
for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST PIP_DEFAULT_TIMEOUT \
    http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    [[ -n ${!name:-} ]] && settings+=("$name=${!name}")
done
for name in PIP_CERT SSL_CERT_FILE; do
    if [[ -n ${!name:-} ]] && within test -r "${!name}"; then
        settings+=("$name=${!name}")
    fi
done

within env "${settings[@]}" tools/install.sh --with-tests --venv .venv-latest
if [[ ${1:-} != --install ]]; then
    within tools/test.sh --venv .venv-latest "$@"
fi
