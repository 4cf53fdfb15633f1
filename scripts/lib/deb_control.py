# SPDX-License-Identifier: GPL-2.0-or-later

"""Edit the control file of a Debian source package.

The first argument is the new maintainer, the second one the file, and the
others are the binary packages to keep. Lines for one vendor only, as in
control-in of the package qemu, begin with the vendor's name: ":debian:".
"""

import re
import sys
from pathlib import Path

VENDOR = r'(?P<vendor>(?::\w+:)?)'
MAINTAINER = re.compile(rf'^{VENDOR}Maintainer: .*$', re.MULTILINE)
PACKAGE = re.compile(r'^(?::\w+:)?Package: *(?P<name>\S+)', re.MULTILINE)


class ControlError(Exception):
    """The file differs from what is expected; the text is for the user."""


def keep_packages(text: str, wanted: list[str]) -> str:
    """Return the file without the other packages."""
    kept = []
    missing = set(wanted)
    for paragraph in re.split(r'\n(?:[ \t]*\n)+', text.strip('\n')):
        names = PACKAGE.findall(paragraph)
        if names and not missing & {*names} or \
                not names and not re.search('^Source:', paragraph, re.M):
            continue
        missing -= {*names}
        kept.append(paragraph)
    if missing:
        raise ControlError(f'has no package {", ".join(sorted(missing))}')
    return '\n\n'.join(kept) + '\n'


def replace_maintainer(text: str, maintainer: str) -> str:
    """Return the file with a new maintainer, for each vendor."""
    if not MAINTAINER.search(text):
        raise ControlError('has no maintainer')
    return MAINTAINER.sub(
        lambda found: f'{found["vendor"]}Maintainer: {maintainer}', text)


def main() -> int:
    maintainer, name, *packages = sys.argv[1:]
    path = Path(name)
    try:
        text = keep_packages(path.read_text(encoding='utf-8'), packages)
        text = replace_maintainer(text, maintainer)
    except ControlError as error:
        print(f'error: {path.name}: {error}', file=sys.stderr)
        return 1
    path.write_text(text, encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
