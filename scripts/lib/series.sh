# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Exports the series in the folder series, and checks their commits one by one.
# To be sourced.

# shellcheck source=scripts/lib/qemu-tree.sh
source "$(dirname "${BASH_SOURCE[0]}")/qemu-tree.sh"

# Prints the names of all series, such as qemu-10.2
all_series()
{
    find "$repo_root/series" -mindepth 2 -maxdepth 2 -name series.toml \
        -printf '%h\n' | sed 's|.*/||'
}

# Prints the newest version of QEMU that there is a series for
newest_series_base()
{
    all_series | sed -n 's|^qemu-\([0-9.]*\)$|\1|p' | sort -V | tail -n 1
}

# Prints the names of the series for a version of QEMU
series_names()
{
    all_series | grep -xE "qemu-${1//./\\.}(-.*)?" | sort
}

# series_out NAME: prints the folder for the patches of a series
series_out()
{
    printf '%s\n' "$build_dir/series-${1#qemu-}"
}

# Prints the repository with the commits of all series, each a branch
series_repository()
{
    printf '%s\n' "$base_dir/series/qemu-src.git"
}

# Prints the author of the commits
series_author()
{
    if [ -n "${author:-}" ]; then
        printf '%s\n' "$author"
    else
        printf '%s <%s>\n' "$(git -C "$repo_root" config user.name || true)" \
            "$(git -C "$repo_root" config user.email || true)"
    fi
}

# Makes the branches pristine and patched, from which series are made
prepare_series_source()
{
    local record identity

    need_packages git dpkg-dev xz-utils bzip2
    find_source
    record=$tree_dir/series/made-from
    identity="$(source_identity) $(patches_identity)"
    if [ "$(cat "$record" 2>/dev/null)" = "$identity" ] &&
        [ -e "$repository" ]; then
        return 0
    fi
    make_dirs "$tree_dir/series"
    rm -rf "$(series_repository)"
    import_source
    apply_patches
    printf '%s\n' "$identity" >"$record"
}

patch_series()
{
    PYTHONPATH=$repo_root/scripts /usr/bin/python3 -B -m patch_series "$@"
}

# export_series NAME
export_series()
{
    local own=$tree_dir/series/own-files

    make_dirs "$tree_dir/series"
    own_files "${linked_folders[@]}" | grep -v '^series/' >"$own"
    patch_series export "$repo_root/series/$1/series.toml" "$(series_out "$1")" \
        --source "$repository" --repository "$(series_repository)" \
        --pristine "$(tree_git rev-parse pristine)" \
        --patched "$(tree_git rev-parse patched)" \
        --own "$own" --author "$(series_author)"
}

# series_git ARGUMENT...: runs git on the commits of all series, and the tree
series_git()
{
    GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null \
        git -C "$tree" --git-dir="$(series_repository)" \
        --work-tree="$tree" -c core.bare=false "$@"
}

# apply_series_patch NAME COMMIT PATCH: applies a patch to the tree, which then
# must be that of the commit
apply_series_patch()
{
    series_git apply --index --whitespace=nowarn \
        "$(series_out "$1")/$3" || die "$3" "does not apply" "See above."
    if [ "$(series_git write-tree)" != \
        "$(series_git rev-parse "$2^{tree}")" ]; then
        die "$3" "gives another tree than its commit" \
            "Export the series again, without changes in between."
    fi
}

# start_series NAME COMMIT: makes the tree that of the first commit's parent, and
# configures it
start_series()
{
    make_dirs "$tree"
    run_logged "checking out the source for $1" "$tree_dir/git.log" \
        series_git checkout -q -f --detach "$2^"
    series_git clean -q -f -d -x
    use_ccache
    common_arguments
    small_arguments
    configure_args+=(--enable-werror)
    configure_qemu
}

# build_series_commit NAME PATCH JOBS: checks the style of the patch and builds
# an emulator
build_series_commit()
{
    use_ccache
    patch_series checkpatch "$(series_out "$1")" "$2" "$tree" ||
        die "$2" "checkpatch.pl complains" \
            "Fix it, or accept a warning in series/$1/series.toml."
    run_logged "configuring" "$tree_dir/configure.log" \
        ninja -C "$objects" build.ninja
    run_ninja "building the emulator" -C "$objects" -j "$3" qemu-system-x86_64
}

# check_series NAME JOBS: checks each commit of a series with this project's
# tests, and the last one with QEMU's own unit tests, too
check_series()
{
    local name=$1 jobs=$2 number=0 total line commit patch lines suite

    mapfile -t lines < <(patch_series commits "$(series_out "$name")")
    total=${#lines[@]}
    use_tree "$base_dir/series"
    step start_series "$name" "${lines[0]%% *}" || return 0
    for line in "${lines[@]}"; do
        commit=${line%% *}
        patch=${line#* }
        number=$((number + 1))
        suite=shared-dma
        if [ "$number" -eq "$total" ]; then
            suite=unit
        fi
        say "$name, commit $number of $total: ${patch%.patch}"
        step apply_series_patch "$name" "$commit" "$patch" || return 0
        if step build_series_commit "$name" "$patch" "$jobs"; then
            passed_commits=$((passed_commits + 1))
            if has_test "$objects" '.*' --suite "$suite"; then
                test_in_qemu "$objects" "$name-$number" "$jobs" \
                    --suite "$suite"
            fi
        fi
    done
}
