# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Lists of files and skip() for the scripts in scripts/lint. To be sourced.

# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# meson and automake count a test with this exit status as skipped
skip_status=77

# skip REASON
skip()
{
    printf 'skipped: %s\n' "$1"
    exit "$skip_status"
}

# need_tool COMMAND PACKAGE
need_tool()
{
    command -v "$1" >/dev/null ||
        skip "$1 is missing; it is in Debian's package $2"
}

# list_files LISTER: sets the array files; an empty list is an error
list_files()
{
    mapfile -t files < <("$1")
    if [ ${#files[@]} -eq 0 ]; then
        die "$1" "finds no file to check" "See its pattern in scripts/lint."
    fi
}

# Prints C++ files: .cc files, headers next to a .cc file of the same name, the
# DMA layout's headers, and headers in folders of C++ programs. All other headers
# are C, in QEMU's own style.
cpp_files()
{
    own_files . | while IFS= read -r file; do
        case $file in
        *.cc) printf '%s\n' "$file" ;;
        hw/vfio/dma-*.h | tests/gtest/*.h | tests/bench/*.h | \
            tests/freestanding/*.h | tests/fuzz/*.h | tests/model/*.h | \
            tests/shared-dma/conversion/*.h | tests/nested/firmware/*.h | \
            tests/nested/kernel-edge/*.h | tests/nested/loader/*.h | \
            tests/svm/*.h)
            printf '%s\n' "$file"
            ;;
        *.h)
            if [ -e "$repo_root/${file%.h}.cc" ]; then
                printf '%s\n' "$file"
            fi
            ;;
        esac
    done
}

c_files()
{
    own_files . | grep -E '\.([ch]|c\.inc)$' | grep -vxF -f <(cpp_files)
}

# Prints all files that can have comments, except patches of QEMU's files
licensed_files()
{
    own_files . | grep -vE \
        -e '^(COPYING|MAINTAINERS|VERSION|tests/.*/corpus/.*|.*\.(patch|md|png|svg))$' \
        -e '^series/.*\.txt$' \
        -e '^packaging/.*/(changelog|copyright|format)$'
}

# files_with_interpreter SUFFIX PATTERN: prints files with this suffix, and
# scripts whose interpreter matches the pattern
files_with_interpreter()
{
    own_files . | while IFS= read -r file; do
        if [[ $file == *"$1" ]] || head -n 1 "$repo_root/$file" |
            grep -aqE "^#!.*[/ ]($2)( |\$)"; then
            printf '%s\n' "$file"
        fi
    done
}

shell_scripts()
{
    files_with_interpreter .sh '(ba)?sh'
}

python_files()
{
    files_with_interpreter .py 'python3'
}

cd "$repo_root" || exit
