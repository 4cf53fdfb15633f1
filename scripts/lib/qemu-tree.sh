# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Trees of QEMU's source, as it comes or with our patches and files in it, and
# how they are configured. Sourced, never run.

# shellcheck source=scripts/lib/packages.sh
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"
# shellcheck source=scripts/lib/progress.sh
source "$(dirname "${BASH_SOURCE[0]}")/progress.sh"

# The hooks, and what the test bench needs of TCG's emulation of SVM
patches_dirs=("$repo_root/patches/qemu-10.0" "$repo_root/patches/qemu-10.0-svm")
version_wanted=10.0

# Kept in a tree, so that they come and go with it
made_from=.made-from
links_made=.links-made

# The parts of a QEMU tree that files of ours can be in
linked_folders=(include system accel hw target backends monitor qapi
    tests/qtest tests/shared-dma tests/fuzz tests/model
    tests/unit tests/nested/firmware/program-format.h docs)

# Where the source comes from, if not from where it came the last time
source_arg=
# Whether Debian is asked for a newer point release
update=

# use_tree FOLDER: what follows is about the source tree FOLDER/qemu-src, its
# build folder FOLDER/qemu, and logs next to them
use_tree()
{
    tree_dir=$1
    tree=$tree_dir/qemu-src
    new_tree=$tree.new
    old_tree=$tree.old
    objects=$tree_dir/qemu
}

need_build_packages()
{
    need_packages gcc g++ libc6-dev binutils ninja-build pkgconf python3 \
        python3-venv libglib2.0-dev zlib1g-dev libfdt-dev dpkg-dev patch \
        tar xz-utils bzip2 ccache
    need_meson
}

# Where the source comes from

check_version()
{
    case $2 in
    "$version_wanted" | "$version_wanted".*) ;;
    *)
        die "$1" "is QEMU $2, the patches are for $version_wanted.x" \
            "Give another source with --qemu-source."
        ;;
    esac
}

dsc_version()
{
    basename "$1" .dsc | sed 's/^qemu_//'
}

# Fetches Debian's source package, or takes what an earlier run fetched
debian_dsc()
{
    if [ -n "$update" ] || [ -z "$(newest_source 'qemu_*.dsc')" ]; then
        private_apt_fetch 'qemu_*.dsc' source --download-only qemu >&2
    fi
    newest_source 'qemu_*.dsc'
}

find_source()
{
    local recorded=$build_dir/qemu-src/$made_from

    if [ -z "$source_arg" ] && [ -r "$recorded" ]; then
        source_arg=$(sed -n 's/^from //p' "$recorded")
    fi
    if [ -z "$source_arg" ] || [ "$source_arg" = debian ]; then
        source_kind=debian
        source_arg=debian
        source_path=$(debian_dsc)
        check_version "Debian's source package" "$(dsc_version "$source_path")"
    elif [ -d "$source_arg" ]; then
        source_kind=folder
        source_path=$(cd "$source_arg" && pwd -P)
        if ! [ -r "$source_path/VERSION" ]; then
            die "$source_arg" "is not a QEMU tree: there is no VERSION in it" \
                "Give a git checkout or an unpacked release of QEMU."
        fi
        check_version "$source_arg" "$(cat "$source_path/VERSION")"
        source_arg=$source_path
    elif [ -f "$source_arg" ]; then
        source_kind=tarball
        source_path=$(realpath "$source_arg")
        source_arg=$source_path
    else
        die "$source_arg" "no such folder or file" \
            "Give a source with --qemu-source; 'debian' takes Debian's."
    fi
}

# Two sources with one identity make the same tree
source_identity()
{
    case $source_kind in
    folder)
        (cd "$source_path" && find . \( -name .git -o -path ./build \) -prune \
            -o -type f -printf '%P %s %T@\n' |
            sort | sha256_of)
        ;;
    *) sha256_of <"$source_path" ;;
    esac
}

list_patches()
{
    local folder

    for folder in "${patches_dirs[@]}"; do
        find "$folder" -maxdepth 1 -name '*.patch' 2>/dev/null | sort
    done
}

patches_identity()
{
    list_patches | while IFS= read -r patch; do
        sha256_of <"$patch"
    done | sha256_of
}

