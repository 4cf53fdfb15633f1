# SPDX-License-Identifier: GPL-2.0-or-later

"""Compare the manual with QEMU as scripts/build-qemu builds it."""

import subprocess
import unittest
from collections.abc import Iterator
from pathlib import Path

from lib.options import DEFAULT_BASE, bases
from lib.version import ROOT
from tests.c_calls import ParseError, Source, own_sources, patch_sources
from tests.manual import (OTHER_MESSAGES, Message, compare, documented_options,
                          entries_in, manual, messages_in, options_in,
                          options_in_help)

# The device and the object that have properties of ours
HELP = (('-device', 'vfio-pci'), ('-object', 'sw-protected-vm'))
# Folders of QEMU's source with messages that users see
FOLDERS = ('accel', 'backends', 'block', 'hw', 'migration', 'system', 'target',
           'util')


def folder_of(base: str) -> Path:
    return ROOT / 'build' / ('' if base == DEFAULT_BASE else f'qemu-{base}')


def messages_of(tree: Path) -> Iterator[Message]:
    """Yield the messages of QEMU's sources, without links to our files."""
    for folder in FOLDERS:
        for path in sorted((tree / folder).rglob('*.c')):
            text = path.read_text(encoding='utf-8')
            if not path.is_symlink() and 'error' in text:
                try:
                    yield from messages_in(Source(path.name, text))
                except ParseError:
                    # A macro with one half of a call
                    continue


class QemuTest(unittest.TestCase):
    def path(self, base: str, name: str) -> Path:
        path = folder_of(base) / name
        if not path.exists():
            self.skipTest(f'no {path.relative_to(ROOT)}; scripts/build-qemu '
                          f'--base {base} builds it')
        return path

    def test_options(self) -> None:
        """The manual has the same options as QEMU's help."""
        documented = documented_options()
        for base in bases():
            with self.subTest(base):
                qemu = self.path(base, 'qemu/qemu-system-x86_64')
                added = options_in([*own_sources(), *patch_sources(
                    ROOT / f'patches/qemu-{base}')])
                found: dict[str, str] = {}
                for option, name in HELP:
                    found |= options_in_help(subprocess.run(
                        [qemu, option, f'{name},help'], capture_output=True,
                        text=True, check=True, timeout=60).stdout)
                # Most properties of vfio-pci are QEMU's own
                self.assertGreater(len(found), 20)
                self.assertEqual({name: text for name, text in found.items()
                                  if name in {**added, **documented}},
                                 documented)

    def test_messages_of_other_parts(self) -> None:
        """QEMU has the messages that the manual lists as QEMU's."""
        entries = entries_in(manual(), OTHER_MESSAGES)
        for base in bases():
            with self.subTest(base):
                messages = list(messages_of(self.path(base, 'qemu-src')))
                self.assertGreater(len(messages), 1000)
                self.assertEqual([], [problem for problem in
                                      compare(messages, entries)
                                      if problem.startswith('the manual')])


if __name__ == '__main__':
    unittest.main()
