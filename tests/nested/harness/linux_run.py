# SPDX-License-Identifier: GPL-2.0-or-later

"""Run a Linux guest, and compare the views of its shared memory.

The guest's drivers share memory as they need it. KVM's attributes, as seen by
kernel-edge, are compared with the kernel's mappings and with QEMU's queries.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from harness.checks import Checks
from harness.edge import EDGE_PATH, Edge
from harness.guest_options import (INITRD_PATH, KERNEL_PATH, LOADER_PATH,
                                   SMALL_INITRD_PATH, LinuxMachine)
from harness.initramfs import find_tool, guest_image
from harness.intervals import IntervalSet, describe
from harness.l1 import L1Machine
from harness.l2 import L2Error, Layout, wait_until
from harness.linux_guest import LinuxGuest
from harness.program import GIB, MIB, PAGE_SIZE
from harness.program_run import is_expected
from harness.session import Built, Machines, check_complaints, check_quit
from harness.trace import TraceReplay
from harness.trace_follower import TraceFollower
from harness.vfio import bind_devices, create_functions

# Programs of this machine that guests can use, and their packages
TOOLS = {'fio': 'fio', 'ethtool': 'ethtool', 'kexec': 'kexec-tools'}

# Devices to assign: vendor and device
DEVICES = {'nvme': '0x1b36 0x0010', 'e1000e': '0x8086 0x10d3',
           'igb': '0x8086 0x10c9', 'igbvf': '0x8086 0x10ca'}
# Virtual functions, and the cards that have them
_CARDS = {'igbvf': 'igb'}

# The driver of such a card must not use the IOMMU: the trace would have its
# mappings
_PASSTHROUGH = 'iommu.passthrough=1'

_RAM_BLOCK = 'pc.ram'

# q35 with this much RAM or more has less of it below 4 GiB
_LOW_RAM_MAX = 0xb0000000
_LOW_RAM_OF_MORE = 0x80000000
# Addresses at which ROMs and registers can hide RAM
_LOW_HOLE = (0xa0000, 0x100000)

# Maximum number of lines to show after a failure
_SHOWN = 8

# Files that the parent opens for QEMU
_IOMMU_FD = 3
_FIRST_FD = 4
# Locked memory of an unprivileged QEMU: what guests share, and some more
_LOCKED_LIMIT = 128 * MIB

L1_OWN_MIB = 3072
_DISK_SIZE = 256 * MIB

# How long the guest may be busy with a slot
_UNPLUG_TIMEOUT = 60.0


class Opener(Enum):
    """Who opens the files of devices."""

    QEMU = 'qemu'
    # The process that starts QEMU, which then needs no privilege, as libvirt
    # and Kata do. Requires iommufd.
    PARENT = 'parent'


@dataclass(frozen=True)
class LinuxOptions:
    """Options of a run.

    @backend: VFIO backend of all devices, which share a container; or one
    backend for each device with "+" in between, such as "type1+iommufd": each
    device then has a container of its own. QEMU puts all devices with type1
    into the same container, because it has one for each address space of
    devices, and without a virtual IOMMU there is only one.
    @devices: devices to assign, by their names in DEVICES
    @arguments: additional arguments for the guest's kernel
    @device_options: additional options of vfio-pci, each after a comma
    @opener: who opens the devices and /dev/iommu
    @disk_rate: requests that the disk serves in a second, 0 for no limit
    @qemu_options: more options of the QEMU that runs the guest
    """

    backend: str
    memory: int = GIB
    cpus: int = 1
    devices: tuple[str, ...] = ('nvme', 'e1000e')
    arguments: str = ''
    device_options: str = ''
    opener: Opener = Opener.QEMU
    disk_rate: int = 0
    qemu_options: tuple[str, ...] = ()

    @property
    def has_functions(self) -> bool:
        """Whether a device is a virtual function."""
        return any(name in _CARDS for name in self.devices)

    @property
    def backends(self) -> tuple[str, ...]:
        """The backend of each container."""
        return tuple(self.backend.split('+'))

    def iommufd(self, index: int) -> str:
        """Return the name of the iommufd object of a device, or ''."""
        at = index if len(self.backends) > 1 else 0
        if self.backends[at] != 'iommufd':
            return ''
        return f'iommufd{self.backends[:at].count("iommufd")}'


def l0_devices(devices: Sequence[str], disk_rate: int, folder: Path
               ) -> list[str]:
    """Return options for the devices that L0 emulates.

    A network card of the guest is connected to one of level 1.
    """
    options = ['-netdev', 'hubport,id=peer,hubid=0',
               '-device', 'virtio-net-pci,netdev=peer,romfile=']
    for number, name in enumerate(devices):
        bus = f'root{number}'
        options += ['-device', f'pcie-root-port,id={bus},chassis={number}']
        if name == 'nvme':
            path = folder / f'nvme{number}'
            with path.open('wb') as file:
                file.truncate(_DISK_SIZE)
            options += ['-drive', f'if=none,id=nvme{number},format=raw,'
                                  f'file={path},'
                                  f'throttling.iops-total={disk_rate}',
                        '-device', f'nvme,drive=nvme{number},bus={bus},'
                                   f'serial={number}']
        else:
            card = _CARDS.get(name, name)
            options += ['-netdev', f'hubport,id=net{number},hubid=0',
                        '-device', f'{card},netdev=net{number},bus={bus},'
                                   'romfile=']
    return options


class Remaps(Enum):
    """Whether memory that stays shared may be unmapped for a moment."""

    NONE = 'none'
    # The guest takes back parts of what it shared in one request, which splits
    # extents
    SPLITS = 'splits'


@dataclass
class LinuxFigures:
    """Figures of a run."""

    backend: str
    cpus: int
    memory: int
    release: str = ''
    shared_bytes: int = 0
    open_containers: int = 0
    extents: int = 0
    map_calls: int = 0
    unmap_calls: int = 0
    cuts: int = 0
    splits: int = 0
    # Bytes that were unmapped for a moment, and stay shared
    remapped_bytes: int = 0
    dma_faults: int = 0
    disk_bytes: int = 0
    network_bytes: int = 0
    checks: int = 0
    failed_checks: int = 0


def wrong_mappings(levels: Sequence[IntervalSet], shared: IntervalSet,
                   opened: int) -> list[str]:
    """Describe memory that is mapped in too few or too many containers.

    A container whose gate has been closed keeps what it has mapped until it is
    discarded.

    @levels: memory that at least 1, 2, ... containers map
    @opened: number of containers whose gate is open
    """
    missing = [shared.minus(level) for level in levels[:opened]]
    excess = [level.minus(shared) for level in levels]
    return [*(f'not mapped by all open containers: {describe(part)}'
              for part in missing if part),
            *(f'mapped, but should not be: {describe(part)}'
              for part in excess if part)]


class LinuxRun:
    """A running guest, with the means to compare."""

    def __init__(self, l1: L1Machine, guest: LinuxGuest,
                 options: LinuxOptions, replay: TraceReplay,
                 trace: TraceFollower, checks: Checks) -> None:
        self.l1 = l1
        self.guest = guest
        self.replay = replay
        self._trace = trace
        self._checks = checks
        # Shared memory after the first boot
        self.booted_bytes = 0
        # Addresses of memory that was plugged, by the names of its backends
        self.plugged: dict[str, tuple[int, int]] = {}
        # virtio-mem devices, which plug parts of such memory: the names of
        # their backends
        self.sources: dict[str, str] = {}
        self._logged_faults = 0
        self.figures = LinuxFigures(options.backend, options.cpus,
                                    options.memory)

    def _ram(self) -> IntervalSet:
        """Return the guest's RAM, as QEMU places it."""
        memory = self.guest.machine.memory
        low = memory if memory < _LOW_RAM_MAX else _LOW_RAM_OF_MORE
        ram = IntervalSet([(0, low), (4 * GIB, 4 * GIB + memory - low)])
        ram.remove(*_LOW_HOLE)
        for start, end in self.plugged.values():
            ram.add(start, end)
        return ram

    def shared(self) -> IntervalSet:
        """Return the guest's shared RAM, by KVM's attributes.

        Memory of virtio-mem devices without attributes is unplugged, or it is
        shared and mapped: _compare_plugged() finds out whether this is true.
        """
        edge = self.replay.edge
        shared = edge.slots.common(self._ram()).minus(edge.private)
        mapped = self.replay.levels.mapped()[0]
        for memory in self.sources.values():
            region = IntervalSet([self.plugged[memory]])
            for start, end in region.minus(mapped):
                shared.remove(start, end)
        return shared

    def mapped(self, memory: str) -> IntervalSet:
        """Return which part of memory that was plugged is mapped.

        @memory: name of the memory backend
        """
        region = IntervalSet([self.plugged[memory]])
        return self.replay.levels.mapped()[0].common(region)

    def compare(self, name: str, remaps: Remaps = Remaps.NONE) -> None:
        """Check that exactly the shared memory is mapped, and always was.

        @remaps: whether memory that stays shared may have been unmapped since
        the last comparison
        """
        self._trace.catch_up()
        shared = self.shared()
        layouts = self.guest.l2.layouts()
        self._compare_maps(name, shared, layouts)
        self._compare_layouts(name, layouts)
        remapped = self._compare_remaps(name, remaps)
        self._compare_manager(name, shared)
        self._compare_plugged(name)
        self._check_problems(name)
        figures = self.figures
        figures.shared_bytes = shared.total()
        figures.open_containers = sum(layout.open for layout in layouts)
        figures.extents = sum(layout.extents for layout in layouts)
        figures.map_calls = sum(layout.map_calls for layout in layouts)
        figures.unmap_calls = sum(layout.unmap_calls for layout in layouts)
        figures.cuts = sum(layout.cuts for layout in layouts)
        figures.splits = sum(layout.splits for layout in layouts)
        self._checks.comment(
            f'{name}: {shared.total() // PAGE_SIZE} pages shared, ' +
            '; '.join(f'{layout.extents} extents, {layout.map_calls} map '
                      f'calls, {layout.unmap_calls} unmap calls, '
                      f'{layout.cuts} cuts, {layout.splits} splits'
                      for layout in layouts) +
            f'; {remapped} bytes unmapped that stay shared')

    def _compare_maps(self, name: str, shared: IntervalSet,
                      layouts: Sequence[Layout]) -> None:
        """Check the kernel's mappings, now and so far."""
        replay = self.replay
        opened = sum(layout.open for layout in layouts)
        pages = shared.total() // PAGE_SIZE
        wrong = wrong_mappings([level.common(self._ram()) for level
                                in replay.levels.mapped()], shared, opened)
        self._checks.check(
            bool(shared) and not wrong and not replay.errors,
            f'{name}: the kernel maps exactly the {pages} shared pages' +
            (f' in {opened} of {len(layouts)} containers'
             if len(layouts) > 1 else '')
            if opened else f'{name}: the kernel maps no private page',
            '\n'.join([*wrong, *replay.errors[:_SHOWN]]))
        exposures, _ = replay.edge.take_exposures()
        self._checks.check(
            not exposures,
            f'{name}: no page was mapped while it was private, or when it was '
            'freed', '\n'.join(exposures[:_SHOWN]))

    def _compare_layouts(self, name: str, layouts: Sequence[Layout]) -> None:
        """Check what QEMU reports about its containers."""
        slots = self.replay.edge.slots
        mapped = sum(level.common(slots).total()
                     for level in self.replay.levels.mapped())
        self._checks.check(
            mapped == sum(layout.mapped_size for layout in layouts) and
            len({layout.populated_size for layout in layouts}) <= 1 and
            not any(layout.open and
                    layout.mapped_size != layout.populated_size or
                    layout.missing_size or layout.stuck_size or
                    layout.failures for layout in layouts),
            f'{name}: QEMU has the same mappings as the kernel',
            '\n'.join([f'the kernel has mapped {mapped} bytes',
                       *map(str, layouts)]))

    def _compare_remaps(self, name: str, remaps: Remaps) -> int:
        """Check that no memory that stays shared was unmapped.

        Returns how many bytes were.
        """
        remapped = self.replay.remaps.take_remapped()
        self.figures.remapped_bytes += remapped
        if remaps is Remaps.NONE:
            self._checks.check(
                not remapped,
                f'{name}: no memory that stays shared was unmapped',
                f'{remapped} bytes')
        return remapped

    def _compare_manager(self, name: str, shared: IntervalSet) -> None:
        """Check what QEMU believes to be shared."""
        # An id can begin with the path of an object or a device
        believed = sum(manager.shared_size
                       for manager in self.guest.l2.managers()
                       if manager.id.rpartition('/')[2] in
                       (_RAM_BLOCK, *self.plugged))
        self._checks.check(
            believed == shared.total(),
            f'{name}: QEMU counts the same {shared.total() // PAGE_SIZE} '
            'pages', f'QEMU counts {believed // PAGE_SIZE} pages')

    def _compare_plugged(self, name: str) -> None:
        """Check that all memory that is plugged is either private or mapped.

        Requires that a container is open.
        """
        for device, memory in self.sources.items():
            region = IntervalSet([self.plugged[memory]])
            private = self.replay.edge.private.common(region).total()
            mapped = self.mapped(memory).total()
            size = self.guest.l2.plugged_size(device)
            self._checks.check(
                private + mapped == size,
                f'{name}: {size >> 10} KiB of {device} are plugged, and '
                f'{mapped >> 10} KiB of them are mapped',
                f'{private >> 10} KiB are private')

    def _check_problems(self, name: str) -> None:
        """Check that neither the IOMMU nor the guest reports a problem."""
        faults, logged = self.take_faults()
        self._checks.check(not faults and not logged,
                           f'{name}: the IOMMU reports no fault',
                           '\n'.join([*map(str, faults[:_SHOWN]),
                                      *logged[:_SHOWN]]))
        complaints = self.guest.take_complaints()
        self._checks.check(
            not complaints, f"{name}: the guest's kernel reports no problem",
            '\n'.join(complaints))

    def take_faults(self) -> tuple[list[tuple[int, int, bool]], list[str]]:
        """Return the DMA faults since the last call or comparison.

        They are those that the IOMMU of L0 reports, and lines in the log of
        level 1's kernel.
        """
        faults = self.l1.new_faults()
        logged = self.l1.logged_faults()[self._logged_faults:]
        self.figures.dma_faults += len(faults)
        self._logged_faults += len(logged)
        return faults, logged

    def compare_end(self) -> None:
        """Check that nothing is left after QEMU has ended."""
        self._trace.check_end(self._checks)
        unexpected = [line for line in self.guest.l2.stderr().splitlines()
                      if not is_expected(line)]
        self._checks.check(not unexpected,
                           'QEMU printed no unexpected message',
                           '\n'.join(unexpected[:_SHOWN]))

    def plug(self, index: int) -> None:
        """Plug a device at its root port, after it was unplugged."""
        arguments: dict[str, object] = {
            'driver': 'vfio-pci', 'id': f'vfio{index}', 'bus': f'port{index}'}
        for option in self.guest.machine.devices[index].split(','):
            name, _, value = option.partition('=')
            arguments[name] = value
        self.guest.l2.execute('device_add', arguments)

    def unplug(self, index: int) -> None:
        """Unplug a device, when the guest has finished plugging it.

        Linux was seen to remove a device that it had just found without such
        a request, which is no failure here.
        """
        device = f'vfio{index}'

        def accepted() -> bool:
            try:
                self.guest.l2.execute('device_del', {'id': device})
                return True
            except L2Error as error:
                if 'guest is busy' in str(error):
                    return False
                if f"'{device}' not found" not in str(error):
                    raise
                self._checks.comment(f'the guest removed {device} itself: ' +
                                     self.guest.run('dmesg | tail')[1])
                return True
        self._checks.check(wait_until(accepted, _UNPLUG_TIMEOUT),
                           f'{device} can be unplugged')
        self.guest.l2.wait_event('DEVICE_DELETED')


