# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Parses the options of the command that sources this file with options.py, and
# sets a variable for each. To be sourced first.

# shellcheck source=scripts/lib/packages.sh
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

set_options()
{
    local command settings
    command=$(basename "$0")

    # A bare machine may lack Debian's Python
    if ! [ -x /usr/bin/python3 ]; then
        need_packages python3
    fi
    export cache_dir
    settings=$(/usr/bin/python3 "$(dirname "${BASH_SOURCE[0]}")/options.py" \
        "$command" "$@") || exit
    eval "$settings"
}

set_options "$@"