# How the patched tree is made

unpack_source()
{
    local top

    case $source_kind in
    debian)
        run_logged "unpacking QEMU $(dsc_version "$source_path")" \
            "$tree_dir/unpack.log" \
            dpkg-source --no-check --no-copy -x "$source_path" "$new_tree"
        ;;
    folder)
        say "copying $source_path"
        mkdir "$new_tree"
        tar -C "$source_path" --exclude=.git --exclude=./build -cf - . |
            tar -C "$new_tree" -xf -
        ;;
    tarball)
        say "unpacking $source_path"
        mkdir "$new_tree"
        if ! tar -C "$new_tree" --strip-components=1 -xf "$source_path"; then
            die "$source_path" "is not a tarball" "Download it again."
        fi
        if ! [ -r "$new_tree/VERSION" ]; then
            top=$(tar -tf "$source_path" | head -n 1 || true)
            die "$source_path" "holds no QEMU tree (its first file is $top)" \
                "Give a release tarball of QEMU."
        fi
        check_version "$source_path" "$(cat "$new_tree/VERSION")"
        ;;
    esac
    if ! [ -r "$new_tree/subprojects/keycodemapdb/README" ]; then
        die "$source_path" "has no subprojects/keycodemapdb" \
            "In a checkout, run 'meson subprojects download keycodemapdb \
berkeley-softfloat-3 berkeley-testfloat-3'."
    fi
}

# The refused hunks of a patch, from the rejects it leaves
show_rejects()
{
    local reject

    find "$new_tree" -name '*.rej' | sort | while IFS= read -r reject; do
        printf '\n%s:\n' "${reject#"$new_tree/"}"
        head -n 40 "$reject"
    done >&2
}

# "FILE, hunk #1 at 20, hunk #3 at 70; FILE, ..." from patch's messages
failed_hunks()
{
    awk '
        /^(patching|checking) file / {
            file = $0
            sub(/^[a-z]+ file /, "", file)
        }
        /^Hunk #[0-9]+ FAILED/ {
            hunk = $2 " at line " $5
            sub(/\.$/, "", hunk)
            out = out (file == last ? ", hunk " : (out ? "; " : "") file \
                                                  ", hunk ") hunk
            last = file
        }
        /^can.t find file to patch|Reversed .or previously applied. patch/ {
            out = out (out ? "; " : "") (file ? file ": " : "") $0
        }
        /^\|\+\+\+ / { out = out " (" $2 ")" }
        END { print out }' "$1"
}

apply_patches()
{
    local patch log=$tree_dir/patch.log

    if [ -z "$(list_patches)" ]; then
        die "${patches_dirs[0]}" "has no patches" \
            "This checkout is not complete."
    fi
    say "applying the patches ($(list_patches | wc -l))"
    while IFS= read -r patch; do
        if ! patch -d "$new_tree" -p1 --forward --force --fuzz=0 \
            --no-backup-if-mismatch <"$patch" >"$log" 2>&1; then
            show_rejects
            die "patches/${patch#*/patches/}" \
                "does not apply to QEMU $(cat "$new_tree/VERSION"): \
$(failed_hunks "$log")" \
                "Mend the patch; nothing was changed, patch's messages are in \
$log."
        fi
    done < <(list_patches)
}

