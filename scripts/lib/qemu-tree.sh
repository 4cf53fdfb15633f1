# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Creates and configures trees of QEMU's source: pristine ones, and ones with
# our patches and files. To be sourced.

# shellcheck source=scripts/lib/packages.sh
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"
# shellcheck source=scripts/lib/progress.sh
source "$(dirname "${BASH_SOURCE[0]}")/progress.sh"

# The version of QEMU that is patched (its base), the one that is used unless an
# option selects another, and the folders with the patches. The machine that the
# test bench emulates always runs the default base, which is therefore the only
# one with patches of the emulator: qemu-10.0-svm, qemu-10.0-tcg.
base=${base:-}
default_base=10.0
patches_dirs=()

# Files in a tree that record how it was made
made_from=.made-from
links_made=.links-made

# The folders of a QEMU tree in which our files are linked
linked_folders=(include system accel hw target qapi
    series/hw series/system/page-state-map.c series/tests/unit
    tests/qtest tests/shared-dma tests/fuzz tests/gtest tests/model
    tests/unit tests/nested/firmware/program-format.h docs)

# The source to use, or empty for the one of the last run; and whether to look
# for a newer point release in Debian
source_arg=
update=${update:-}

# Prints the versions of QEMU that can be patched, on one line
known_bases()
{
    find "$repo_root/patches" -mindepth 1 -maxdepth 1 -name 'qemu-*' \
        ! -name 'qemu-*-*' -printf '%f\n' | sed 's/^qemu-//' | sort -V |
        paste -sd ' '
}

# use_base VERSION: selects the version of QEMU, its patches and its tree
use_base()
{
    local folder

    base=$1
    patches_dirs=("$repo_root/patches/qemu-$base")
    for folder in "${patches_dirs[0]}"-*; do
        if [ -d "$folder" ]; then
            patches_dirs+=("$folder")
        fi
    done
    base_dir=$build_dir
    if [ "$base" != "$default_base" ]; then
        base_dir=$build_dir/qemu-$base
    fi
    use_tree "$base_dir"
}

# use_tree FOLDER: selects the source tree FOLDER/qemu-src and its build folder
# FOLDER/qemu; logs are next to them
use_tree()
{
    tree_dir=$1
    tree=$tree_dir/qemu-src
    new_tree=$tree.new
    repository=$tree.git
    objects=$tree_dir/qemu
}

need_build_packages()
{
    need_packages gcc g++ libc6-dev binutils ninja-build pkgconf python3 \
        python3-venv libglib2.0-dev zlib1g-dev libfdt-dev dpkg-dev git \
        tar xz-utils bzip2 ccache
    need_meson
}

# Finding the source

# check_version SOURCE VERSION
check_version()
{
    local found
    found=$(base_of "$1" "$2")

    if [ "$found" != "$base" ]; then
        die "$1" "is QEMU $2, but --base is $base" \
            "Use another source with --qemu-source, or another --base."
    fi
}

# base_of SOURCE VERSION: prints the base to which a version belongs
base_of()
{
    local known

    for known in $(known_bases); do
        case $2 in
        "$known" | "$known".*)
            printf '%s\n' "$known"
            return 0
            ;;
        esac
    done
    known=$(known_bases)
    die "$1" "is QEMU $2, but there are only patches for ${known// /, }" \
        "Use another source with --qemu-source."
}

# Prints the version of the QEMU in a folder or a tarball
source_version()
{
    if [ -d "$1" ]; then
        if ! [ -r "$1/VERSION" ]; then
            die "$1" "is not a QEMU tree: it has no file VERSION" \
                "Use a git checkout or an unpacked release of QEMU."
        fi
        cat "$1/VERSION"
    elif [ -f "$1" ]; then
        tar -xOf "$1" --wildcards --no-wildcards-match-slash --occurrence=1 \
            '*/VERSION' 2>/dev/null ||
            die "$1" "is not a tarball of QEMU: it has no file VERSION" \
                "Use a release tarball of QEMU."
    else
        die "$1" "no such folder or file" \
            "Use --qemu-source; 'debian' selects Debian's source package."
    fi
}

