# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Makes Debian source packages: of QEMU, from Debian's one, and of the package
# qemu-dma-map-view. To be sourced.

# shellcheck source=scripts/lib/qemu-tree.sh
source "$(dirname "${BASH_SOURCE[0]}")/qemu-tree.sh"

packaging_dir=$repo_root/packaging/debian

# What the packages of one version of Debian's are numbered by. To be increased
# when our part changes.
revision=1

# The binary packages of qemu that are built: qemu-system-x86, and those that
# must have the same version, because QEMU loads their modules or because
# debian/rules cannot do without them. Debian's qemu-system-data is kept.
kept_packages=(qemu-system-x86 qemu-system-common qemu-system-gui
    qemu-system-modules-spice qemu-system-modules-opengl
    qemu-block-extra qemu-utils qemu-guest-agent)

# set_package_version DSC: sets qemu_version, the version of the packages. It is
# higher than Debian's own, including that of a binary rebuild (+b1), and lower
# than that of the next upload (.1, +deb13u2), so that security updates replace
# the packages.
set_package_version()
{
    qemu_version=$(sed -n '/^Version: /{s///p;q}' "$1")+sdma$revision
}

# Prints our patches for QEMU, without those for the test bench
list_debian_patches()
{
    list_patches | grep -F "/qemu-$base/"
}

# Prints our files that become a part of QEMU's source. The emulation of SVM is
# for the test bench; inputs of fuzz targets are binary files, which patches
# cannot have.
packaged_files()
{
    own_files "${linked_folders[@]}" | grep -vE '^target/i386/tcg/|/corpus/'
}

maintainer()
{
    sed -n '/^M: /{s///p;q}' "$repo_root/MAINTAINERS"
}

# Prints when our part was changed last
change_date()
{
    local epoch

    if in_git_checkout; then
        epoch=$(git -C "$repo_root" log -1 --format=%ct)
    else
        epoch=$(find "$repo_root/MAINTAINERS" "$repo_root/scripts" -type f \
            -printf '%T@\n' | sort -n | tail -n 1)
    fi
    date --utc -R -d "@$epoch"
}

# Writes a patch that adds our files
write_files_patch()
{
    local patch=$1 folder
    folder=$(mktemp -d -p "$(dirname "$patch")")

    mkdir "$folder/a" "$folder/b"
    packaged_files | tar -C "$repo_root" -cf - -T - | tar -C "$folder/b" -xf -
    find "$folder" -exec touch -d "$(change_date)" {} +
    {
        printf 'Description: add the files of shared device assignment\n'
        printf 'Author: %s\n\n' "$(maintainer)"
        (cd "$folder" && TZ=UTC diff -ruN a b) || [ $? -eq 1 ]
    } >"$patch"
    rm -rf "$folder"
}

# write_tests_patch TREE PATCH: writes a patch that leaves out QEMU's tests and
# those of ours. Debian's packages are built with them; but they take a third of
# the time, and scripts/qemu-suites and scripts/check run them.
write_tests_patch()
{
    local tree=$1 patch=$2 old

    old=$(mktemp)
    cp "$tree/meson.build" "$old"
    sed -i "s/subdir('tests')/message('tests are left out')/" "$tree/meson.build"
    {
        printf 'Description: do not build the tests\n'
        printf 'Author: %s\nForwarded: not-needed\n\n' "$(maintainer)"
        diff -u --label a/meson.build "$old" --label b/meson.build \
            "$tree/meson.build" || [ $? -eq 1 ]
    } >"$patch"
    mv "$old" "$tree/meson.build"
}

add_patches()
{
    local tree=$1 folder=$1/debian/patches patch name

    mkdir "$folder/shared-dma"
    while IFS= read -r patch; do
        name=shared-dma/$(basename "$patch")
        cp "$patch" "$folder/$name"
        printf '%s\n' "$name" >>"$folder/series"
    done < <(list_debian_patches)
    write_files_patch "$folder/shared-dma/add-files.patch"
    write_tests_patch "$tree" "$folder/shared-dma/leave-out-tests.patch"
    printf '%s\n' shared-dma/{add-files,leave-out-tests}.patch \
        >>"$folder/series"
}

# Reduces the packaging to what is built
reduce_packaging()
{
    local debian=$1/debian file

    for file in control-in control; do
        /usr/bin/python3 "$repo_root/scripts/lib/deb_control.py" \
            "$(maintainer)" "$debian/$file" "${kept_packages[@]}"
    done
    # debhelper does not know this package any more
    sed -i 's/ -Nqemu-user$//' "$debian/rules"
    cat "$packaging_dir/qemu/control.mk" >>"$debian/control.mk"
    # A newer one would be generated again
    touch "$debian/control"
    cp "$packaging_dir/qemu/qemu-system-common.docs" "$debian"
}

# fill_in VERSION FILE...: replaces what a template leaves open
fill_in()
{
    local version=$1
    shift

    sed -i -e "s|@MAINTAINER@|$(maintainer)|" -e "s|@VERSION@|$version|" \
        -e "s|@DATE@|$(change_date)|" "$@"
}

add_changelog_entry()
{
    local changelog=$1/debian/changelog

    cat "$packaging_dir/qemu/changelog" "$changelog" >"$changelog.new"
    fill_in "$qemu_version" "$changelog.new"
    mv "$changelog.new" "$changelog"
}

# make_qemu_source FOLDER: makes the source package and the tree qemu_tree,
# from which it can be built
make_qemu_source()
{
    local folder=$1 log=$1.log

    qemu_tree=$folder/qemu-${qemu_version#*:}
    make_dirs "$folder"
    cp "$(dirname "$source_path")/$(sed -n \
        's/^ .* \(qemu_.*\.orig\.tar\.[a-z0-9]*\)$/\1/p' "$source_path" |
        head -n 1)" "$folder"
    run_logged "unpacking QEMU $(dsc_version "$source_path")" "$log" \
        dpkg-source --no-check --no-copy --skip-patches -x "$source_path" \
        "$qemu_tree"
    add_patches "$qemu_tree"
    reduce_packaging "$qemu_tree"
    add_changelog_entry "$qemu_tree"
    (cd "$folder" && run_logged \
        "making the source package $qemu_version" "$log" \
        dpkg-source -b "$qemu_tree")
}

# make_view_source FOLDER QEMU_TREE: makes the tree view_tree of the package
# qemu-dma-map-view, which contains a part of QEMU's Python library
make_view_source()
{
    local folder=$1 python=$2/python/qemu/qmp log=$1.log version file

    version=$(sed -n "s/^ *version: '\(.*\)',$/\1/p" "$repo_root/meson.build")
    view_tree=$folder/qemu-dma-map-view-$version
    make_dirs "$view_tree/qemu"
    cp -r "$packaging_dir/qemu-dma-map-view" "$view_tree/debian"
    fill_in "$version" "$view_tree"/debian/{control,changelog}
    own_files scripts/dma_map scripts/dma-map-view | while IFS= read -r file; do
        install -D -m "$(stat -c %a "$repo_root/$file")" "$repo_root/$file" \
            "$view_tree/${file#scripts/}"
    done
    cp -r "$python" "$view_tree/qemu"
    rm "$view_tree"/qemu/qmp/{legacy,qmp_shell,qmp_tui}.py
    (cd "$folder" && run_logged "making the source package of \
qemu-dma-map-view $version" "$log" dpkg-source -b "$view_tree")
}
