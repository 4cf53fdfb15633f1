# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Exports the series in the folder series, and checks their commits one by one.
# To be sourced.

# shellcheck source=scripts/lib/qemu-tree.sh
source "$(dirname "${BASH_SOURCE[0]}")/qemu-tree.sh"

# Prints the names of the series for a version of QEMU, such as qemu-10.2
series_names()
{
    find "$repo_root/series" -mindepth 2 -maxdepth 2 -name series.toml \
        -printf '%h\n' | sed 's|.*/||' |
        grep -xE "qemu-${1//./\\.}(-.*)?" | sort
}

# series_out NAME: prints the folder for the patches of a series
series_out()
{
    printf '%s\n' "$build_dir/series-${1#qemu-}"
}

# series_repository NAME: prints the repository with the commits of a series
series_repository()
{
    printf '%s\n' "$base_dir/series/$1.git"
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
    own_files "${linked_folders[@]}" >"$own"
    patch_series "$repo_root/series/$1/series.toml" "$(series_out "$1")" \
        --source "$repository" --repository "$(series_repository "$1")" \
        --pristine "$(tree_git rev-parse pristine)" \
        --patched "$(tree_git rev-parse patched)" \
        --own "$own" --author "$(series_author)"
}
