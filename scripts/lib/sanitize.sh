# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Builds the C++ parts and fuzz targets with clang's sanitizers. To be sourced.

# shellcheck source=scripts/lib/core.sh
source "$(dirname "${BASH_SOURCE[0]}")/core.sh"
# shellcheck source=scripts/lib/qemu-tree.sh
source "$(dirname "${BASH_SOURCE[0]}")/qemu-tree.sh"

# Build folder of QEMU configured for clang. Only a fuzz target that needs
# QEMU's headers is built there.
clang_objects=$build_dir/qemu-clang

# Allows allocations to fail, as some tests require, and aborts on errors
use_sanitizers()
{
    local options=allocator_may_return_null=1:halt_on_error=1

    export ASAN_OPTIONS=$options:abort_on_error=1
    export TSAN_OPTIONS=$options
    export UBSAN_OPTIONS=print_stacktrace=1:$options
}

need_clang()
{
    # libclang-rt-dev has the runtimes, llvm has the symbolizer
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

configure_clang_qemu()
{
    select_base
    objects=$clang_objects
    lock_or_wait build-qemu
    need_clang
    use_ccache
    common_arguments clang clang++
    small_arguments
    configure_qemu
}
