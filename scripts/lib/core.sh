# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Builds the parts that need no QEMU tree: C++ parts, their tests, and the
# firmware of the nested tests. To be sourced.

# shellcheck source=scripts/lib/packages.sh
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"
# shellcheck source=scripts/lib/progress.sh
source "$(dirname "${BASH_SOURCE[0]}")/progress.sh"

core_dir=$build_dir/core

# Installs the packages that tests/nested/run needs on the host
need_bench_packages()
{
    need_packages seabios qemu-system-data busybox-static binutils iproute2 \
        fio ethtool kexec-tools \
        python3 python3-pytest
}

# build_core_in FOLDER WHAT NAME_OF_LOG [MESON_OPTION]...
build_core_in()
{
    local folder=$1 what=$2 log=$build_dir/$3
    shift 3

    need_packages g++ libc6-dev binutils ninja-build pkgconf python3 \
        libgtest-dev libbenchmark-dev ccache
    need_meson
    use_ccache
    make_dirs "$build_dir"
    if [ ! -e "$folder/build.ninja" ]; then
        run_logged "configuring $what" "$log-setup.log" \
            /usr/bin/meson setup "$folder" "$repo_root" "$@"
    fi
    run_ninja "building $what" -C "$folder"
}

build_core()
{
    build_core_in "$core_dir" "the C++ parts" core
}
