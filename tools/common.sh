# Shared by the scripts of this folder, which source it. Not run by itself.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

# What `make install` did: three lines "python=", "tests=" and "key=".
record=$root/.installed

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
