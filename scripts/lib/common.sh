# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Paths, messages, locks and lists of files for all scripts. To be sourced.

# The scripts parse messages of other programs, and a bare machine has no locale
export LC_ALL=C.UTF-8

repo_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
build_dir=$repo_root/build

say()
{
    printf '== %s\n' "$*"
}

# die SUBJECT CAUSE [REMEDY]
die()
{
    printf 'error: %s: %s\n' "$1" "$2" >&2
    if [ -n "${3:-}" ]; then
        printf '  %s\n' "$3" >&2
    fi
    exit 1
}

# Prints the folder for downloads and compiled objects, which outlive a clone
# (see the XDG Base Directory Specification)
find_cache_dir()
{
    local home=${HOME:-}

    if [ -z "${XDG_CACHE_HOME:-}" ] && [ -z "$home" ]; then
        home=$(getent passwd "$(id -u)" | cut -d: -f6)
    fi
    printf '%s\n' "${XDG_CACHE_HOME:-$home/.cache}/qemu-shared-dma"
}

cache_dir=$(find_cache_dir)

# Identifies a run, which includes the scripts that the first one calls
export QEMU_SHARED_DMA_RUN=${QEMU_SHARED_DMA_RUN:-$$-$(date +%s)}

make_dirs()
{
    mkdir -p "$@" ||
        die "$*" "cannot be created" "Check the permissions."
}

# lock_or_wait NAME: takes the lock build/NAME.lock until the script ends
lock_or_wait()
{
    local lock=$build_dir/$1.lock

    make_dirs "$build_dir"
    exec 9>"$lock"
    if ! flock -n 9; then
        say "waiting for another $1 to finish"
        flock 9
    fi
}

# Sets up ccache. Relative paths let clones share their objects.
use_ccache()
{
    export CCACHE_DIR=$cache_dir/ccache
    export CCACHE_BASEDIR=$repo_root
    export CCACHE_NOHASHDIR=1
    make_dirs "$CCACHE_DIR"
}

in_git_checkout()
{
    [ -e "$repo_root/.git" ] && command -v git >/dev/null &&
        git -C "$repo_root" rev-parse --git-dir >/dev/null 2>&1
}

# own_files FOLDER...: prints our files in these folders, one per line, sorted.
# Without git, or in a source archive, these are all files except build
# products.
own_files()
{
    local folders=() folder file

    for folder in "$@"; do
        if [ -e "$repo_root/$folder" ]; then
            folders+=("$folder")
        fi
    done
    if [ ${#folders[@]} -eq 0 ]; then
        return 0
    fi
    if in_git_checkout; then
        git -C "$repo_root" -c core.quotePath=off ls-files --cached --others \
            --exclude-standard -- "${folders[@]}"
    else
        (cd "$repo_root" && find "${folders[@]}" \
            \( -path ./build -o -name .git -o -name __pycache__ \) -prune \
            -o -type f ! -name '*~' ! -name '*.pyc' -print | sed 's|^\./||')
    fi | sort -u | while IFS= read -r file; do
        # Skip links to folders and deleted files
        if [ -f "$repo_root/$file" ]; then
            printf '%s\n' "$file"
        fi
    done
}

sha256_of()
{
    sha256sum | cut -d' ' -f1
}
