# SPDX-License-Identifier: GPL-2.0-or-later

"""Check that meson has all nested tests: meson.build lists them one by one."""

import re
import subprocess
import sys
import unittest

from harness import NESTED
from harness.session import BASE


def collected(*options: str, module: str = '') -> set[str]:
    """Return the node ids of test cases, without their folder."""
    result = subprocess.run(
        [sys.executable, '-m', 'pytest', '--collect-only', '-q', *options,
         NESTED / 'cases' / module], cwd=NESTED.parent.parent,
        capture_output=True, text=True, check=True)
    return {line.rpartition('/')[2] for line in result.stdout.splitlines()
            if '::' in line}


class RegistrationTest(unittest.TestCase):

    def setUp(self) -> None:
        self.text = (NESTED / 'meson.build').read_text(encoding='utf-8')

    def names(self, variable: str) -> set[str]:
        """Return the elements of a list in meson.build."""
        match = re.search(rf'^{variable} = \[(.*?)\]$', self.text,
                          re.M | re.S)
        assert match, variable
        return set(re.findall(r"'([^']+)'", match[1]))

    def parts(self) -> dict[str, tuple[str, str]]:
        """Return the module and the expression of tests for parts of one."""
        match = re.search(r'^nested_parts = {(.*?)^}$', self.text,
                          re.M | re.S)
        assert match
        return {name: (module, expression) for name, module, expression
                in re.findall(r"'([^']+)':\s+\['([^']+)', '([^']+)'\]",
                              match[1])}

    def test_parametrized_programs_are_registered(self) -> None:
        both = self.names('nested_programs')
        programs = {f'{name}-{backend}' for name in both
                    for backend in ('type1', 'iommufd')} | \
                   {f'{name}-type1' for name
                    in self.names('nested_programs_type1')}
        expected = {
            *(f'test_program[{name}]' for name in programs),
            *(f'test_results[{name}]' for name
              in self.names('nested_results')),
            *(f'test_random_program[{name}]' for name
              in self.names('nested_random'))}
        found = {name.removeprefix('test_programs.py::')
                 for name in collected() if name.startswith('test_programs.')}
        self.assertEqual(found, expected)

    def test_modules_are_registered(self) -> None:
        found = {path.stem for path in (NESTED / 'cases').glob('test_*.py')}
        self.assertEqual(found - {'test_programs'}, {
            f'test_{name}' for name in self.names('nested_cases') |
            self.names('nested_cases_by_backend')} | {
                module.removesuffix('.py')
                for module, _ in self.parts().values()})

    def test_parts_are_the_whole(self) -> None:
        for module in {module for module, _ in self.parts().values()}:
            in_parts = [name for of_module, expression
                        in self.parts().values() if of_module == module
                        for name in collected('-k', expression,
                                              module=module)]
            self.assertEqual(sorted(in_parts),
                             sorted(collected(module=module)))

    def test_cases_by_backend_name_their_backend(self) -> None:
        modules = {f'test_{name}.py' for name
                   in self.names('nested_cases_by_backend')}
        seen = 0
        for name in collected():
            if name.partition('::')[0] in modules:
                seen += 1
                self.assertRegex(name, 'type1|iommufd')
        self.assertTrue(seen)

    def names_by_backend(self, variable: str) -> set[str]:
        return {f'{name.replace("_", "-")}-{backend}' for name
                in self.names(variable) for backend in ('type1', 'iommufd')}

    def names_of_cases(self) -> set[str]:
        return {name.replace('_', '-') for name
                in self.names('nested_cases')} | \
            self.names_by_backend('nested_cases_by_backend') | \
            set(self.parts())

    def test_lists_of_tests_that_exist(self) -> None:
        names = self.names_of_cases() | \
            self.names_by_backend('nested_programs') | \
            {f'random-program-{name}' for name in self.names('nested_random')}
        for variable in ('nested_first', 'nested_extra'):
            self.assertLessEqual(self.names(variable), names)
            self.assertTrue(self.names(variable))

    def test_each_program_runs_with_a_backend(self) -> None:
        extra = self.names('nested_extra')
        for name in self.names('nested_programs'):
            self.assertFalse({f'{name}-{backend}' for backend
                              in ('type1', 'iommufd')} <= extra, name)

    def test_core_tests_exist(self) -> None:
        core = self.names('nested_core')
        self.assertLessEqual(
            core, self.names_of_cases() |
            self.names_by_backend('nested_programs') |
            {f'{name}-type1' for name in self.names('nested_programs_type1')})
        self.assertTrue(core)

    def test_bases_are_all_but_the_default(self) -> None:
        folders = (NESTED.parent.parent / 'patches').glob('qemu-*')
        self.assertEqual(
            {f'qemu-{base}' for base in self.names('nested_bases')} |
            {f'qemu-{BASE}{part}' for part in ('', '-svm', '-tcg')},
            {path.name for path in folders})
