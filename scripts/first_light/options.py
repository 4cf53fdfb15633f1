# SPDX-License-Identifier: GPL-2.0-or-later

"""What the user wants to try."""

from dataclasses import dataclass, field
from pathlib import Path

from first_light.tee import Tee

BACKENDS = ('iommufd', 'type1')


@dataclass
class Wish:
    """The guest, its devices and how to try them."""

    tee: Tee
    qemu: Path
    firmware: Path | None = None
    kernel: Path | None = None
    initrd: Path | None = None
    append: str = 'console=ttyS0'
    disk: Path | None = None
    # PCI addresses of the devices on the host
    devices: list[str] = field(default_factory=list)
    backends: tuple[str, ...] = BACKENDS
    # Size of the guest's RAM in bytes, and its number of CPUs
    memory: int = 4 << 30
    cpus: int = 2
    c_bit: int | None = None
    # Properties of the confidential guest's object, as name=value,...
    tee_properties: str = ''
    # More arguments for QEMU
    more: list[str] = field(default_factory=list)
    # How long to watch the guest, in seconds
    watch: float = 120
    replug: bool = False
    reset: bool = False

    @property
    def used_backends(self) -> tuple[str, ...]:
        """The backends to try: one is enough without a device."""
        return self.backends if self.devices else self.backends[:1]

    def can_boot(self) -> bool:
        return bool(self.kernel or self.disk)
