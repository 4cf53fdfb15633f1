# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Installs missing Debian packages. To be sourced.

# shellcheck source=scripts/lib/apt-private.sh
source "$(dirname "${BASH_SOURCE[0]}")/apt-private.sh"

have_dpkg()
{
    command -v dpkg-query >/dev/null && command -v apt-get >/dev/null
}

package_installed()
{
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# as_root COMMAND...: uses sudo, which may ask for a password on the terminal
as_root()
{
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        command -v sudo >/dev/null && sudo "$@"
    fi
}

# update_package_lists LOG: updates the host's package lists, once per run
update_package_lists()
{
    local stamp=$cache_dir/apt/updated-in-run

    if [ "$(cat "$stamp" 2>/dev/null)" != "$QEMU_SHARED_DMA_RUN" ]; then
        as_root apt-get -q update </dev/null >"$1" 2>&1 || return
        printf '%s\n' "$QEMU_SHARED_DMA_RUN" >"$stamp"
    fi
}

# apt_install PACKAGE_OR_DEB...
apt_install()
{
    local log=$cache_dir/apt/install.log

    make_dirs "$cache_dir/apt"
    if ! as_root true; then
        die "missing packages" "$* (this user is not root and cannot use sudo)" \
            "As root, run: apt-get install --no-install-recommends $*"
    fi
    say "installing $*"
    if ! update_package_lists "$log"; then
        tail -n 15 "$log" >&2
        die "apt-get update" "failed" \
            "Fix the host's package sources, see $log."
    fi
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
            -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@" \
            </dev/null >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        die "apt-get install $*" "failed" "The complete log is $log."
    fi
}

# need_packages PACKAGE...: installs those that are missing
need_packages()
{
    local package missing=()

    if ! have_dpkg; then
        say "not a Debian system: make sure that it has the contents of: $*"
        return 0
    fi
    for package in "$@"; do
        if ! package_installed "$package"; then
            missing+=("$package")
        fi
    done
    if [ ${#missing[@]} -gt 0 ]; then
        apt_install "${missing[@]}"
    fi
}

meson_is_new_enough()
{
    /usr/bin/python3 -c '
import sys
from mesonbuild.coredata import version
sys.exit(tuple(int(x) for x in version.split(".")[:2]) < (1, 5))
' 2>/dev/null
}

# Installs meson 1.5, which QEMU needs. On Debian 12, which has meson 1.0,
# it comes from the backports.
need_meson()
{
    if meson_is_new_enough; then
        return 0
    fi
    if have_dpkg && [ "$(system_codename)" = bookworm ]; then
        private_apt_fetch 'meson_*.deb' download meson/bookworm-backports
        # The path tells apt-get that this is a file
        apt_install "$(newest_source 'meson_*.deb')"
    elif have_dpkg; then
        need_packages meson
    fi
    if ! meson_is_new_enough; then
        die "meson" "version 1.5 or newer is needed" \
            "Install it for /usr/bin/python3, then run this again."
    fi
}
