# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Downloads sources and packages of a Debian release other than the host's, with
# a private apt configuration: the host's is read, never changed. To be sourced.

# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

sources_dir=$cache_dir/sources
private_apt_dir=$cache_dir/apt

# The release from which source packages come. Binary packages come from trixie
# and from backports.
source_suite=trixie

# use_source_suite SUITE: selects a release and a configuration for it, which has
# no binary packages
use_source_suite()
{
    source_suite=$1
    private_apt_dir=$cache_dir/apt-$1
}

system_codename()
{
    # shellcheck source=/dev/null
    (. /etc/os-release && printf '%s\n' "${VERSION_CODENAME:-}")
}

# debian_mirror CODENAME: prints the URI from which the host gets Debian's
# "main". Other repositories can offer a "main" for the same release. A Debian
# mirror's folder is usually called debian, so URIs with this name are
# preferred.
debian_mirror()
{
    local uris

    # shellcheck disable=SC2016
    uris=$(apt-get indextargets --no-release-info \
        --format '$(RELEASE) $(REPO_URI)' \
        'Created-By: Packages' 'Component: main' </dev/null |
        sed -nE "s/^($1|stable|oldstable|testing) //p" |
        grep -vE '^cdrom:|security') || true
    { grep -E '/debian(\.list)?/?$' <<<"$uris" || printf '%s\n' "$uris"; } |
        head -n 1
}

# security_mirror CODENAME: prints the URI from which the host gets security
# updates, if it does
security_mirror()
{
    # shellcheck disable=SC2016
    apt-get indextargets --no-release-info --format '$(RELEASE) $(REPO_URI)' \
        'Created-By: Packages' 'Component: main' </dev/null |
        sed -n "s/^$1-security //p" | head -n 1
}

write_private_sources()
{
    local codename mirror security='' suite suites options='' keyring

    codename=$(system_codename)
    suites=(trixie trixie-backports "$codename-backports")
    if [ "$source_suite" = trixie ]; then
        security=$(security_mirror "$codename")
    else
        suites=()
    fi
    mirror=$(debian_mirror "$codename")
    if [ -z "$mirror" ]; then
        die "/etc/apt" "has no mirror of Debian $codename main" \
            "Add one, or specify the source yourself (see --help)."
    fi
    for keyring in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
        if [ -r "$keyring" ]; then
            options=" signed-by=$keyring"
            break
        fi
    done
    {
        printf 'deb-src [%s] %s %s main\n' "${options# }" "$mirror" \
            "$source_suite"
        if [ -n "$security" ]; then
            printf 'deb-src [%s] %s %s main\n' "${options# }" "$security" \
                "$source_suite-security"
        fi
        for suite in "${suites[@]}"; do
            printf 'deb [arch=%s%s] %s %s main\n' \
                "$(dpkg --print-architecture)" "$options" "$mirror" "$suite"
        done | uniq
    } | sed 's/ \[\]//' >"$private_apt_dir/sources.list"
}

# The host's proxies and credentials stay in effect; its update hooks and the
# indexes for tools such as apt-file do not. Mirrors that are not up to date, and
# snapshots, have the versions that are needed, but lists of sid that have
# expired; their signatures are checked.
write_private_conf()
{
    cat >"$private_apt_dir/apt.conf" <<EOF
Dir::Etc::sourcelist "$private_apt_dir/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::lists "$private_apt_dir/lists";
Dir::Cache "$private_apt_dir/cache";
APT::Sandbox::User "root";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
EOF
}

private_apt()
{
    local tool=$1
    shift

    "$tool" -q -c "$private_apt_dir/apt.conf" "$@" </dev/null
}

# Updates the package lists, unless they are less than an hour old
private_apt_update()
{
    local log=$private_apt_dir/update.log stamp=$private_apt_dir/updated

    if ! have_dpkg; then
        die "apt" "this is not a Debian system" \
            "Specify the source yourself (see --help)."
    fi
    make_dirs "$private_apt_dir"/lists/partial \
        "$private_apt_dir"/cache/archives/partial
    write_private_conf
    write_private_sources
    if [ -n "$(find "$stamp" -mmin -60 2>/dev/null)" ] &&
        cmp -s "$private_apt_dir/sources.list" "$stamp"; then
        return 0
    fi
    say "reading Debian's package lists"
    if ! private_apt apt-get -o APT::Update::Error-Mode=any update \
            >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        return 1
    fi
    cp "$private_apt_dir/sources.list" "$stamp"
}

# newest_source PATTERN: prints the matching file in the cache with the highest
# version
newest_source()
{
    find "$sources_dir" -maxdepth 1 -name "$1" 2>/dev/null |
        sort -V | tail -n 1
}

# newest_version SOURCE VERSION: prints the newest version of a source package
# whose upstream version begins with VERSION and a dot
newest_version()
{
    private_apt apt-cache showsrc --only-source "$1" |
        sed -n 's/^Version: //p' | grep -E "^([0-9]+:)?${2//./\\.}\." |
        sort -V | tail -n 1
}

# apt_get_newest APT_GET_ARGUMENT...: runs apt-get. If the last argument is
# SOURCE=VERSION.*, it stands for the newest such version.
apt_get_newest()
{
    local what=${*: -1}

    if [[ $what == *'.*' ]]; then
        what=${what%'.*'}
        what=${what%%=*}=$(newest_version "${what%%=*}" "${what#*=}")
    fi
    private_apt apt-get "${@:1:$#-1}" "$what"
}

# private_apt_fetch PATTERN APT_GET_ARGUMENT...: downloads to the cache, with
# apt_get_newest. Files are moved there when complete. If the download fails, a
# file that matches PATTERN from an earlier download will do.
private_apt_fetch()
{
    local pattern=$1 what=${*: -1} log=$private_apt_dir/fetch.log
    local new=$private_apt_dir/fetch
    shift

    make_dirs "$sources_dir" "$private_apt_dir"
    exec 7>"$private_apt_dir/lock"
    flock 7
    rm -rf "$new" "$log"
    make_dirs "$new"
    if private_apt_update && say "downloading $what" &&
        (cd "$new" && apt_get_newest "$@") >"$log" 2>&1; then
        find "$new" -type f -exec mv -f -t "$sources_dir" {} +
    elif [ -n "$(newest_source "$pattern")" ]; then
        say "cannot download $what: using an earlier download"
    else
        if [ -s "$log" ]; then
            tail -n 15 "$log" >&2
        fi
        die "$what" "cannot be downloaded from the host's Debian mirror" \
            "Check the network, the mirror and debian-archive-keyring, or
  specify the source yourself (see --help)."
    fi
    rm -rf "$new"
    exec 7>&-
}
