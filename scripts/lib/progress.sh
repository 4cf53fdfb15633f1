# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Runs long commands, with a title and their progress. To be sourced.

# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

failed_with_log()
{
    local label=$1 log=$2

    printf '\nThe last 30 lines of %s:\n\n' "$log" >&2
    tail -n 30 "$log" >&2
    printf '\n' >&2
    die "$label" "failed" "The complete log is $log."
}

# run_logged LABEL LOG COMMAND...: for steps of a minute or less
run_logged()
{
    local label=$1 log=$2
    shift 2

    say "$label"
    if ! "$@" </dev/null >"$log" 2>&1; then
        failed_with_log "$label" "$log"
    fi
}

# show_percent LABEL PERCENT DETAIL: updates one line on a terminal; otherwise
# prints a line for every 5%
show_percent()
{
    local label=$1 percent=$2 detail=$3

    if [ -t 1 ]; then
        printf '\r   %s: %3d%% %s\033[K' "$label" "$percent" "$detail"
        progress_shown=1
    elif [ "$percent" -ge "$progress_next" ]; then
        printf '   %s: %3d%% %s\n' "$label" "$percent" "$detail"
        progress_next=$((percent - percent % 5 + 5))
    fi
}

end_percent()
{
    if [ -n "${progress_shown:-}" ]; then
        printf '\n'
    fi
}

# follow_make LABEL USUAL_LINES: shows the progress of make, which does not
# report it, by comparing its number of lines with the usual number
follow_make()
{
    local label=$1 usual=$2 line count=0 percent
    local progress_next=5 progress_shown=

    while IFS= read -r line; do
        printf '%s\n' "$line" >&8
        count=$((count + 1))
        percent=$((count * 100 / usual))
        show_percent "$label" $((percent < 99 ? percent : 99)) "(about)"
    done
    end_percent
}

# run_followed LABEL LOG FOLLOWER... -- COMMAND...
run_followed()
{
    local label=$1 log=$2 follower=() status
    shift 2

    while [ "$1" != -- ]; do
        follower+=("$1")
        shift
    done
    shift

    say "$label"
    set +e
    "$@" 2>&1 </dev/null | "${follower[@]}" 8>"$log"
    status=${PIPESTATUS[0]}
    set -e
    if [ "$status" -ne 0 ]; then
        failed_with_log "$label" "$log"
    fi
}

# run_ninja LABEL NINJA_ARGUMENT...: on a terminal ninja shows its own progress;
# otherwise it prints only failures
run_ninja()
{
    local label=$1 quiet=()
    shift

    say "$label"
    if ! [ -t 1 ]; then
        quiet=(--quiet)
    fi
    ninja "${quiet[@]}" "$@" </dev/null ||
        die "$label" "failed" "See the messages above."
}
