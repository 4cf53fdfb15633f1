# SPDX-License-Identifier: GPL-2.0-or-later

"""A git repository without a work tree, in which commits are made."""

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from patch_series.problem import Problem

AUTHOR = re.compile(r'(.+) <(\S+@\S+)>$')


@dataclass
class File:

    text: str
    is_program: bool = False

    @property
    def mode(self) -> str:
        return '100755' if self.is_program else '100644'


class Repository:

    def __init__(self, path: Path, author: str, date: str) -> None:
        match = AUTHOR.match(author)
        if not match:
            raise Problem(f'author {author!r}', 'is not "NAME <ADDRESS>"',
                          'Use --author, or set user.name and user.email '
                          'with git config.')
        self.path = path
        self.environment = {
            **os.environ, 'GIT_DIR': str(path),
            'GIT_INDEX_FILE': str(path / 'series-index'),
            'GIT_CONFIG_GLOBAL': '/dev/null', 'GIT_CONFIG_SYSTEM': '/dev/null',
            'GIT_AUTHOR_NAME': match[1], 'GIT_AUTHOR_EMAIL': match[2],
            'GIT_COMMITTER_NAME': match[1], 'GIT_COMMITTER_EMAIL': match[2],
            'GIT_AUTHOR_DATE': date, 'GIT_COMMITTER_DATE': date, 'TZ': 'UTC'}

    @classmethod
    def borrow(cls, source: Path, path: Path, author: str,
               date: str) -> 'Repository':
        """Create a repository that shares the objects of another.

        If it exists, it gets another branch.
        """
        repository = cls(path, author, date)
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(['git', 'init', '-q', '--bare', path], check=True)
        alternates = path / 'objects/info/alternates'
        alternates.write_text(f'{source.resolve()}/objects\n',
                              encoding='utf-8')
        return repository

    def git(self, *arguments: str | Path, data: str | None = None) -> str:
        """Return the output of a git command."""
        result = self.try_git(*arguments, data=data)
        if result.returncode:
            raise Problem(f'git {arguments[0]}', result.stderr.strip(),
                          f'See {self.path}.')
        return result.stdout

    def try_git(self, *arguments: str | Path, data: str | None = None
                ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ['git', '-c', 'gc.auto=0', '-c', 'core.quotePath=off',
             *map(str, arguments)], input=data, text=True, check=False,
            capture_output=True, env=self.environment)

    def start(self, tree: str) -> None:
        """Let the next commit start from a tree."""
        self.git('read-tree', tree)

    def apply(self, patch: Path) -> None:
        result = self.try_git('apply', '--cached', '--3way', patch)
        if result.returncode:
            raise Problem(patch, f'does not apply: {result.stderr.strip()}',
                          'Adapt the patch, or the order in series.toml.')

    def add(self, files: Mapping[str, File]) -> None:
        """Put files into the index."""
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder, str(number)) for number in range(len(files))]
            for path, file in zip(paths, files.values(), strict=True):
                path.write_text(file.text, encoding='utf-8')
            blobs = self.git('hash-object', '-w', '--no-filters',
                             '--stdin-paths',
                             data='\n'.join(map(str, paths))).split()
        self.git('update-index', '--index-info', data=''.join(
            f'{file.mode} {blob}\t{name}\n'
            for (name, file), blob in zip(files.items(), blobs, strict=True)))

    def read(self, name: str, tree: str = '') -> str:
        """Return a file of a tree, or of the commit that is being made."""
        return self.git('cat-file', 'blob', f'{tree}:{name}')

    def commit(self, parent: str, message: str) -> str:
        tree = self.git('write-tree').strip()
        if tree == self.git('rev-parse', f'{parent}^{{tree}}').strip():
            raise Problem(message.splitlines()[0], 'changes nothing',
                          'Remove the commit from series.toml.')
        return self.git('commit-tree', '-p', parent, '-F', '-', tree,
                        data=message).strip()

    def blobs(self, tree: str) -> Mapping[str, str]:
        """Return the blobs of a tree by name."""
        blobs = {}
        for line in self.git('ls-tree', '-r', '-z', tree).split('\0'):
            if line:
                about, name = line.split('\t')
                blobs[name] = about.split()[2]
        return blobs
