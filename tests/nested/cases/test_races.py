# SPDX-License-Identifier: GPL-2.0-or-later

"""Four vCPUs convert memory in parallel with other operations of QEMU.

They convert neighbouring and overlapping ranges without QEMU's big lock. At
the same time a device does DMA, memory slots and bus mastering change, the
machine is reset, a second device is plugged and unplugged, and the monitor
executes queries, all with the big lock held. Everything is compared after each
round.

If the guest or the monitor does not respond, the test fails and shows the
state of each thread of QEMU.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence

from harness.checks import Checks
from harness.l1 import L1Machine
from harness.l2 import L2Error, L2Machine, Manager
from harness.oracle import Event
from harness.program import Program, compile_program
from harness.program_run import Options, ProgramRun
from harness.session import L1_MIN_MIB, Machines
from harness.vfio import bind_edus

# Rounds, with a reset after each except the last, and repetitions of each
# vCPU's conversions in a round: the areas are large enough for 240
ROUNDS = 3
COUNT = 60

# Timeout for all rounds; each takes about 10 seconds on an idle machine
TIMEOUT = 1200.0

# Maximum number of lines that QEMU prints when a device is plugged and
# unplugged
_PLUG_LINES = 4

# The second device, and its place
_SECOND = 'edu1'
_PORT = 'port0'

_HEAD = """\
memory 512M blocks 2
cpus 4
disturbs splits
let BORDER = 256M
let COMB = 64M
let PAIRS = 72M
let OVERLAP = 80M
let FLIP = 96M
let SCRATCH = 32M
let TARGET = 48M
let BLOCKED = 52M
"""

_START = """\
share SCRATCH 4K
scratch SCRATCH
master on
share TARGET 64K
fill TARGET 64K seed {seed}
share COMB+4M 4M chunk 16K
"""

# The first vCPU executes the operations reserved for it, then joins the others
_TO_SHARED = """\
parallel 4
    dma-from TARGET 4K seed {seed} arrives
    pam on
    dma-to BLOCKED 64 seed {seed} blocked
    pam off
    master off
    repeat 10
        pam on
        pam off
    end
    master on
    dma-to TARGET+4K 4K seed {seed} arrives
    repeat {count}
        # Interleaved pages: each vCPU converts one of every four.
        share COMB+cpu*4K+i*16K 4K
        unshare COMB+4M+cpu*4K+i*16K 4K
        # Neighbouring pages
        unshare PAIRS+cpu*4K 4K
        share PAIRS+cpu*4K 4K
        # Overlapping ranges
        share OVERLAP+cpu*8K+i*8K 32K
        # Both RAM blocks, towards their border and across it
        share BORDER-4M+i*8K 8K
        share BORDER+4M-i*8K 8K
        unshare BORDER-32K-i*4K 64K+{count}*8K
        share BORDER-32K-i*4K 64K+{count}*8K
    end
end
"""

_TO_PRIVATE = """\
parallel 4
    pam on
    dma-from TARGET 4K seed {seed} arrives
    pam off
    dma-to TARGET+8K 64 seed {seed} arrives
    repeat {count}
        unshare BORDER+4M-i*8K 8K
        unshare BORDER-4M+i*8K 8K
        share BORDER-32K 64K
        unshare BORDER-32K 64K
        share FLIP+cpu*1M+i*4K 64K
        unshare FLIP+cpu*1M+i*4K 64K
        share PAIRS+cpu*4K 4K
        unshare PAIRS+cpu*4K 4K
        unshare OVERLAP+4K+cpu*8K+i*8K 24K
        unshare COMB+8K+i*16K 8K
    end
