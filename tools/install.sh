#!/usr/bin/env bash
# Find or make a Python with DIALS and install this plugin into it.
#
#   tools/install.sh [--with-tests] [--venv NAME]
#
# The Python is, in this order: $PYTHON; an active environment that has DIALS;
# Debian's Python with Debian's DIALS, over which .venv is made, or what --venv names.
# What was done is recorded, so that a second run only checks that it still stands.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

debian_python=/usr/bin/python3
debian_packages=/usr/lib/python3/dist-packages
conda_command="conda create -n dials -c conda-forge dials"

has_dials() { "$1" -c 'from dials.array_family import flex' </dev/null >/dev/null 2>&1; }

has_venv() { "$1" -c 'import ensurepip, venv' </dev/null >/dev/null 2>&1; }

# Does this Python belong to the system itself, or to the .venv made over it? Both
# mean "work in .venv": nobody's system is changed beside what apt puts there.
is_system_python() {
    "$1" - "$venv" <<'EOP' 2>/dev/null
import os, sys
same = os.path.realpath(sys.prefix) in ("/usr", os.path.realpath(sys.argv[1]))
sys.exit(not (sys.base_prefix == "/usr" and same))
EOP
}

# Does this Python (first argument) take a module (second) from Debian's packages?
# The links of .venv lead there too, so the path must be resolved first.
takes_from_debian() {
    "$1" - "$2" "$debian_packages" <<'EOP' 2>/dev/null
import importlib.util, os, sys
module, packages = sys.argv[1:]
path = os.path.realpath(importlib.util.find_spec(module).origin)
sys.exit(not path.startswith(packages + os.sep))
EOP
}

