#!/usr/bin/env bash
# Run dials.pixel_histogram and say where its reports are.
#
#   tools/demo.sh [FILE...]
#
# Files of one folder go into one run, whose output is in demo/<name of the folder>.
# Without files, real ones in a `data` folder beside the checkout are used; where
# there are none, a small table is made.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

python=$(recorded python)
[[ -n $python ]] || die "not installed yet: make install"

absolute() { printf '%s/%s\n' "$(cd "$(dirname -- "$1")" && pwd -P)" "$(basename -- "$1")"; }

# The real files to show, one a line.
real_files() {
    local data name
    for data in "$root/../shared/data" "$root/../data"; do
        for name in ssx_CuNiR_test_data quartz_processed; do
            [[ -f $data/$name/indexed.refl ]] && absolute "$data/$name/indexed.refl"
        done
    done
    return 0
}

# A folder under demo/ that no earlier run of this demonstration has taken.
output_folder() {
    local name folder n=1
    name=demo/$(basename "$1")
    folder=$name
    while [[ " ${outputs[*]:-} " == *" $folder "* ]]; do
        n=$((n + 1))
        folder=${name}_$n
    done
    printf '%s\n' "$folder"
}

files=()
if [[ $# -gt 0 ]]; then
    for file in "$@"; do
        [[ -r $file ]] || die "cannot read $file"
        files+=("$(absolute "$file")")
    done
else
    while IFS= read -r file; do files+=("$file"); done < <(real_files)
    if [[ ${#files[@]} -eq 0 ]]; then
        say "no data folder beside the checkout: making a small table of spots"
        files=("$root/demo/small/indexed.refl")
        mkdir -p "$root/demo/small"
        "$python" "$root/tools/make_small_table.py" "${files[0]}"
    fi
fi

cd "$root"
outputs=()
while IFS= read -r folder; do
    run=()
    for file in "${files[@]}"; do
        [[ $(dirname -- "$file") == "$folder" ]] && run+=("$file")
    done
    output=$(output_folder "$folder")
    mkdir -p "$output"
    printf '\n$ dials.pixel_histogram %s output.directory=%s\n' "${run[*]}" "$output"
    "$python" -m dials_jungfrau_qc.command_line.pixel_histogram \
        "${run[@]}" output.directory="$output" </dev/null
    outputs+=("$output")
done < <(for file in "${files[@]}"; do dirname -- "$file"; done | awk '!seen[$0]++')

printf '\n'
for output in "${outputs[@]}"; do
    page=$root/$output/dials.pixel_histogram.html
    [[ -f $page ]] || die "no report in $output"
    say "the report is $page"
done
