# SPDX-License-Identifier: GPL-2.0-or-later

"""Cut files into the states that they have at the commits of a series."""

import posixpath
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from patch_series.plan import Completion, Edit, Extension, Plan
from patch_series.problem import Problem

NAME = re.compile(r"(')?([\w.+/-]+)(')?")


def names_of(paths: Iterable[str]) -> set[str]:
    return {PurePosixPath(path).name for path in paths}


def names_any(line: str, paths: set[str]) -> bool:
    """Whether a line names one of the files, with or without its folder.

    The name of a program in quotes is that of its source.
    """
    for start, text, end in NAME.findall(line):
        name = PurePosixPath(text).name
        if name in paths or (start and end and f'{name}.c' in paths):
            return True
    return False


def cut_paragraph(paragraph: str, known: set[str], later: set[str]) -> str:
    """Leave out the entries of files that come later.

    If the first line names such a file, or if no entry is left, this is all of
    the paragraph.
    """
    lines = paragraph.splitlines(keepends=True)
    if names_any(lines[0], later):
        return ''
    kept = [line for line in lines if not names_any(line, later)]
    if kept != lines and not any(names_any(line, known) for line in kept):
        return ''
    return ''.join(kept)


def cut_list(text: str, added: Iterable[str], later: Iterable[str]) -> str:
    """Return the state of a list of files, such as a meson.build."""
    known, missing = names_of(added), names_of(later)
    paragraphs = [cut_paragraph(paragraph + '\n', known, missing)
                  for paragraph in text.rstrip('\n').split('\n\n')]
    return '\n'.join(filter(None, paragraphs))


def is_section(paragraph: str, folder: str) -> bool:
    """Whether a paragraph has entries, and is for files in a folder."""
    lines = paragraph.splitlines()
    return (lines[0].removeprefix('# ').startswith(folder) and
            not all(line.startswith('#') for line in lines))


def extension_of(extension: Extension, text: str, added: Iterable[str],
                 later: Iterable[str]) -> str:
    """Return the lines to append to a file of QEMU, or an empty string.

    @text is the list that they come from, in which paths are relative to its
    folder.
    """
    here = posixpath.dirname(extension.source)
    there = posixpath.dirname(extension.file)
    sections = [paragraph for paragraph in text.rstrip('\n').split('\n\n')
                if is_section(paragraph, extension.folder)]
    lines = cut_list('\n\n'.join(sections), added, later)
    if not lines:
        return ''

    def seen_from_there(path: re.Match[str]) -> str:
        return posixpath.relpath(posixpath.join(here, path[0]), there)

    return '\n' + re.sub(r"(?<=')\.\./[^']+", seen_from_there, lines)


def cut_maintainers(section: str, files: Iterable[str]) -> str:
    """Return a section of MAINTAINERS with the patterns that match a file."""
    present = list(files)

    def is_needed(line: str) -> bool:
        pattern = line.removeprefix('F: ')
        return pattern == line or any(matches(pattern, name)
                                      for name in present)

    return ''.join(line for line in section.splitlines(keepends=True)
                   if is_needed(line.rstrip('\n')))


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern of MAINTAINERS matches; a folder matches its files."""
    if pattern.endswith('/'):
        return name.startswith(pattern)
    return (fnmatchcase(name, pattern) and
            name.count('/') == pattern.count('/'))


def unmatched(section: str, files: Iterable[str]) -> list[str]:
    patterns = [line.removeprefix('F: ') for line in section.splitlines()
                if line.startswith('F: ')]
    return [name for name in files
            if not any(matches(pattern, name) for pattern in patterns)]


def replace_once(file: str, text: str, old: str, new: str) -> str:
    found = text.count(old)
    if found != 1:
        raise Problem(file, f'has {found} times what series.toml replaces: '
                      f'{old.strip().splitlines()[0]!r}',
                      'Adapt series.toml to the file.')
    return text.replace(old, new)


def paragraph_with(file: str, text: str, line: str) -> str:
    found = [paragraph for paragraph in text.split('\n\n')
             if line in paragraph.splitlines()]
    if len(found) != 1:
        raise Problem(file, f'{len(found)} paragraphs have the line {line!r}',
                      'Adapt series.toml to the file.')
    return found[0]


def without(text: str, completion: Completion) -> str:
    """Return the state of a file before a part of it is completed."""
    file = completion.file
    for line in completion.paragraphs:
        paragraph = paragraph_with(file, text, line).rstrip('\n')
        text = replace_once(file, text, f'\n\n{paragraph}', '')
    if completion.text:
        text = replace_once(file, text, completion.text, completion.before)
    return text


def include_needed(text: str, header: str, headers: dict[str, str]) -> str:
    """Replace a header by those that declare what a file uses."""
    line = f'#include "{header}"\n'
    if line not in text:
        return text
    rest = text.replace(line, '')
    needed = [f'#include "{name}"\n' for name, pattern in headers.items()
              if re.search(rf'\b(?:{pattern})\b', rest) and
              f'#include "{name}"' not in rest]
    return text.replace(line, ''.join(needed))


def newest_version(text: str, old_version: str) -> str:
    """Leave out what a file has for an older version of QEMU."""
    before, found, rest = text.partition(f'\n{old_version}\n')
    if not old_version or not found:
        return text
    newest, _, after = rest.partition('\n#else\n')[2].partition('\n#endif\n')
    return f'{before}\n{newest}\n{after}'


def up_to(text: str, edit: Edit) -> str:
    """Return the part of a text that an edit replaces."""
    start = text.find(edit.old)
    end = text.find(edit.until, start) if edit.until else -1
    if start < 0 or (edit.until and end < 0):
        return edit.until if start >= 0 else edit.old
    if edit.to_end:
        return text[start:]
    return text[start:end] if edit.until else edit.old


def adapt(plan: Plan, file: str, text: str) -> str:
    """Return the final state of one of the project's files in the series."""
    for edit in plan.edits:
        if edit.file == file:
            text = replace_once(file, text, up_to(text, edit), edit.new)
    if not file.endswith(('.c', '.h')):
        return text
    text = newest_version(text, plan.old_version)
    for include in plan.includes:
        text = include_needed(text, include.header, include.headers)
    for rename in plan.renames:
        text = re.sub(rf'\b{rename.old}\b', rename.new, text)
    return text
