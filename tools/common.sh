# Shared by the scripts of this folder, which source it. Not run by itself.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

# The environment over Debian's Python, and what `make install` did: three lines
# "python=", "tests=" and "key=". Another system that shares the checkout, as that of
# tools/test-latest.sh, has its own: `use_venv NAME`.
venv=$root/.venv
record=$root/.installed
use_venv() {
    venv=$root/$1
    record=$venv/installed
}

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*"; }
die() {
    printf '%s: error: %s\n' "$(basename "$0" .sh)" "$*" >&2
    exit 1
}

# The value that the record keeps under a name, or nothing.
recorded() { sed -n "s/^$1=//p" "$record" 2>/dev/null || true; }

# Commands that need root, run as root or through sudo.
as_root() {
    if [[ $(id -u) -eq 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        say "root is needed for: $*" >&2
        return 1
    fi
}

# apt_install LOG PACKAGE...: quiet, with apt's own words kept in LOG.
apt_install() {
    local log=$1
    shift
    command -v apt-get >/dev/null || return 1
    # One unreachable list must not stop packages that another list offers.
    as_root apt-get -qq -o DPkg::Lock::Timeout=300 update >"$log" 2>&1 || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
        -o DPkg::Lock::Timeout=300 install "$@" >>"$log" 2>&1
}

# The program that runs a command under the latest DIALS, or nothing: the one that
# $DIALS_LATEST_RUN names, else the one in the folder shared beside the checkout.
latest_runner() {
    if [[ -n ${DIALS_LATEST_RUN:-} ]]; then
        command -v -- "$DIALS_LATEST_RUN" || true
    elif [[ -x $root/../shared/tools/dials-latest-run ]]; then
        printf '%s\n' "$(cd "$root/../shared/tools" && pwd -P)/dials-latest-run"
    fi
}
