# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The options of the command that sources this: scripts/lib/options.py parses
# them, a variable for each option is set. Sourced first, never run.

# shellcheck source=scripts/lib/packages.sh
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

set_options()
{
    local command settings
    command=$(basename "$0")

    # Debian's may be missing on a bare machine
    if ! [ -x /usr/bin/python3 ]; then
        need_packages python3
    fi
    export cache_dir
    settings=$(/usr/bin/python3 "$(dirname "${BASH_SOURCE[0]}")/options.py" \
        "$command" "$@") || exit
    eval "$settings"
}

set_options "$@"