# Selects the base that the options specify: --base, or else that of
# --qemu-source, or else the default
select_base()
{
    local version

    if [ -n "$source_arg" ] && [ "$source_arg" != debian ]; then
        version=$(source_version "$source_arg")
        base=${base:-$(base_of "$source_arg" "$version")}
        check_version "$source_arg" "$version"
    fi
    use_base "${base:-$default_base}"
}

dsc_version()
{
    basename "$1" .dsc | sed 's/^qemu_//'
}

# Prints the path of Debian's source package; downloads it if necessary
debian_dsc()
{
    local pattern="qemu_$base.*.dsc"

    # Debian's stable release has the default base
    if [ "$base" != "$default_base" ]; then
        use_source_suite sid
    fi
    if [ -n "$update" ] || [ -z "$(newest_source "$pattern")" ]; then
        private_apt_fetch "$pattern" source --download-only "qemu=$base.*" >&2
    fi
    newest_source "$pattern"
}

find_source()
{
    local version recorded=$base_dir/qemu-src/$made_from

    if [ -z "$source_arg" ] && [ -r "$recorded" ]; then
        source_arg=$(sed -n 's/^from //p' "$recorded")
    fi
    if [ -z "$source_arg" ] || [ "$source_arg" = debian ]; then
        source_kind=debian
        source_arg=debian
        source_path=$(debian_dsc)
    else
        version=$(source_version "$source_arg")
        check_version "$source_arg" "$version"
        source_kind=tarball
        if [ -d "$source_arg" ]; then
            source_kind=folder
        fi
        source_path=$(realpath "$source_arg")
        source_arg=$source_path
    fi
}

# Prints a hash of the source
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

# Creating the tree

unpack_source()
{
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
            die "$source_path" "cannot be unpacked" "Download it again."
        fi
        ;;
    esac
    if ! [ -r "$new_tree/subprojects/keycodemapdb/README" ]; then
        die "$source_path" "has no subprojects/keycodemapdb" \
            "In a checkout, run 'meson subprojects download keycodemapdb \
berkeley-softfloat-3 berkeley-testfloat-3'."
    fi
}

# Runs git with the same settings for every user and machine
own_git()
{
    GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null git \
        -c core.autocrlf=false -c gc.auto=0 -c maintenance.auto=false \
        -c user.name=build-qemu -c user.email=build-qemu@localhost "$@"
}

# Runs git on the repository next to the tree. It is not inside the tree,
# because QEMU's configure would take the tree for a checkout and require its
# submodules.
tree_git()
{
    own_git -C "$tree_dir" --git-dir="$repository" -c core.bare=false "$@"
}

commit_new_tree()
{
    local index=$repository/import-index

    GIT_INDEX_FILE=$index tree_git --work-tree="$new_tree" add -A -f . &&
        tree_git update-ref refs/heads/pristine "$(tree_git commit-tree \
            -m "$1" "$(GIT_INDEX_FILE=$index tree_git write-tree)")"
}

# Commits the source as the branch pristine, unless it is there already
import_source()
{
    local source
    source=$(source_identity)

    if [ "$(tree_git log -1 --format=%s pristine 2>/dev/null)" = "$source" ]
    then
        return 0
    fi
    if ! [ -e "$repository" ]; then
        # An existing tree does not belong to this repository
        rm -rf "$tree"
        run_logged "creating ${repository#"$repo_root/"}" \
            "$tree_dir/git.log" tree_git init -q -b unused
    fi
    rm -rf "$new_tree"
    unpack_source
    run_logged "committing the source" "$tree_dir/git.log" \
        commit_new_tree "$source"
    rm -rf "$new_tree" "$objects"
}

drop_new_tree()
{
    rm -rf "$new_tree"
    tree_git worktree prune
}

