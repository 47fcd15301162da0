#!/usr/bin/env bash
# The demonstration.
#
#   tools/demo.sh            the tutorial, from simulated images to its reports
#   tools/demo.sh FILE...    dials.pixel_histogram on these files
#
# Files of one folder go into one run, whose output is in demo/<name of the folder>.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

python=$(recorded python)
[[ -n $python ]] || die "not installed yet: make install"

absolute() { printf '%s/%s\n' "$(cd "$(dirname -- "$1")" && pwd -P)" "$(basename -- "$1")"; }

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

if [[ $# -eq 0 ]]; then
    exec "$python" "$root/tools/tutorial.py" "$root/demo/tutorial"
fi

files=()
for file in "$@"; do
    [[ -r $file ]] || die "cannot read $file"
    files+=("$(absolute "$file")")
done

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