# Sets `base`, the Python that the installation starts from.
choose_base() {
    local candidate
    if [[ -n ${PYTHON:-} ]]; then
        base=$(command -v -- "$PYTHON") || die "PYTHON=$PYTHON is not a program"
        [[ $base == /* ]] || base=$PWD/$base
        has_dials "$base" || is_system_python "$base" ||
            die "PYTHON=$PYTHON cannot import DIALS; leave PYTHON out, or get DIALS with: $conda_command"
        return
    fi
    for candidate in \
        "${VIRTUAL_ENV:+$VIRTUAL_ENV/bin/python}" "${CONDA_PREFIX:+$CONDA_PREFIX/bin/python}" \
        dials.python libtbx.python python3; do
        [[ -n $candidate ]] && base=$(command -v -- "$candidate") || continue
        if has_dials "$base"; then return; fi
    done
    base=$debian_python
}

require_debian_packages() {
    local packages=() log
    has_dials "$debian_python" || packages+=(dials)
    has_venv "$debian_python" || packages+=(python3-venv)
    [[ ${#packages[@]} -eq 0 ]] && return
    log=$(mktemp)
    say "installing ${packages[*]} with apt-get (the first time about two minutes)"
    if ! apt_install "$log" "${packages[@]}" || ! has_dials "$debian_python"; then
        tail -n 5 "$log" >&2
        rm -f "$log"
        die "no DIALS here and none from apt-get. Get it with '$conda_command', then 'conda activate dials' and come back"
    fi
    rm -f "$log"
}

make_venv() {
    if [[ -x $venv/bin/python ]] && ! is_system_python "$venv/bin/python" &&
        "$venv/bin/python" -c '' 2>/dev/null; then
        die "$venv is there already and is not over $debian_python; move it away"
    fi
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        say "making $(basename "$venv") over $debian_python"
        "$debian_python" -m venv --clear --system-site-packages "$venv"
    fi
    # cctbx looks for its environment and its repositories under sys.prefix, which is
    # .venv now: without the first link no program of DIALS starts.
    ln -sfn /usr/lib/cctbx "$venv/lib/cctbx"
    ln -sfn /usr/lib/python3 "$venv/lib/python3"
}

# Errors only: pip also warns of Debian's packages, which it sees through the links.
pip_install() { "$python" -m pip install -qq --disable-pip-version-check "$@" </dev/null; }

# Does this Python's plotly carry the script that reports embed? Debian's does not.
has_plotly_script() {
    "$1" -c 'import os, plotly; os.stat(plotly.__path__[0] + "/package_data/plotly.min.js")' \
        </dev/null >/dev/null 2>&1
}

imports() { "$python" -c "import $1" </dev/null >/dev/null 2>&1; }

# The requirements are resolved here and not by pip. Debian's h5py goes by a name that
# pip does not know, so that pip would add a second one with an HDF5 library of its
# own, and then dxtbx's older NeXus formats fail.
install_over_debian_dials() {
    local wanted=() module scripts
    if ! has_plotly_script "$python"; then
        # Debian's package would satisfy pip, whatever its version, and lacks the script.
        say "installing plotly"
        pip_install --ignore-installed "plotly>=6"
    fi
    for module in isal jinja2 tabulate tqdm; do
        imports "$module" || wanted+=("$module")
    done
    if [[ ${#wanted[@]} -gt 0 ]]; then
        say "installing ${wanted[*]}"
        pip_install "${wanted[@]}"
    fi
    if ! imports hdf5plugin; then
        say "installing hdf5plugin"
        pip_install --no-deps hdf5plugin
    fi
    if ! takes_from_debian "$python" h5py; then
        say "removing a second h5py, which does not go with Debian's DIALS"
        "$python" -m pip uninstall -qq -y h5py </dev/null
    fi
    scripts=$("$python" -c 'import sysconfig; print(sysconfig.get_path("scripts"))')
    if [[ $tests == yes ]] && ! { [[ -x $scripts/pytest ]] && imports "pytest, hypothesis, jsonschema"; }; then
        # A pytest of Debian's would satisfy pip and leave no pytest beside this Python.
        say "installing pytest, hypothesis and jsonschema"
        pip_install --ignore-installed pytest hypothesis jsonschema
    fi
    say "installing dials_jungfrau_qc"
    pip_install --no-deps -e "$root"
}

install_into_environment() {
    "$python" -m pip --version >/dev/null 2>&1 ||
        die "$python has no pip, which installing needs: $python -m ensurepip, or conda install pip"
    if [[ $tests == yes ]]; then
        say "installing dials_jungfrau_qc with the requirements of its tests"
        pip_install -e "$root[test]"
    else
        say "installing dials_jungfrau_qc"
        pip_install -e "$root"
    fi
}

# Is the plugin that this Python imports the one of this checkout, and DIALS there?
# From another folder: here the package would be found without being installed.
stands() {
    (cd / && "$python" - "$root" "$tests" "$debian_packages" <<'EOP' >/dev/null 2>&1
import os, sys
from importlib.metadata import distribution
import dials, h5py, hdf5plugin, isal, jinja2, plotly, tabulate, tqdm
from dials.array_family import flex
import dials_jungfrau_qc
root, tests, debian_packages = sys.argv[1:]
assert os.path.samefile(os.path.dirname(dials_jungfrau_qc.__path__[0]), root)
distribution("dials_jungfrau_qc")
os.stat(plotly.__path__[0] + "/package_data/plotly.min.js")
if os.path.realpath(dials.__file__).startswith(debian_packages):
    assert os.path.realpath(h5py.__file__).startswith(debian_packages)
if tests == "yes":
    import hypothesis, jsonschema, pytest
EOP
    )
}

installation_key() {
    cat "$root"/setup.py "$root"/pyproject.toml "$root"/dials_jungfrau_qc/_version.py \
        "$root"/tools/install.sh | cksum | tr ' ' '-'
}

tests=no
while [[ $# -gt 0 ]]; do
    case $1 in
    --with-tests) tests=yes ;;
    --venv)
        shift
        use_venv "${1:?--venv needs a name}"
        ;;
    *) die "usage: tools/install.sh [--with-tests] [--venv NAME]" ;;
    esac
    shift
done

choose_base
if is_system_python "$base"; then
    base=$debian_python
    python=$venv/bin/python
    tests=yes # .venv is ours alone: nobody minds pytest there
else
    python=$base
fi

key=$(installation_key)
if [[ $(recorded python) == "$python" && $(recorded key) == "$key" &&
    ($tests == no || $(recorded tests) == yes) ]] && stands; then
    say "up to date with $python"
    exit 0
fi

rm -f "$record"
say "DIALS from $base"
if [[ $python == "$venv/bin/python" && $base == "$debian_python" ]]; then
    require_debian_packages
    make_venv
fi
if takes_from_debian "$python" dials; then
    install_over_debian_dials
else
    install_into_environment
fi
stands || die "$python does not import DIALS and dials_jungfrau_qc together; 'make clean' and try again"
printf 'python=%s\ntests=%s\nkey=%s\n' "$python" "$tests" "$key" >"$record"
say "done: $("$python" -c 'import dials_jungfrau_qc as p; print("dials_jungfrau_qc", p.__version__)') in $python"