def guest_files(built: Built) -> dict[str, bytes]:
    cache = built.folder / 'nested'
    return {LOADER_PATH: built.loader.read_bytes(),
            KERNEL_PATH: built.kernel.read_bytes(),
            INITRD_PATH: guest_image(TOOLS, cache).read_bytes(),
            SMALL_INITRD_PATH: guest_image({}, cache).read_bytes(),
            EDGE_PATH: built.edge.read_bytes(),
            **find_tool('setpriv', 'util-linux')}


def _guest(l1: L1Machine, options: LinuxOptions, bdfs: list[str]
           ) -> LinuxGuest:
    """Return a guest with these devices, which is not started yet."""
    devices = [f'host={bdf}' for bdf in bdfs]
    iommufds = [''] * options.backends.count('iommufd')
    if options.opener is Opener.PARENT:
        devices = [f'fd={_FIRST_FD + number}' for number in range(len(bdfs))]
        iommufds = [f',fd={_IOMMU_FD}']
    for number, _ in enumerate(devices):
        devices[number] += options.device_options
        if options.iommufd(number):
            devices[number] += f',iommufd={options.iommufd(number)}'
    guest = LinuxGuest(l1, LinuxMachine(
        options.memory, options.cpus, tuple(devices), options.arguments,
        tuple(iommufds)))
    guest.l2.add_options(*options.qemu_options)
    if options.opener is Opener.PARENT:
        paths = l1.check('for d in ' + ' '.join(bdfs) + '; do echo '
                         '/dev/vfio/devices/$(ls /sys/bus/pci/devices/$d/'
                         'vfio-dev); done').split()
        opens = [f'exec {_FIRST_FD + number}<>{path}'
                 for number, path in enumerate(paths)]
        guest.l2.limit_locked_memory(_LOCKED_LIMIT)
        guest.l2.run_in_shell('; '.join([f'exec {_IOMMU_FD}<>/dev/iommu',
                                         *opens]))
    return guest


