# SPDX-License-Identifier: GPL-2.0-or-later

"""Make the commits of a series, and write them as patches."""

import json
import re
import textwrap
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from patch_series import cut
from patch_series.plan import Commit, Extension, Plan
from patch_series.problem import Problem
from patch_series.repository import File, Repository

COVER_WIDTH = 72
# The list of commits, next to the patches
INDEX = 'series.json'


def message_of_patch(path: Path) -> str:
    """Return the message of a patch in git's mail format, without trailers."""
    head, _, body = path.read_text(encoding='utf-8').partition('\n\n')
    subject = re.search(r'^Subject: (?:\[PATCH\] )?(.*(?:\n .*)*)', head,
                        re.MULTILINE)
    if not subject:
        raise Problem(path, 'has no subject', 'Give its commit a subject.')
    body = re.split(r'\n(?:---\n|diff --git )', '\n' + body)[0]
    lines = [line for line in body.splitlines()
             if not line.startswith('Signed-off-by: ')]
    return (subject[1].replace('\n', '') + '\n\n' +
            '\n'.join(lines).strip() + '\n')


class Exporter:

    def __init__(self, root: Path, plan: Plan, repository: Repository,
                 author: str) -> None:
        self.root = root
        self.plan = plan
        self.repository = repository
        self.author = author
        section = plan.folder / 'maintainers.txt'
        self.section = (section.read_text(encoding='utf-8')
                        if plan.maintainers_before else '')

    def source(self, name: str) -> Path:
        """Return the file of the project that becomes a file of the series.

        A file in series/ is the series' version of the one that the project
        builds.
        """
        own = self.root / 'series' / name
        path = (own if own.exists() else
                self.root / self.plan.moved.get(name, name))
        if not path.is_file():
            raise Problem(name, f'is in {self.plan.folder.name}/series.toml '
                          'but not in the project', 'Correct the name.')
        return path

    def final(self, name: str) -> str:
        text = self.source(name).read_text(encoding='utf-8')
        return cut.adapt(self.plan, name, text)

    def message(self, commit: Commit) -> str:
        if commit.subject:
            text = f'{commit.subject}\n\n{commit.body.strip()}\n'
        elif commit.message_of:
            text = message_of_patch(self.root / commit.message_of)
        elif len(commit.patches) == 1:
            text = message_of_patch(self.root / commit.patches[0])
        else:
            raise Problem(self.plan.folder / 'series.toml',
                          f'no subject for {commit.patches + commit.files}',
                          'Only a commit with one patch can be without.')
        return f'{text}\nSigned-off-by: {self.author}\n'

    def state(self, name: str, number: int) -> str:
        """Return the text of a file at a commit."""
        text = self.final(name)
        for commit in self.plan.commits[number + 1:]:
            for completion in commit.completes:
                if completion.file == name:
                    text = cut.without(text, completion)
        if name not in self.plan.growing:
            return text
        return cut.cut_list(text, self.files(0, number + 1),
                            self.files(number + 1))

    def files(self, start: int, end: int | None = None) -> list[str]:
        """Return the files that some commits add, without lists of files."""
        return [file for commit in self.plan.commits[start:end]
                for file in commit.files if file not in self.plan.growing]

    def added(self, number: int) -> list[str]:
        """Return the files that there are after a commit."""
        return [file for commit in self.plan.commits[:number + 1]
                for file in commit.files]

    def file(self, name: str, number: int) -> File:
        is_program = bool(self.source(name).stat().st_mode & 0o100)
        return File(self.state(name, number), is_program)

    def maintainers(self, number: int) -> dict[str, File]:
        """Return MAINTAINERS, with a section of the files that exist."""
        present = self.added(number)
        if not self.section or not present:
            return {}
        text = self.repository.read('MAINTAINERS')
        section = cut.cut_maintainers(self.section, present)
        title = self.section.splitlines()[0]
        before = self.plan.maintainers_before
        if title in text:
            start = text.index(title)
            text = text[:start] + text[text.index(before, start):]
        return {'MAINTAINERS': File(cut.replace_once(
            'MAINTAINERS', text, f'\n{before}\n',
            f'\n{section}\n{before}\n'))}

    def extension(self, extension: Extension, number: int) -> str:
        """Return the lines at the end of one of QEMU's files at a commit."""
        return cut.extension_of(extension, self.final(extension.source),
                                self.files(0, number + 1),
                                self.files(number + 1))

    def extended(self, number: int) -> dict[str, File]:
        """Return QEMU's files with the extensions that a commit has."""
        return {extension.file: File(self.repository.read(extension.file) +
                                     self.extension(extension, number))
                for extension in self.plan.extensions}

    def without_extensions(self, number: int,
                           tree: str = '') -> dict[str, File]:
        """Return QEMU's files before they were extended by a commit."""
        return {extension.file:
                File(self.repository.read(extension.file, tree).removesuffix(
                    self.extension(extension, number)))
                for extension in self.plan.extensions}

    def fill(self, number: int) -> None:
        """Put the changes of a commit into the index."""
        commit = self.plan.commits[number]
        # Patches apply to QEMU's own lines
        self.repository.add(self.without_extensions(number - 1))
        for patch in commit.patches:
            self.repository.apply(self.root / patch)
        self.repository.add(self.extended(number))
        added = self.added(number)
        changed = {*commit.files,
                   *(completion.file for completion in commit.completes),
                   *(name for name in self.plan.growing if name in added)}
        early = changed - set(added)
        if early:
            raise Problem(self.plan.folder / 'series.toml',
                          f'completes {", ".join(early)} before a commit adds '
                          'it', 'Complete it in a later commit.')
        files = {name: self.file(name, number) for name in sorted(changed)}
        self.repository.add(files | self.maintainers(number))

    def make_commits(self, base: str) -> list[str]:
        """Return the IDs of the commits."""
        commits = []
        parent = base
        self.repository.start(base)
        for number, commit in enumerate(self.plan.commits):
            self.fill(number)
            parent = self.repository.commit(parent, self.message(commit))
            commits.append(parent)
        self.repository.git('update-ref',
                            f'refs/heads/{self.plan.folder.name}', parent)
        return commits

    # Comparison with what the project builds

    def reason(self, name: str) -> str | None:
        """Return why the series does not have a file of the project."""
        for pattern, reason in self.plan.left_out.items():
            if fnmatchcase(name, pattern):
                return reason
        return None

    def wrong_own_files(self, own: list[str]) -> Iterator[str]:
        added = set(self.plan.own_files)
        for name in own:
            if not any(fnmatchcase(name, scope) for scope in self.plan.scope):
                continue
            if name in added and self.reason(name) is None:
                continue
            if name in added:
                yield f'{name}: added, but left_out has it, too'
            elif self.reason(name) is None:
                yield f'{name}: no commit adds it'
        for pattern in self.plan.left_out:
            if not any(fnmatchcase(name, pattern) for name in own):
                yield f'{pattern}: left_out has it, but it does not exist'

    def wrong_qemu_files(self, last: str, built: str) -> Iterator[str]:
        """Compare QEMU's own files with those that the project builds."""
        ours, theirs = (self.repository.blobs(tree) for tree in (last, built))
        added = set(self.plan.own_files)
        own_lines = self.without_extensions(len(self.plan.commits) - 1, last)
        for name in sorted({*ours, *theirs} - added):
            is_same = (own_lines[name].text ==
                       self.repository.read(name, built)
                       if name in own_lines else
                       ours.get(name) == theirs.get(name))
            if is_same and name in self.plan.differs:
                yield f'{name}: differs has it, but it is the same'
            elif not is_same and name not in self.plan.differs:
                yield f'{name}: differs from what the project builds'

    def wrong_final_files(self, last: str) -> Iterator[str]:
        for name in self.plan.own_files:
            if self.repository.read(name, last) != self.final(name):
                yield f'{name}: is not complete'
        for name in cut.unmatched(self.section, self.plan.own_files):
            if self.section:
                yield f'{name}: maintainers.txt has no pattern for it'

    def check_last(self, last: str, built: str, own: list[str]) -> None:
        wrong = [*self.wrong_final_files(last), *self.wrong_own_files(own)]
        if self.plan.is_what_project_builds:
            wrong += self.wrong_qemu_files(last, built)
        if wrong:
            raise Problem(
                self.plan.folder / 'series.toml',
                'the last commit is not what the project has:' +
                ''.join(f'\n  {line}' for line in wrong),
                'Adapt the commits, or explain the difference there.')

    # Patches

    def write_patches(self, base: str, last: str, out: Path) -> list[Path]:
        out.mkdir(parents=True, exist_ok=True)
        for old in out.glob('*.patch'):
            old.unlink()
        self.repository.git(
            'format-patch', '--quiet', '--cover-letter', '--no-signature',
            '--zero-commit', '--full-index', '--no-base', '-M',
            f'--subject-prefix={self.plan.prefix}', '-o', out,
            f'{base}..{last}')
        patches = sorted(out.glob('*.patch'))
        self.write_cover_letter(patches[0])
        return patches[1:]

    def write_cover_letter(self, path: Path) -> None:
        letter = self.plan.folder / 'cover-letter.txt'
        subject, _, body = letter.read_text(encoding='utf-8').partition('\n')
        for line in body.splitlines():
            if len(line) > COVER_WIDTH:
                raise Problem(letter, f'has a line of {len(line)} characters',
                              f'Wrap it at {COVER_WIDTH}: '
                              f'{textwrap.shorten(line, COVER_WIDTH)}')
        text = path.read_text(encoding='utf-8')
        text = cut.replace_once(path.name, text, '*** SUBJECT HERE ***',
                                subject)
        text = cut.replace_once(path.name, text, '*** BLURB HERE ***',
                                body.strip())
        path.write_text(text, encoding='utf-8')

    def write_index(self, commits: list[str], patches: list[Path],
                    out: Path) -> None:
        """Write what scripts/check --series needs to know."""
        entries = [{'commit': commit, 'patch': patch.name,
                    'accepts': [accepted.message for accepted
                                in self.plan.accepts + planned.accepts]}
                   for commit, patch, planned
                   in zip(commits, patches, self.plan.commits, strict=True)]
        (out / INDEX).write_text(json.dumps(entries, indent=1) + '\n',
                                 encoding='utf-8')
