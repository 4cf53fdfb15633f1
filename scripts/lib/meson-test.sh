# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Runs "meson test" and the steps that it needs. To be sourced.

# shellcheck source=scripts/lib/core.sh
source "$(dirname "${BASH_SOURCE[0]}")/core.sh"

# Evaluated by count_results
results=()
failed_steps=0

# step COMMAND...: runs a build step; a failed one counts as a failed test
step()
{
    if ! ("$@") </dev/null; then
        failed_steps=$((failed_steps + 1))
        return 1
    fi
}

# find_meson FOLDER: prints the meson that configured FOLDER; QEMU has its own
find_meson()
{
    if [ -x "$1/pyvenv/bin/meson" ]; then
        printf '%s\n' "$1/pyvenv/bin/meson"
    else
        printf '/usr/bin/meson\n'
    fi
}

# has_test FOLDER NAME [OPTION]...
has_test()
{
    local folder=$1 name=$2
    shift 2

    # grep -q would end early, and meson could fail to write the rest
    "$(find_meson "$folder")" test -C "$folder" --list "$@" 2>/dev/null |
        grep -xE "(.* / )?$name" >/dev/null
}

# meson_test FOLDER LOG JOBS [OPTION]...
meson_test()
{
    local folder=$1 log=$2 jobs=$3
    shift 3

    rm -f "$folder/meson-logs/$log".*
    results+=("$folder/meson-logs/$log.junit.xml")
    use_ccache
    "$(find_meson "$folder")" test -C "$folder" --logbase "$log" \
        --num-processes "$jobs" --print-errorlogs "$@" </dev/null || true
}

# build_tests_in_qemu FOLDER [OPTION]...: builds the tests of the suites that
# the options select (see lib/qemu_suites.py). "meson test" would build all of
# QEMU.
build_tests_in_qemu()
{
    local folder=$1 targets
    shift

    use_ccache
    # The lists of tests and targets must be those of the present meson.build
    run_ninja "configuring ${folder#"$repo_root/"}" -C "$folder" build.ninja
    mapfile -t targets < <(/usr/bin/python3 \
        "$(dirname "${BASH_SOURCE[0]}")/qemu_suites.py" targets "$folder" "$@")
    run_ninja "building the tests in ${folder#"$repo_root/"}" -C "$folder" \
        "${targets[@]:?no test is in these suites}"
}

# test_in_qemu FOLDER LOG JOBS SUITE_OPTION... [-- NAME...]
test_in_qemu()
{
    local folder=$1 log=$2 jobs=$3 suites=()
    shift 3

    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        suites+=("$1")
        shift
    done
    if step build_tests_in_qemu "$folder" "${suites[@]}"; then
        meson_test "$folder" "$log" "$jobs" --no-rebuild "${suites[@]}" \
            "${@:2}"
    fi
}

# count_results [OPTION]...: prints the totals, and returns whether all passed
count_results()
{
    /usr/bin/python3 "$(dirname "${BASH_SOURCE[0]}")/meson_results.py" \
        --failed "$failed_steps" "$@" "${results[@]}"
}