def bind(l1: L1Machine, devices: Sequence[str]) -> list[str]:
    """Bind devices to vfio-pci, by their names. Returns their addresses."""
    for card in {_CARDS[name] for name in devices if name in _CARDS}:
        create_functions(l1, DEVICES[card])
    found = {name: iter(bind_devices(l1, DEVICES[name], devices.count(name)))
             for name in set(devices)}
    return [next(found[name]) for name in devices]


@contextmanager
def linux_run(machines: Machines, options: LinuxOptions, folder: Path,
              checks: Checks) -> Iterator[LinuxRun]:
    """Start a guest, and compare and quit at the end.

    Raises L2Error if the guest does not start. A later failure of QEMU or the
    guest is a failed check.
    """
    l1 = machines.start(
        guest_files(machines.built),
        L1_OWN_MIB + 2 * (options.memory // MIB), devices=0,
        kernel_arguments=_PASSTHROUGH if options.has_functions else '',
        options=l0_devices(options.devices, options.disk_rate, folder))
    guest = _guest(l1, options, bind(l1, options.devices))
    replay = TraceReplay(len(options.backends))
    trace = TraceFollower(l1, replay)
    guest.l2.environment = Edge(l1, True).environment
    run = LinuxRun(l1, guest, options, replay, trace, checks)
    try:
        guest.start(machines.built.qemu_python)
    except L2Error:
        guest.l2.kill()
        raise
    try:
        yield run
        run.compare('at the end')
        check_quit(guest.l2, checks)
        run.compare_end()
    except L2Error as error:
        checks.check(False, 'QEMU and the guest work',
                     f'{error}\n{guest.l2.diagnosis()}')
        guest.l2.kill()
    finally:
        guest.l2.disconnect()
    check_complaints(l1, checks)