end
"""

_COMPARE = """\
audit COMB 40M
audit BORDER-8M 16M
sync
"""


def program_text(rounds: int, count: int) -> str:
    text = _HEAD
    for number in range(rounds):
        seed = 10 * number + 1
        text += ''.join(['reset\n' if number else '', _START, _TO_SHARED,
                         _COMPARE, _TO_PRIVATE, _COMPARE]).format(
            seed=seed, count=count)
    return text


class Races(ProgramRun):
    """Runs the program, with other operations while the guest works."""

    def __init__(self, program: Program, options: Options, checks: Checks
                 ) -> None:
        super().__init__(program, options, checks)
        self._second_bdf = ''
        self._steps: Iterator[None] | None = None
        self._converted = 0
        self._has_own_container = False
        self.done: Counter[str] = Counter()

    def bind(self, l1: L1Machine) -> str:
        first, self._second_bdf = bind_edus(l1, 2)
        return first

    def more_options(self) -> Sequence[str]:
        return ('-object', 'iommufd,id=iommufd1', '-device',
                f'pcie-root-port,id={_PORT},addr=4,chassis=1')

    # Operations in parallel with the conversions

    @property
    def max_lines(self) -> int:
        """The maximum number of lines: QEMU warns about each device."""
        return super().max_lines + _PLUG_LINES * self.done['unplug']

    def _plug(self, l2: L2Machine, own_container: bool) -> None:
        arguments = {'driver': 'vfio-pci', 'id': _SECOND, 'bus': _PORT,
                     'host': self._second_bdf}
        is_iommufd = self.options.backend == 'iommufd'
        if is_iommufd != own_container:
            arguments['iommufd'] = 'iommufd0' if is_iommufd else 'iommufd1'
        l2.execute('device_add', arguments)
        self._has_own_container = own_container
        self.done['own' if own_container else 'same'] += 1

    def _unplug(self, l2: L2Machine) -> None:
        self._has_own_container = False
        l2.unplug(_SECOND, 0)
        self.done['unplug'] += 1

    def _ask(self, l2: L2Machine) -> None:
        """Check invariants of the queries that hold at any time."""
        managers = l2.managers()
        converted = sum(m.to_shared + m.to_private for m in managers)
        layout = l2.layout()
        assert layout

        def is_right(manager: Manager) -> bool:
            return 0 <= manager.shared_size <= manager.size
        if (not all(map(is_right, managers)) or converted < self._converted or
                layout.missing_size or layout.failures):
            raise L2Error(f'the monitor reports {managers} and {layout} after '
                          f'{self._converted} conversions')
        self.done['while converting'] += converted > self._converted
        self._converted = converted
        for command in ('query-memory-devices', 'query-cpus-fast'):
            l2.execute(command)
        for line in ('info mtree -f', 'info mtree'):
            l2.hmp(line)
        self.done['queries'] += 1

    def _all_steps(self, l2: L2Machine) -> Iterator[None]:
        """Yield after each operation with the big lock, endlessly."""
        while True:
            for own_container in (True, False):
                self._ask(l2)
                yield
                self._plug(l2, own_container)
                yield
                self._ask(l2)
                yield
                self._unplug(l2)
                yield

    def read_serial(self, l2: L2Machine) -> str:
        """Execute operations until the guest sends a line."""
        while l2.is_connected and time.monotonic() < self.deadline:
            line = l2.serial.read_line(0)
            if line is not None:
                return line
            self._steps = self._steps or self._all_steps(l2)
            next(self._steps)
        return super().read_serial(l2)

    # Comparing

    def compare_state(self, name: str, line: int, l1: L1Machine,
                      l2: L2Machine, event: Event) -> None:
        super().compare_state(name, line, l1, l2, event)
        if not self._has_own_container:
            return
        self.done['compared'] += 1
        # The gate of this container stays closed, so nothing is mapped
        sizes = [layout.populated_size for layout in l2.layouts()]
        expected = self.oracle.shared.total()
        self.checks.check(
            sizes == [expected, expected],
            f'{name}: the container created during conversions has the same '
            'pages', f'sizes {sizes}, expected {expected}')

    def compare_done(self) -> None:
        """Check that other operations ran in parallel with conversions."""
        done = self.done
        self.checks.check(
            all(done[what] for what in ('same', 'own', 'unplug',
                                        'while converting')),
            'devices were plugged and unplugged, and queries executed, during '
            'conversions', str(done))
        self.checks.comment(
            f'{done["queries"]} queries, {done["while converting"]} of them '
            'with conversions since the last one; a device was plugged '
            f'{done["same"]} times into the same container, {done["own"]} '
            'times into its own, which was compared '
            f'{done["compared"]} times')


def test_races(machines: Machines, backend: str, checks: Checks) -> None:
    program = compile_program(program_text(ROUNDS, COUNT), 'races')
    races = Races(program, machines.options(backend, TIMEOUT), checks)
    machines.play(races, L1_MIN_MIB, 2)
    races.compare_done()
    checks.comment(races.summary())
