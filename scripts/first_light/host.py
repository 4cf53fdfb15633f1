# SPDX-License-Identifier: GPL-2.0-or-later

"""The host, as its files show it.

Files are read below a root folder, so that tests can provide a machine.
Nothing is written.
"""

import os
import re
import resource
from dataclasses import dataclass, field
from pathlib import Path

from first_light.kvm import Kvm, KvmQueries

MIB = 1 << 20
GIB = 1 << 30

_CAP_IPC_LOCK = 14
UNLIMITED = resource.RLIM_INFINITY


def _memlock() -> int:
    return resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]


@dataclass
class Host:
    """A machine."""

    root: Path = Path('/')
    kvm: KvmQueries = field(default_factory=lambda: Kvm(Path('/dev/kvm')))
    # RLIMIT_MEMLOCK in bytes
    memlock: int = field(default_factory=_memlock)

    def path(self, name: str) -> Path:
        """Return the path of a file that the machine has as /NAME."""
        return self.root / name

    def read(self, name: str) -> str | None:
        """Return the content of a file, None if it cannot be read."""
        try:
            return self.path(name).read_text(encoding='utf-8',
                                             errors='replace').strip()
        except OSError:
            return None

    def link_name(self, name: str) -> str | None:
        """Return the last part of a symbolic link's target."""
        try:
            return Path(os.readlink(self.path(name))).name
        except OSError:
            return None

    def names_in(self, name: str) -> list[str]:
        """Return the sorted names in a folder, none if it does not exist."""
        try:
            return sorted(os.listdir(self.path(name)))
        except OSError:
            return []

    def cpu_field(self, name: str) -> str:
        """Return a field of the first CPU in /proc/cpuinfo."""
        match = re.search(rf'(?m)^{name}\s*: (.*)$',
                          self.read('proc/cpuinfo') or '')
        return match.group(1) if match else ''

    def cpu_flags(self) -> set[str]:
        return set(self.cpu_field('flags').split())

    def kernel(self) -> str:
        return self.read('proc/sys/kernel/osrelease') or 'unknown'

    def kernel_arguments(self) -> list[str]:
        return (self.read('proc/cmdline') or '').split()

    def may_lock_any_memory(self, pid: int | str = 'self') -> bool:
        """Whether a process has CAP_IPC_LOCK."""
        match = re.search(r'(?m)^CapEff:\s*([0-9a-f]+)$',
                          self.read(f'proc/{pid}/status') or '')
        return bool(match and int(match.group(1), 16) >> _CAP_IPC_LOCK & 1)

    def pinned_pages(self) -> int | None:
        """Return the number of pages that are pinned for devices now."""
        counts = dict(re.findall(
            r'(?m)^nr_foll_pin_(acquired|released) (\d+)$',
            self.read('proc/vmstat') or ''))
        if len(counts) != 2:
            return None
        return int(counts['acquired']) - int(counts['released'])

    def locked_size(self, pid: int) -> int | None:
        """Return the size of a process's locked and pinned memory."""
        sizes = re.findall(r'(?m)^Vm(?:Lck|Pin):\s*(\d+) kB$',
                           self.read(f'proc/{pid}/status') or '')
        return sum(map(int, sizes)) * 1024 if sizes else None


def linux_version(release: str) -> tuple[int, int] | None:
    """Return major and minor version of a kernel's release."""
    match = re.match(r'(\d+)\.(\d+)', release)
    return (int(match.group(1)), int(match.group(2))) if match else None
