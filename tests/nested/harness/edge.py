# SPDX-License-Identifier: GPL-2.0-or-later

"""Control the library kernel-edge in level 1: see kernel-edge/control.h."""

from pathlib import Path

from harness import NESTED
from harness.l1 import L1Machine
from harness.wire import read_header

EDGE_PATH = '/lib/kernel-edge.so'

_MARKER_PATH = '/sys/kernel/tracing/trace_marker'
# For a QEMU that is built with ASan, which would refuse to start after another
# library. QEMU does not free everything when it quits.
_ASAN_OPTIONS = 'verify_asan_link_order=0:detect_leaks=0'

_CONTROL_PATH = '/run/kernel-edge'

CONSTANTS, _STRUCTS = read_header(NESTED / 'kernel-edge/control.h')
_CONTROL = _STRUCTS['EdgeControl']

KINDS = ('attributes', 'map', 'unmap', 'free_shared', 'free_private')


def edge_library(build: Path) -> Path:
    """Return the path of the library in a build folder."""
    return build / 'core/tests/nested/kernel-edge/kernel-edge.so'


class Edge:
    """Controls the library in a QEMU that is started with it."""

    def __init__(self, l1: L1Machine, trace: bool) -> None:
        self._l1 = l1
        self.set()
        self.environment = {'LD_PRELOAD': EDGE_PATH,
                            'KERNEL_EDGE_CONTROL': _CONTROL_PATH,
                            'ASAN_OPTIONS': _ASAN_OPTIONS}
        if trace:
            self.environment['KERNEL_EDGE_TRACE'] = _MARKER_PATH

    def set(self, **fields: int) -> None:
        """Set the fields of struct EdgeControl, all others to 0."""
        self._l1.check(self.set_command(**fields))

    @staticmethod
    def set_command(**fields: int) -> str:
        """Return the shell command that sets the fields."""
        octal = ''.join(f'\\{byte:03o}' for byte in _CONTROL.pack(**fields))
        # Do not truncate the file: the library has mapped it
        return f"printf '{octal}' 1<>{_CONTROL_PATH}"

    def get(self) -> dict[str, int]:
        """Return the fields, including those that the library sets."""
        return self.parse(self._l1.check(self.GET_COMMAND))

    # Shell command that prints the fields
    GET_COMMAND = f'od -An -v -tu4 {_CONTROL_PATH}'

    @staticmethod
    def parse(output: str) -> dict[str, int]:
        """Parse the output of GET_COMMAND."""
        return dict(zip(_CONTROL.fields, map(int, output.split())))
