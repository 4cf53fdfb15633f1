# SPDX-License-Identifier: GPL-2.0-or-later

"""Find calls of functions in C and C++ sources and in patches."""

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lib.version import ROOT

# The folders with our files that are linked into QEMU
_FOLDERS = ('accel', 'hw', 'include', 'system', 'target')
_SUFFIXES = ('.c', '.cc', '.h', '.inc')
_TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|(?P<token>"(?:[^"\\\n]|\\.)*"|'
                    r"'(?:[^'\\\n]|\\[^\n])[^'\n]{0,8}'|[A-Za-z_]\w*|[^\s])",
                    re.DOTALL)
# Macros with a conversion of printf(), such as PRIx64, and other constants
_CONVERSION = re.compile(r'(?:\w+_)?PRI[diouxX]\w*')
_CONSTANT = re.compile(r'[A-Z][A-Z0-9_]+')
_ESCAPES = {'\\n': '\n', '\\t': '\t', '\\"': '"', '\\\\': '\\'}
_HUNK = re.compile(r'@@ -\d+(?:,\d+)? \+(\d+)')


@dataclass(frozen=True)
class Source:
    """A part of a source file, or what a hunk of a patch makes of it."""

    name: str
    text: str
    # Number of the first line in the file
    first: int = 1
    # The lines that count, numbered from 0; None if all do
    lines: frozenset[int] | None = None

    def counts(self, start: int, end: int) -> bool:
        """Whether a line that counts is in a range of characters."""
        if self.lines is None:
            return True
        first = self.text.count('\n', 0, start)
        return any(first <= line <= first + self.text.count('\n', start, end)
                   for line in self.lines)


@dataclass(frozen=True)
class Call:
    """A call: where it is, the function, and the tokens of each argument."""

    place: str
    function: str
    arguments: tuple[tuple[str, ...], ...]


class ParseError(Exception):
    """The source cannot be understood."""


def _arguments(source: Source, start: int) -> \
        tuple[tuple[tuple[str, ...], ...], int] | None:
    """Return the arguments after a parenthesis, and where they end."""
    arguments: list[list[str]] = [[]]
    depth = 0
    for match in _TOKEN.finditer(source.text, start):
        token = match.group('token')
        if token in ('(', '{', '['):
            depth += 1
        elif token in (')', '}', ']'):
            depth -= 1
            if depth < 0:
                return tuple(map(tuple, arguments)), match.end()
        if token == ',' and not depth:
            arguments.append([])
        elif token:
            arguments[-1].append(token)
    return None


def calls_in(source: Source, functions: re.Pattern[str]) -> Iterator[Call]:
    """Yield the calls of functions whose names match."""
    previous = None
    for match in _TOKEN.finditer(source.text):
        token = match.group('token')
        if token == '(' and previous and \
                functions.fullmatch(previous.group('token')):
            start = previous.start()
            line = source.first + source.text.count('\n', 0, start)
            found = _arguments(source, match.end())
            end = found[1] if found else len(source.text)
            if source.counts(start, end):
                place = f'{source.name}:{line}'
                if not found:
                    raise ParseError(f'{place}: the call does not end')
                yield Call(place, previous.group('token'), found[0])
        if token:
            previous = match


def _piece(token: str) -> str | None:
    """Return the part of a literal text that a token is."""
    if token.startswith('"'):
        return re.sub(r'\\.', lambda match: _ESCAPES.get(match.group(),
                                                         match.group()),
                      token[1:-1])
    # Which conversion it is, and what a constant is, does not matter
    if _CONVERSION.fullmatch(token):
        return 'd'
    return '%s' if _CONSTANT.fullmatch(token) else None


def texts_of(argument: Iterable[str]) -> list[str]:
    """Return the texts that an argument can be, none if it has no literal.

    Adjacent literals and constants are one text. With the operator ?: there
    are several.
    """
    texts = []
    for is_text, group in itertools.groupby(
            argument, lambda token: _piece(token) is not None):
        tokens = list(group)
        if is_text and any(token.startswith('"') for token in tokens):
            texts.append(''.join(map(str, map(_piece, tokens))))
    return texts


def own_sources() -> list[Source]:
    """Return our C and C++ files."""
    paths = sorted(path for folder in _FOLDERS
                   for path in (ROOT / folder).rglob('*')
                   if path.suffix in _SUFFIXES)
    return [Source(str(path.relative_to(ROOT)),
                   path.read_text(encoding='utf-8')) for path in paths]


def hunks_of(name: str, patch: str) -> Iterator[Source]:
    """Yield what the hunks of a patch make of C files."""
    path, first = '', 0
    lines: list[str] | None = None
    for line in [*patch.splitlines(), '@@ end']:
        if lines is not None and line[:1] not in ('+', ' ', '-', '\\'):
            added = frozenset(number for number, text in enumerate(lines)
                              if text.startswith('+'))
            if added and path.endswith(_SUFFIXES):
                yield Source(f'{name}: {path}', '\n'.join(
                    text[1:] for text in lines), first, added)
            lines = None
        if match := _HUNK.match(line):
            first, lines = int(match.group(1)), []
        elif lines is None and line.startswith('+++ '):
            path = line.partition('/')[2]
        elif lines is not None and line[0] in '+ ':
            lines.append(line)


def patch_sources(folder: Path) -> list[Source]:
    """Return what the patches in a folder add to C files."""
    return [source for path in sorted(folder.glob('*.patch'))
            for source in hunks_of(str(path.relative_to(ROOT)),
                                   path.read_text(encoding='utf-8'))]
