# SPDX-License-Identifier: GPL-2.0-or-later

"""Summarize the runs of scripts/demo on one screen."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIB = 1 << 20

# The runs: name of their files, and heading
RUNS = {'type1': 'type1', 'iommufd': 'iommufd', 'page': 'type1'}
# Heading of the run that maps each page separately
PER_PAGE = 'a page each*'


@dataclass
class Run:
    """One run of the guest."""

    name: str
    figures: dict[str, Any]

    def succeeded(self) -> bool:
        """Whether the guest did everything, and no check failed."""
        return bool(self.figures.get('disk_bytes') and
                    self.figures.get('network_bytes') and
                    not self.figures.get('failed_checks', 1))


def read_run(folder: Path, name: str) -> Run:
    path = folder / f'{name}.json'
    return Run(name, json.loads(path.read_text(encoding='utf-8'))
               if path.exists() else {})


def size(key: str) -> Callable[[Run], str]:
    """Return a function for a cell with a size in MiB."""
    def cell(run: Run) -> str:
        value = run.figures.get(key, 0)
        return f'{value / MIB:.0f} MiB' if value else 'FAILED'
    return cell


def number(key: str) -> Callable[[Run], str]:
    """Return a function for a cell with a number."""
    return lambda run: str(run.figures.get(key, '?'))


def checks(run: Run) -> str:
    failed = run.figures.get('failed_checks', '?')
    passed = run.figures.get('checks', 0)
    return f'{failed} FAILED' if failed else f'{passed} passed'


ROWS: tuple[tuple[str, Callable[[Run], str]], ...] = (
    ('NVMe disk: written and verified', size('disk_bytes')),
    ('network card: received and sent intact', size('network_bytes')),
    ('memory that the drivers share', size('shared_bytes')),
    ('IOMMU entries for it', number('extents')),
    ('calls to map memory since the start', number('map_calls')),
    ('DMA faults', number('dma_faults')),
    ('checks', checks),
)


def main() -> int:
    folder = Path(sys.argv[1])
    runs = [read_run(folder, name) for name in RUNS]
    first = runs[0].figures

    print(f'\nLinux {first.get("release", "")} with '
          f'{first.get("memory", 0) // MIB} MiB of private memory; its disk '
          'and its network card\nare PCI devices that vfio-pci assigns\n')
    print(f'  {"VFIO backend":<42}' + ''.join(
        f'{backend:<14}' for backend in RUNS.values()).rstrip())
    print(f'  {"mapping of shared memory":<42}' + ''.join(
        f'{PER_PAGE if name == "page" else "by extents":<14}'
        for name in RUNS).rstrip())
    for name, cell in ROWS:
        print((f'  {name:<42}' + ''.join(f'{cell(run):<14}' for run in runs)
               ).rstrip())
    print('\n  * as stock QEMU 10.2 does; here with '
          'x-shared-dma-extent=page\n')

    failed = [run for run in runs if not run.succeeded()]
    for run in failed:
        print(f'{run.name}: some steps failed, see {folder / run.name}.log')
    if not failed:
        print('All steps succeeded: the devices can access exactly the memory '
              'that the guest shares.')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
