# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Builds Debian packages on Debian 13: on the host if it is one, otherwise in a
# chroot. To be sourced.

# shellcheck source=scripts/lib/packages.sh
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"
# shellcheck source=scripts/lib/progress.sh
source "$(dirname "${BASH_SOURCE[0]}")/progress.sh"

builder_release=trixie

# The chroot, or empty to build on the host
builder_root=

# Folders of the host that the chroot can write to, at the same paths
builder_folders=()

# use_builder IN_CHROOT FOLDER...: selects where to build. An empty IN_CHROOT
# leaves the choice to the host's release.
use_builder()
{
    local in_chroot=$1
    shift

    if ! have_dpkg; then
        die "Debian packages" "this is not a Debian system" \
            "Run this on Debian 12 or 13, or in a container of one of them."
    fi
    if [ -n "$in_chroot" ] || [ "$(system_codename)" != "$builder_release" ]
    then
        builder_root=$cache_dir/debian-13
        builder_folders=("$@")
    fi
}

# Prints the environment of builds. QEMU's configure would use cc and c++, which
# are not links to ccache.
builder_environment()
{
    local name

    printf '%s\n' LC_ALL=C.UTF-8 "HOME=${HOME:-/root}" \
        PATH=/usr/lib/ccache:/usr/sbin:/usr/bin:/sbin:/bin \
        "CCACHE_DIR=$CCACHE_DIR" "CCACHE_BASEDIR=$CCACHE_BASEDIR" \
        CCACHE_NOHASHDIR=1 CC=gcc CXX=g++ DEBIAN_FRONTEND=noninteractive
    for name in http_proxy https_proxy no_proxy; do
        if [ -n "${!name:-}" ]; then
            printf '%s\n' "$name=${!name}"
        fi
    done
}

# enter_chroot ROOT FOLDERS COMMAND...: FOLDERS is a list with a folder a line.
# Runs as root in namespaces of its own, so that mounts and processes end with
# the command.
enter_chroot()
{
    set -euo pipefail
    local root=$1 folder folders

    mapfile -t folders <<<"$2"
    shift 2
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    for folder in "${folders[@]}"; do
        mkdir -p "$root$folder"
        mount --bind "$folder" "$root$folder"
    done
    exec chroot "$root" "$@"
}

# in_builder FOLDER COMMAND...: runs a command in a folder, in the chroot as
# root
in_builder()
{
    local folder=$1 environment
    shift

    mapfile -t environment < <(builder_environment)
    if [ -z "$builder_root" ]; then
        env --chdir="$folder" "${environment[@]}" "$@"
    else
        as_root unshare --mount --pid --fork --kill-child bash -c \
            "$(declare -f enter_chroot); enter_chroot \"\$@\"" enter_chroot \
            "$builder_root" "$(printf '%s\n' "${builder_folders[@]}")" \
            /usr/bin/env -i --chdir="$folder" "${environment[@]}" "$@"
    fi
}

in_builder_as_root()
{
    if [ -n "$builder_root" ]; then
        in_builder / "$@"
    else
        as_root env DEBIAN_FRONTEND=noninteractive "$@"
    fi
}

# write_to_builder FILE: writes the standard input to a file of the chroot
write_to_builder()
{
    as_root tee "$builder_root/$1" >/dev/null
}

# Lets apt in the chroot use the host's mirror, proxies and name servers. The
# chroot can be made again, so dpkg need not wait for the disk.
configure_chroot()
{
    local mirror=$1

    printf 'deb %s %s main\n' "$mirror" "$builder_release" |
        write_to_builder etc/apt/sources.list
    apt-config dump Acquire | write_to_builder etc/apt/apt.conf.d/90host
    write_to_builder etc/resolv.conf </etc/resolv.conf
    printf 'force-unsafe-io\n' | write_to_builder etc/dpkg/dpkg.cfg.d/unsafe-io
}

make_chroot()
{
    local mirror new=$builder_root.new

    mirror=$(debian_mirror "$(system_codename)")
    if [ -z "$mirror" ]; then
        die "/etc/apt" "has no mirror of Debian" \
            "Add one, which is used for $builder_release, too."
    fi
    if ! [ -e "$builder_root/etc/debian_version" ]; then
        need_packages debootstrap debian-archive-keyring
        as_root rm -rf "$new"
        run_logged "creating $builder_root, a chroot of Debian 13" \
            "$cache_dir/debootstrap.log" as_root debootstrap \
            --variant=minbase --include=ca-certificates,build-essential,ccache \
            "$builder_release" "$new" "$mirror"
        as_root mv "$new" "$builder_root"
    fi
    configure_chroot "$mirror"
}

# Prepares the chroot or the host, except for the packages' own dependencies
prepare_builder()
{
    local log=$cache_dir/apt/builder-update.log

    make_dirs "$cache_dir/apt"
    if [ -z "$builder_root" ]; then
        need_packages build-essential ccache
        return 0
    fi
    exec 6>"$builder_root.lock"
    if ! flock -n 6; then
        say "waiting for another build in $builder_root"
        flock 6
    fi
    make_chroot
    run_logged "reading the package lists of Debian 13" "$log" \
        in_builder / apt-get -q update
}

# install_build_dependencies TREE [APT_OPTION]...: installs those of a source
# package
install_build_dependencies()
{
    local tree=$1 log=$cache_dir/apt/build-dep.log where=the\ chroot
    shift

    if [ -z "$builder_root" ]; then
        where='this system'
        run_logged "reading the package lists" "$log" as_root apt-get -q update
    fi
    run_logged "installing what ${tree##*/} needs in $where" "$log" \
        in_builder_as_root apt-get -q -y -o DPkg::Lock::Timeout=300 \
        --no-install-recommends "$@" build-dep "$tree"
}

# follow_build LABEL: shows the progress of ninja, which a build can run more
# than once
follow_build()
{
    local label=$1 line folder='' percent last=0
    local progress_next=5 progress_shown=

    while IFS= read -r line; do
        printf '%s\n' "$line" >&8
        if [[ $line =~ ^ninja.*-C\ ([^ ]+) ]]; then
            folder=${BASH_REMATCH[1]}
        elif [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]]; then
            percent=$((BASH_REMATCH[1] * 100 / BASH_REMATCH[2]))
            if [ "$percent" -lt "$last" ]; then
                progress_next=5
            fi
            last=$percent
            show_percent "$label" "$percent" "(${folder##*/})"
        fi
    done
    end_percent
}
