# SPDX-License-Identifier: GPL-2.0-or-later

"""Export a series, and tell scripts/check about its commits."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from patch_series.checkpatch import complaints
from patch_series.export import INDEX, Exporter
from patch_series.plan import read_plan
from patch_series.problem import Problem
from patch_series.repository import Repository

ROOT = Path(__file__).resolve().parent.parent.parent


def export(args: argparse.Namespace) -> int:
    plan = read_plan(args.plan)
    repository = Repository.borrow(args.source, args.repository, args.author,
                                   plan.date)
    exporter = Exporter(ROOT, plan, repository, args.author)
    commits = exporter.make_commits(args.pristine)
    exporter.check_last(commits[-1], args.patched,
                        args.own.read_text(encoding='utf-8').splitlines())
    patches = exporter.write_patches(args.pristine, commits[-1], args.out)
    exporter.write_index(commits, patches, args.out)
    print(f'== {len(patches)} patches are in {args.out}')
    return 0


def read_index(out: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(
        (out / INDEX).read_text(encoding='utf-8'))
    return entries


def print_commits(args: argparse.Namespace) -> int:
    """Print a line with the ID and the patch of each commit."""
    for entry in read_index(args.out):
        print(entry['commit'], entry['patch'])
    return 0


def check_style(args: argparse.Namespace) -> int:
    accepted = next(entry['accepts'] for entry in read_index(args.out)
                    if entry['patch'] == args.patch.name)
    found = complaints(args.tree, args.out / args.patch, accepted)
    for complaint in found:
        print(complaint)
    return 1 if found else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog='patch_series', description=__doc__)
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser('export', help=export.__doc__)
    command.set_defaults(run=export)
    command.add_argument('plan', type=Path, help='series.toml')
    command.add_argument('out', type=Path, help='folder for the patches')
    command.add_argument('--source', type=Path, required=True,
                         help='repository with the source of QEMU')
    command.add_argument('--repository', type=Path, required=True,
                         help='repository for the commits')
    command.add_argument('--pristine', required=True,
                         help='commit of the pristine source')
    command.add_argument('--patched', required=True,
                         help='commit with the patches of the project')
    command.add_argument('--own', type=Path, required=True,
                         help="list of the project's files in QEMU's tree")
    command.add_argument('--author', required=True,
                         help='author of the commits, "NAME <ADDRESS>"')

    command = commands.add_parser('commits', help=print_commits.__doc__)
    command.set_defaults(run=print_commits)
    command.add_argument('out', type=Path, help='folder with the patches')

    command = commands.add_parser('checkpatch', help='check a patch')
    command.set_defaults(run=check_style)
    command.add_argument('out', type=Path, help='folder with the patches')
    command.add_argument('patch', type=Path, help='name of the patch')
    command.add_argument('tree', type=Path, help='source of QEMU')

    args = parser.parse_args()
    try:
        return args.run(args)
    except Problem as problem:
        print(problem, file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
