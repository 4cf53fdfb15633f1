# SPDX-License-Identifier: GPL-2.0-or-later

"""Follow the trace of the level 1 machine's kernel."""

import re
import time

from harness.checks import Checks
from harness.intervals import describe
from harness.l1 import TRACE_PORT, L1Error, L1Machine, port_path
from harness.lines import StreamReader
from harness.trace import TraceReplay

_TRACING = '/sys/kernel/tracing'

# Numbers of lost events in the statistics of each processor
_LOST = re.compile(r'^(?:overrun|commit overrun|dropped events): (\d+)$',
                   re.M)

# Maximum number of errors to show
_SHOWN = 8

_BUFFER_KIB = 64 << 10
_MARKER_TIMEOUT = 60.0


class TraceFollower:
    """Feeds a replay with the events of the level 1 machine."""

    def __init__(self, l1: L1Machine, replay: TraceReplay) -> None:
        self._l1 = l1
        self._replay = replay
        self._markers = 0
        l1.check(f'cd {_TRACING} && echo counter >trace_clock && '
                 f'echo {_BUFFER_KIB} >buffer_size_kb && '
                 'echo 1 >events/iommu/map/enable && '
                 'echo 1 >events/iommu/unmap/enable && '
                 f'(cat trace_pipe >{port_path(TRACE_PORT)} 2>/dev/null &)')
        self._stream = StreamReader(l1.sockets[TRACE_PORT])
        self._stream.start()

    def catch_up(self, command: str = 'true') -> str:
        """Execute a shell command, then replay the trace so far.

        Returns the output of the command.
        """
        self._markers += 1
        marker = f'marker {self._markers}'
        output = self._l1.check(f'{command} && '
                                f'echo {marker} >{_TRACING}/trace_marker')
        end = time.monotonic() + _MARKER_TIMEOUT
        while time.monotonic() < end:
            for line in self._stream.take(1.0):
                if self._replay.feed(line) == marker:
                    return output
        raise L1Error(f"{marker} does not arrive in the kernel's trace")

    def check_end(self, checks: Checks) -> None:
        """Check that nothing is mapped, and that no event was lost.

        To be called after QEMU has ended.
        """
        self.catch_up()
        mapped = self._replay.maps.mapped()
        checks.check(not mapped.total() and not self._replay.errors,
                     'nothing is mapped after QEMU has ended',
                     f'still mapped: {describe(mapped)}\n' +
                     '\n'.join(self._replay.errors[:_SHOWN]))
        stats = self._l1.check(f'cat {_TRACING}/per_cpu/cpu*/stats')
        lost = self._replay.lost + sum(map(int, _LOST.findall(stats)))
        checks.check(not lost, 'no trace event was lost',
                     f'{lost} were lost:\n{stats}')