# Runs git in the temporary work tree that new_sparse_tree creates
new_tree_git()
{
    own_git -C "$new_tree" "$@"
}

# Creates a work tree of the branch pristine with only the files that the
# patches touch: writing and deleting all would take a minute on a slow disk
new_sparse_tree()
{
    tree_git worktree add -q -f --no-checkout --detach "$new_tree" pristine
    {
        printf '/VERSION\n'
        list_patches | xargs -d '\n' sed -nE 's,^(---|\+\+\+) [ab]/,/,p'
    } | new_tree_git sparse-checkout set --no-cone --stdin
    new_tree_git checkout -q
}

# Applies the patches in a temporary work tree and makes the result the branch
# patched. Checking it out touches only files that differ, so that ninja
# recompiles only these.
apply_patches()
{
    local log=$tree_dir/patch.log patch

    if [ -z "$(list_patches)" ]; then
        die "${patches_dirs[0]}" "has no patches" \
            "This checkout is not complete."
    fi
    say "applying the patches ($(list_patches | wc -l))"
    trap drop_new_tree EXIT
    drop_new_tree
    new_sparse_tree
    while IFS= read -r patch; do
        if ! new_tree_git am -q "$patch" >"$log" 2>&1; then
            cat "$log" >&2
            die "patches/${patch#*/patches/}" \
                "does not apply to QEMU $(cat "$new_tree/VERSION")" \
                "Fix the patch. ${tree#"$repo_root/"} was not changed."
        fi
    done < <(list_patches)
    tree_git update-ref refs/heads/patched "$(new_tree_git rev-parse HEAD)"
    drop_new_tree
    trap - EXIT
}

# check_out BRANCH: fails if it would overwrite files that the user has edited
check_out()
{
    local log=$tree_dir/git.log force=()

    if ! [ -e "$tree/$made_from" ]; then
        # The tree was removed, or never completed
        force=(-f)
    fi
    make_dirs "$tree"
    if ! tree_git --work-tree="$tree" checkout -q "${force[@]}" --detach \
        "$1" >"$log" 2>&1; then
        cat "$log" >&2
        die "${tree#"$repo_root/"}" "cannot be updated" \
            "Save your changes elsewhere, remove the folder, and try again."
    fi
}

# prepare_tree_as BRANCH: creates the tree, unless it is up to date
prepare_tree_as()
{
    local identity
    identity=$(source_identity)

    if [ "$1" = patched ]; then
        identity+=" $(patches_identity)"
    fi
    if [ "$(sed 1d "$tree/$made_from" 2>/dev/null)" = "$identity" ]; then
        return 0
    fi
    make_dirs "$tree_dir"
    import_source
    if [ "$1" = patched ]; then
        apply_patches
    fi
    check_out "$1"
    printf 'from %s\n%s\n' "$source_arg" "$identity" >"$tree/$made_from"
}

prepare_pristine_tree()
{
    prepare_tree_as pristine
}

prepare_patched_tree()
{
    prepare_tree_as patched
    link_own_files
}

# Links our files into the tree, and removes links to files that are gone
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
            die "$file" "QEMU has a file of the same name" \
                "Rename ours, or change QEMU's with a patch."
        fi
        make_dirs "$(dirname "$tree/$file")"
        ln -sfnr "$repo_root/$file" "$tree/$file"
    done <"$wanted"
    mv "$wanted" "$tree/$links_made"
}

# Configuring. The build folder is always next to the source and has the same
# name, so that ccache can share objects between trees.

# common_arguments [CC CXX]: sets the arguments that every QEMU has; scripts add
# their own before configure_qemu
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

# Adds the arguments for a small QEMU: what the nested tests and the demo need
small_arguments()
{
    configure_args+=(--without-default-features --enable-kvm --enable-tcg
        --enable-vhost-kernel --enable-vhost-net --enable-vhost-vdpa
        --enable-vhost-user --enable-vhost-user-blk-server
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