# ninja goes by times: what is as it was must look so, what is not must look
# new, whatever time the archive gave it
keep_times()
{
    /usr/bin/python3 - "$tree" "$new_tree" <<'EOF'
import filecmp
import os
import sys

old_root, new_root = sys.argv[1:]
for folder, _, names in os.walk(new_root):
    for name in names:
        new = os.path.join(folder, name)
        old = os.path.join(old_root, os.path.relpath(new, new_root))
        if os.path.islink(new):
            continue
        if os.path.isfile(old) and filecmp.cmp(old, new, shallow=False):
            stat = os.stat(old)
            os.utime(new, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        else:
            os.utime(new)
EOF
}

remove_new_tree()
{
    rm -rf "$new_tree"
}

# make_tree IDENTITY [CHANGE...]: the whole tree is made aside, changed by these
# functions, and put in place at the end
make_tree()
{
    local identity=$1 change same_source=
    shift

    make_dirs "$tree_dir"
    remove_new_tree
    trap remove_new_tree EXIT
    unpack_source
    for change in "$@"; do
        "$change"
    done
    printf 'from %s\n%s\n' "$source_arg" "$identity" >"$new_tree/$made_from"
    if [ -d "$tree" ]; then
        keep_times
        if [ "$(grep '^source ' "$tree/$made_from" 2>/dev/null)" = \
            "$(grep '^source ' "$new_tree/$made_from")" ]; then
            same_source=1
        fi
        rm -rf "$old_tree"
        mv "$tree" "$old_tree"
    fi
    mv "$new_tree" "$tree"
    rm -rf "$old_tree"
    trap - EXIT
    if [ -z "$same_source" ]; then
        rm -rf "$objects"
    fi
}

# Links our files into the tree; files that left take their links with them
link_own_files()
{
    local wanted=$tree_dir/links file

    own_files "${linked_folders[@]}" >"$wanted"
    if cmp -s "$wanted" "$tree/$links_made"; then
        rm -f "$wanted"
        return 0
    fi
    say "linking $(wc -l <"$wanted") of our files into ${tree#"$repo_root/"}"
    if [ -e "$tree/$links_made" ]; then
        while IFS= read -r file; do
            if [ -L "$tree/$file" ]; then
                rm -f "$tree/$file"
            fi
        done <"$tree/$links_made"
    fi
    rm -f "$tree/$links_made"
    while IFS= read -r file; do
        if [ -e "$tree/$file" ] &&
            ! [ "$tree/$file" -ef "$repo_root/$file" ]; then
            die "$file" "QEMU has a file of this name itself" \
                "Rename ours, or change QEMU's with a patch."
        fi
        make_dirs "$(dirname "$tree/$file")"
        ln -sfnr "$repo_root/$file" "$tree/$file"
    done <"$wanted"
    mv "$wanted" "$tree/$links_made"
}

# prepare_tree_as IDENTITY [CHANGE...]: nothing is made that is there already
prepare_tree_as()
{
    if [ "$(sed 1d "$tree/$made_from" 2>/dev/null)" != "$1" ]; then
        make_tree "$@"
    fi
}

prepare_pristine_tree()
{
    prepare_tree_as "$(printf 'source %s' "$(source_identity)")"
}

prepare_patched_tree()
{
    prepare_tree_as "$(printf 'source %s\npatches %s' "$(source_identity)" \
        "$(patches_identity)")" apply_patches
    link_own_files
}

# The build. Its folder is always next to the source, under the same name: where
# two trees hold the same, ccache finds the objects of one for the other.

# common_arguments [CC CXX]: every QEMU has these; a script adds its own before
# configure_qemu
common_arguments()
{
    local cc=${1:-gcc} cxx=${2:-g++}

    if command -v ccache >/dev/null; then
        cc="ccache $cc"
        cxx="ccache $cxx"
    fi
    configure_args=(--python=/usr/bin/python3 "--cc=$cc" "--cxx=$cxx"
        --target-list=x86_64-softmmu)
}

# For a QEMU of only what the nested tests and the demo need
small_arguments()
{
    configure_args+=(--without-default-features --enable-kvm --enable-tcg
        --enable-vhost-kernel --enable-vhost-vdpa --enable-vhost-user
        --disable-install-blobs --disable-debug-info
        --enable-trace-backends=log)
}

# config.status ends with the configure command, each argument in quotes
is_configured()
{
    local command="exec '../qemu-src/configure'" argument

    for argument in "${configure_args[@]}"; do
        command+=" '$argument'"
    done
    [ -e "$objects/build.ninja" ] &&
        grep -qxF "SRC_PATH=$tree" "$objects/config-host.mak" 2>/dev/null &&
        grep -qxF "$command \"\$@\"" "$objects/config.status" 2>/dev/null
}

run_configure()
{
    (cd "$objects" && ../qemu-src/configure "${configure_args[@]}")
}

configure_qemu()
{
    if is_configured; then
        return 0
    fi
    rm -rf "$objects"
    make_dirs "$objects"
    run_logged "configuring QEMU (about a minute)" \
        "$objects-configure.log" run_configure
}
