# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The C++ parts built with clang's sanitizers, and fuzz targets.
# Sourced, never run.

# shellcheck source=scripts/lib/core.sh
source "$(dirname "${BASH_SOURCE[0]}")/core.sh"
# shellcheck source=scripts/lib/qemu-tree.sh
source "$(dirname "${BASH_SOURCE[0]}")/qemu-tree.sh"

# What fuzz targets leave behind: logs, and inputs that crash
fuzz_dir=$build_dir/fuzz

# QEMU as clang compiles it, of which nothing but a fuzz target is built
clang_objects=$build_dir/qemu-clang

# The allocator may refuse, as tests ask it to; what is found ends the process
use_sanitizers()
{
    local options=allocator_may_return_null=1:halt_on_error=1

    export ASAN_OPTIONS=$options:abort_on_error=1
    export TSAN_OPTIONS=$options
    export UBSAN_OPTIONS=print_stacktrace=1:$options
}

need_clang()
{
    # The second has what -fsanitize= links, the third names functions
    need_packages clang libclang-rt-dev llvm
}

# build_sanitized FOLDER SANITIZERS [MESON_OPTION]...
build_sanitized()
{
    local folder=$1 sanitizers=$2 name
    shift 2

    name=$(basename "$folder")
    need_clang
    CXX="ccache clang++" build_core_in "$folder" \
        "the C++ parts with $sanitizers sanitizers" "$name" \
        -Db_sanitize="$sanitizers" -Db_lundef=false \
        -Dcpp_args=-fno-sanitize-recover=all "$@"
}

# The conversion path needs QEMU's headers: its tests are in the tree that
# scripts/build-qemu made and configured
build_conversion_tests()
{
    use_tree "$build_dir"
    lock_or_wait build-qemu
    use_ccache
    run_ninja "building tests of the conversion path" \
        "$build_dir/conversion.log" -C "$objects" \
        tests/shared-dma/conversion/conversion-threads tests/shared-dma/conversion/conversion-replay
}

build_conversion_fuzz()
{
    use_tree "$build_dir"
    objects=$clang_objects
    lock_or_wait build-qemu
    need_clang
    use_ccache
    common_arguments clang clang++
    small_arguments
    configure_qemu
    run_ninja "building the fuzz target of the conversion path" \
        "$build_dir/conversion-fuzz.log" -C "$objects" \
        tests/shared-dma/conversion/conversion-fuzz
}

# libFuzzer tells each new input, and now and then that it is alive
follow_fuzz()
{
    local label=$1 runs=$2 line percent progress_next=20 progress_shown=

    while IFS= read -r line; do
        printf '%s\n' "$line" >&8
        if [[ $line =~ ^'#'([0-9]+) ]]; then
            percent=$((BASH_REMATCH[1] * 100 / runs))
            show_percent "$label" $((percent < 100 ? percent : 100)) \
                "(${BASH_REMATCH[1]}/$runs runs)"
        fi
    done
    end_percent
}

# run_fuzz_target PROGRAM CORPUS RUNS [OPTION]...: the same each time. Prints
# nothing but progress; the log has "steps N" at its end.
run_fuzz_target()
{
    local program=$1 corpus=$2 runs=$3 name found
    shift 3

    name=$(basename "$program")
    found=$fuzz_dir/$name.found
    rm -rf "$found"
    make_dirs "$found"
    # What is found goes to the first folder, and the second one stays as it is
    run_followed "fuzzing with $name" "$fuzz_dir/$name.log" \
        follow_fuzz "$name" "$runs" -- \
        "$program" -runs="$runs" -seed=1 -print_final_stats=1 "$@" \
        -artifact_prefix="$fuzz_dir/$name-" "$found" "$corpus"
}

# fuzz_steps PROGRAM: how many operations it did the last time
fuzz_steps()
{
    local steps

    steps=$(sed -n 's/^steps //p' "$fuzz_dir/$(basename "$1").log" | tail -n 1)
    printf '%s\n' "${steps:-0}"
}
