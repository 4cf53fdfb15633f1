# SPDX-License-Identifier: GPL-2.0-or-later

"""Export a series: make its commits and write its patches."""

import argparse
import shutil
import sys
from pathlib import Path

from patch_series.export import Exporter
from patch_series.plan import read_plan
from patch_series.problem import Problem
from patch_series.repository import Repository

ROOT = Path(__file__).resolve().parent.parent.parent


def export(args: argparse.Namespace) -> None:
    plan = read_plan(args.plan)
    shutil.rmtree(args.repository, ignore_errors=True)
    repository = Repository.borrow(args.source, args.repository, args.author,
                                   plan.date)
    exporter = Exporter(ROOT, plan, repository, args.author)
    commits = exporter.make_commits(args.pristine)
    exporter.check_last(commits[-1], args.patched,
                        args.own.read_text(encoding='utf-8').splitlines())
    patches = exporter.write_patches(args.pristine, commits[-1], args.out)
    exporter.write_index(commits, patches, args.out)
    print(f'== {len(patches)} patches are in {args.out}')


def main() -> int:
    parser = argparse.ArgumentParser(prog='patch_series', description=__doc__)
    parser.add_argument('plan', type=Path, help='series.toml')
    parser.add_argument('out', type=Path, help='folder for the patches')
    parser.add_argument('--source', type=Path, required=True,
                        help='repository with the source of QEMU')
    parser.add_argument('--repository', type=Path, required=True,
                        help='repository to create for the commits')
    parser.add_argument('--pristine', required=True,
                        help='commit of the pristine source')
    parser.add_argument('--patched', required=True,
                        help='commit with the patches of the project')
    parser.add_argument('--own', type=Path, required=True,
                        help="list of the project's files in QEMU's tree")
    parser.add_argument('--author', required=True,
                        help='author of the commits, "NAME <ADDRESS>"')
    args = parser.parse_args()
    try:
        export(args)
    except Problem as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
