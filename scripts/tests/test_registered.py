# SPDX-License-Identifier: GPL-2.0-or-later

"""Check that meson has all tests: meson.build lists them one by one."""

import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

# Test files, and the meson.build that lists their names, with or without
# prefix and suffix (tests/nested/unit/test_registration.py checks those of
# tests/nested)
TESTS = (('tests/gtest', '*-test.cc', 'tests/gtest'),
         ('tests/fuzz', '*-fuzz.cc', 'tests/fuzz'),
         ('scripts/lint', '*', 'scripts'),
         ('scripts/tests', 'test_*.py', 'scripts'))


class RegistrationTest(unittest.TestCase):

    def test_files_are_named_in_meson_build(self) -> None:
        for folder, pattern, owner in TESTS:
            text = (ROOT / owner / 'meson.build').read_text(encoding='utf-8')
            words = set(re.findall(r"'(?:\w+/)*([\w-]+)(?:\.cc)?'", text))
            names = [path.stem for path in (ROOT / folder).glob(pattern)]
            self.assertTrue(names, folder)
            for name in names:
                short = re.sub('^test_|-test$|-fuzz$', '', name)
                with self.subTest(name, folder=folder):
                    self.assertTrue({name, short} & words)


if __name__ == '__main__':
    unittest.main()
