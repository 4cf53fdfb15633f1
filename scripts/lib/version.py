# SPDX-License-Identifier: GPL-2.0-or-later

"""The version of this project.

A release has the version in meson.build, and a tag vVERSION. What follows it
has the date and the commit in its version, too: 0.1+git20261126.4ecc0f2662b3.
A tarball has no history, but a file VERSION.
"""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FILE = 'VERSION'
_HASH_LENGTH = 12


class VersionError(Exception):
    """The version cannot be found out; the text is for the user."""


def git(root: Path, *arguments: str) -> bytes:
    """Return the output of git for a checkout."""
    if not (root / '.git').exists():
        raise VersionError(f'{root}: not a git checkout: there is no .git. '
                           'Clone the repository with git')
    try:
        # No configuration, so that the output is the same for every user
        return subprocess.run(
            ['git', '-c', f'safe.directory={root}', '-C', root, *arguments],
            env={**os.environ, 'TZ': 'UTC', 'GIT_CONFIG_GLOBAL': os.devnull,
                 'GIT_CONFIG_SYSTEM': os.devnull},
            stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout
    except OSError as error:
        raise VersionError(f'git: {error.strerror}; it is in Debian\'s '
                           'package git') from error
    except subprocess.CalledProcessError as error:
        words = error.stderr.decode(errors='replace').strip()
        raise VersionError(f'git {arguments[0]}: {words}') from error


def _text(root: Path, *arguments: str) -> str:
    return git(root, *arguments).decode().strip()


def commit_version(root: Path, commit: str) -> str:
    """Return the version of a commit."""
    match = re.search(r"(?m)^ +version: '([^']+)'",
                      _text(root, 'show', f'{commit}:meson.build'))
    if not match:
        raise VersionError(f'{commit}:meson.build: has no version')
    release = match.group(1)
    if f'v{release}' in _text(root, 'tag', '--points-at', commit).split():
        return release
    date, name = _text(root, 'log', '-1', '--date=format-local:%Y%m%d',
                       '--format=%cd %H', commit).split()
    return f'{release}+git{date}.{name[:_HASH_LENGTH]}'


def project_version(root: Path = ROOT) -> str:
    """Return the version of a checkout, or of an unpacked tarball."""
    try:
        return (root / FILE).read_text(encoding='utf-8').strip()
    except FileNotFoundError:
        pass
    version = commit_version(root, 'HEAD')
    changed = _text(root, 'status', '--porcelain', '--untracked-files=no')
    return f'{version} with changes' if changed else version
