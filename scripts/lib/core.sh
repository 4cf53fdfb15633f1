# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The parts that build without a QEMU tree: C++ parts, their tests, and the
# firmware of the nested bench. Sourced, never run.

# shellcheck source=scripts/lib/packages.sh
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"
# shellcheck source=scripts/lib/progress.sh
source "$(dirname "${BASH_SOURCE[0]}")/progress.sh"

core_dir=$build_dir/core

# What tests/nested/run needs on the host
need_bench_packages()
{
    need_firmware
    need_packages busybox-static binutils iproute2 python3
}

build_core()
{
    need_packages g++ libc6-dev binutils ninja-build pkgconf python3 \
        libgtest-dev libbenchmark-dev ccache
    need_meson
    use_ccache
    make_dirs "$build_dir"
    if [ ! -e "$core_dir/build.ninja" ]; then
        run_logged "configuring the C++ parts" "$build_dir/core-setup.log" \
            /usr/bin/meson setup "$core_dir" "$repo_root"
    fi
    run_ninja "building the C++ parts" "$build_dir/core.log" -C "$core_dir"
}
