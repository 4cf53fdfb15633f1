# SPDX-License-Identifier: GPL-2.0-or-later

"""Read series.toml, the plan of a series."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from patch_series.problem import Problem


@dataclass
class Completion:
    """A part of a file that comes with a later commit than the file.

    @text is a part of the file's text, which is @before until then.
    @paragraphs are lines that select the paragraphs which they are in.
    """

    file: str
    text: str = ''
    before: str = ''
    paragraphs: list[str] = field(default_factory=list)


@dataclass
class Edit:
    """A replacement in one of the project's files, for all of the series.

    With @until, it replaces all from @old up to @until, which stays; with
    @to_end, all from @old to the end of the file.
    """

    file: str
    old: str
    new: str = ''
    until: str = ''
    to_end: bool = False


@dataclass
class Extension:
    """Lines of a list that the series appends to one of QEMU's files.

    @source is a list of files of the project.  With @folder, the lines are the
    sections of @source that begin with a file in this folder.
    """

    file: str
    source: str
    folder: str = ''


@dataclass
class Include:
    """A header that is replaced by those of @headers that a file needs.

    @headers maps a header to a pattern of the names that it declares.
    """

    header: str
    headers: dict[str, str]


@dataclass
class Rename:
    old: str
    new: str


@dataclass
class Accepted:
    """A complaint of checkpatch.pl that is ignored, and why."""

    message: str
    reason: str


@dataclass
class Commit:
    """A commit.

    Without @subject and @body, it has the message of the patch @message_of,
    or of its only patch.
    """

    subject: str = ''
    message_of: str = ''
    body: str = ''
    patches: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    completes: list[Completion] = field(default_factory=list)
    accepts: list[Accepted] = field(default_factory=list)


@dataclass
class Plan:
    """A series, whose patches have @prefix in their subjects.

    @growing are lists of files, such as a meson.build, in which each commit
    adds the entries of the files that it adds.  @moved maps a path in the
    series to the project's path of the file.  @old_version is an #if for an
    older QEMU, whose part of a file is left out.

    @scope are patterns of the project's files that the series has, except
    those that match @left_out.  @differs are QEMU's files that are not as in
    patches/.  Both give a reason.
    """

    folder: Path
    date: str
    commits: list[Commit]
    prefix: str = 'PATCH'
    maintainers_before: str = ''
    old_version: str = ''
    is_what_project_builds: bool = False
    scope: list[str] = field(default_factory=lambda: ['*'])
    growing: list[str] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    differs: dict[str, str] = field(default_factory=dict)
    edits: list[Edit] = field(default_factory=list)
    extensions: list[Extension] = field(default_factory=list)
    includes: list[Include] = field(default_factory=list)
    accepts: list[Accepted] = field(default_factory=list)
    renames: list[Rename] = field(default_factory=list)

    @property
    def own_files(self) -> list[str]:
        """The files that the series adds, in the order of its commits."""
        return [name for commit in self.commits for name in commit.files]


def read_commit(table: dict[str, Any]) -> Commit:
    completes = [Completion(**entry) for entry in table.pop('completes', [])]
    accepts = [Accepted(**entry) for entry in table.pop('accepts', [])]
    return Commit(completes=completes, accepts=accepts, **table)


def read_plan(path: Path) -> Plan:
    try:
        table = tomllib.loads(path.read_text(encoding='utf-8'))
        plan = Plan(
            folder=path.parent,
            commits=[read_commit(entry) for entry in table.pop('commit')],
            edits=[Edit(**entry) for entry in table.pop('edit', [])],
            extensions=[Extension(**entry)
                        for entry in table.pop('extend', [])],
            includes=[Include(**entry) for entry in table.pop('include', [])],
            renames=[Rename(**entry) for entry in table.pop('rename', [])],
            accepts=[Accepted(**entry) for entry in table.pop('accept', [])],
            **table)
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise Problem(path, f'cannot be used: {error}',
                      'patch_series/plan.py defines its format.') from error
    names = plan.own_files
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise Problem(path, f'two commits add {", ".join(sorted(twice))}',
                      'List each file once.')
    return plan
