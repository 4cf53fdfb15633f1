# SPDX-License-Identifier: GPL-2.0-or-later

"""Summarize the runs of scripts/demo on one screen."""

import json
import re
import sys
from pathlib import Path

MIB = 1 << 20
PAGE_SIZE = 4096

# The steps of the demo: patterns of their checks in TAP, and descriptions
STEPS = (
    (r'dma-from .* arrives', 'device reads shared memory'),
    (r'dma-to .* arrives', 'device writes shared memory'),
    (r'dma-to .* blocked', 'device cannot write private memory'),
    (r'dma-from .* blocked', 'device cannot read private memory'),
    (r'verify .* seed', 'guest finds its data as it left it'),
    (r'verify .* zero', 'guest finds zeroes in pages shared again'),
    (r'the kernel maps exactly', 'IOMMU holds exactly the shared pages'),
)


class Run:
    """The run on one backend."""

    def __init__(self, folder: Path, backend: str) -> None:
        self.backend = backend
        self.tap = folder / f'{backend}.tap'
        self.lines = self.tap.read_text(encoding='utf-8').splitlines()
        figures = folder / f'{backend}.json'
        self.figures = (json.loads(figures.read_text(encoding='utf-8'))
                        if figures.exists() else {})
        self.passed = sum(line.startswith('ok ') for line in self.lines)
        self.failed = [line for line in self.lines
                       if line.startswith('not ok ')]

    def step(self, pattern: str) -> tuple[int, int]:
        """Return how many checks of a step passed, and how many failed."""
        good = sum(bool(re.search(r'^ok .*' + pattern, line))
                   for line in self.lines)
        bad = sum(bool(re.search(pattern, line)) for line in self.failed)
        return good, bad

    def happened(self) -> bool:
        """Whether every step was executed and no check failed."""
        return bool(self.figures) and not self.failed and all(
            self.step(pattern)[0] for pattern, _ in STEPS)


def verdict(good: int, bad: int) -> str:
    if bad:
        return f'{bad} FAILED'
    return f'yes ({good})' if good else 'DID NOT HAPPEN'


def table(runs: list[Run]) -> list[tuple[str, ...]]:
    def row(name: str, cell) -> tuple[str, ...]:
        return (name, *(cell(run) for run in runs))

    def figure(key: str):
        return lambda run: str(run.figures.get(key, '?'))

    def shared(run: Run) -> str:
        pages = run.figures.get('pages_shared_peak', 0)
        return f'{pages} ({pages * PAGE_SIZE / MIB:.1f} MiB)'

    return [
        row('VFIO backend', lambda run: run.backend),
        row('assigned device', figure('device')),
        row('pages shared', shared),
        *(row(text, lambda run, p=pattern: verdict(*run.step(p)))
          for pattern, text in STEPS),
        row('DMA that arrived', figure('dma_arrived')),
        row('DMA that the IOMMU blocked', figure('dma_blocked')),
        row('IOMMU entries', figure('extents_peak')),
        row('IOMMU entries with stock QEMU: a page each',
            figure('pages_shared_peak')),
        row('checks passed', lambda run: str(run.passed)),
    ]


def main() -> int:
    runs = [Run(Path(sys.argv[1]), name) for name in ('type1', 'iommufd')]

    print('\nA guest whose RAM is private, with a PCI device assigned by '
          'vfio-pci\n')
    for name, *cells in table(runs):
        line = f'  {name:<43}' + ''.join(f'{cell:<18}' for cell in cells)
        print(line.rstrip())
    print()

    good = all(run.happened() for run in runs)
    for run in runs:
        if not run.happened():
            print(f'{run.backend}: some steps failed, see {run.tap}')
            print('\n'.join(f'  {line}' for line in run.failed))
    if good:
        print('All steps succeeded: the device can access only memory that '
              'the guest shares.')
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
