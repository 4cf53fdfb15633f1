# SPDX-License-Identifier: GPL-2.0-or-later

"""Devices other than the host's PCI devices that access a guest's memory.

Mediated devices and devices of other processes can do DMA from the start. They
must reach what the guest shares, and nothing that it has taken back.
"""

import json
import re
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.checks import Checks
from harness.guest_options import (FIRMWARE_PATH, INITRD_PATH,
                                   program_guest)
from harness.intervals import IntervalSet, describe
from harness.l1 import L1Machine
from harness.l2 import PID_PATH, L2Machine
from harness.linux_run import LinuxOptions, bind, l0_devices, linux_run
from harness.linux_workload import BUSY_DISK, HOST, Workload
from harness.oracle import ROM_RANGE
from harness.other_devices import MediatedDevice, VfioUserDevice
from harness.program import MIB, PAGE_SIZE, compile_program
from harness.program_run import is_expected
from harness.session import (Machines, check_complaints, check_quit,
                             program_files, running)
from harness.stepped_guest import SteppedGuest

_SCRATCH = 32 * MIB
_AREA = 64 * MIB
_ROM_SIZE = ROM_RANGE[1] - ROM_RANGE[0]
_OWN = _ROM_SIZE + PAGE_SIZE

# The devices have no interrupts; the guest takes back parts of what it shared
_EXPECTED = re.compile('Could not enable error recovery|'
                       'for a moment, because the guest took back a part')

# The device first accesses AREA, and then what is beside it
_PROGRAM = f'''
memory 512M
backing memfd
let SCRATCH = {_SCRATCH}
let AREA = {_AREA}
share SCRATCH 4K
scratch SCRATCH
sync # compare
master on
share AREA 4M
fill AREA 64K seed 1
dma-from AREA 4K seed 1 arrives
dma-from AREA+4K 4K seed 1 arrives
dma-to AREA+1M 4K seed 2 arrives
sync # compare
# Beside what the device has accessed, and exactly that
unshare AREA+8K 4K
fill AREA+8K 4K seed 3
dma-to AREA+8K 4K seed 4 blocked
verify AREA+8K 4K seed 3
dma-from AREA 4K seed 1 arrives
unshare AREA 4K
fill AREA 4K seed 5
dma-to AREA 4K seed 6 blocked
verify AREA 4K seed 5
dma-from AREA+4K 4K seed 1 arrives
sync # compare
share AREA 4K
fill AREA 4K seed 7
dma-from AREA 4K seed 7 arrives
unshare AREA 4M
dma-to AREA+1M 4K seed 8 blocked
sync # compare
# The memory map changes while vCPUs convert memory.
parallel 3
    repeat 30
        share AREA+cpu*8M 1M chunk 128K
        pam on
        unshare AREA+cpu*8M 1M chunk 256K
        pam off
    end
end
share AREA 4K
fill AREA 4K seed 9
dma-from AREA 4K seed 9 arrives
sync # compare

reset

share SCRATCH 4K
scratch SCRATCH
sync # compare
master on
share AREA 4M
fill AREA 4K seed 1
dma-from AREA 4K seed 1 arrives
unshare AREA+2M 64K
dma-to AREA+2M 4K seed 2 blocked
sync # compare
# QEMU quits during this.
parallel 3
    repeat 1000000
        share AREA+8M+cpu*8M 1M chunk 128K
        dma-to AREA 4K seed 3 arrives
        unshare AREA+8M+cpu*8M 1M chunk 256K
    end
end
'''

_BLOCKED = _PROGRAM.count(' blocked')

# What the guest shares at each sync, besides its ROM
_SHARED = (
    ('at the start', [(_SCRATCH, PAGE_SIZE)]),
    ('in use', [(_SCRATCH, PAGE_SIZE), (_AREA, 4 * MIB)]),
    ('in part', [(_SCRATCH, PAGE_SIZE), (_AREA + PAGE_SIZE, PAGE_SIZE),
                 (_AREA + 3 * PAGE_SIZE, 4 * MIB - 3 * PAGE_SIZE)]),
    ('not at all', [(_SCRATCH, PAGE_SIZE)]),
    ('after changes of the memory map', [(_SCRATCH, PAGE_SIZE),
                                         (_AREA, PAGE_SIZE)]),
)
_SHARED_AFTER_RESET = (
    ('after a reset', [(_SCRATCH, PAGE_SIZE)]),
    ('in use again', [(_SCRATCH, PAGE_SIZE), (_AREA, 2 * MIB),
                      (_AREA + 2 * MIB + 64 * 1024, 2 * MIB - 64 * 1024)]),
)
_AFTER_RESET = 1 + [record.op for record in compile_program(
    _PROGRAM, 'listeners').records].index('reset')
# Time to execute some of the program's last operations, in seconds
_BUSY_TIME = 0.5


@contextmanager
def stepped_guest(l1: L1Machine, machines: Machines, checks: Checks,
                  name: str, options: list[str]) -> Iterator[SteppedGuest]:
    """Start a guest whose device is not one of the host."""
    program = compile_program(_PROGRAM, name)
    l2 = L2Machine(l1, program_guest(program.machine, None, 'none'))
    l2.add_options(*options)
    guest = SteppedGuest(name, l2, checks)
    with running(l2, checks, name):
        guest.firmware.wait_boot()
        l2.connect(machines.built.qemu_python)
        guest.firmware.start()
        yield guest
        check_quit(l2, checks, f'{name}: ')
        said = [line for line in l2.stderr().splitlines()
                if not is_expected(line) and not _EXPECTED.search(line)]
        guest.check(not said, 'QEMU printed no unexpected message',
                    '\n'.join(said))
    check_complaints(l1, checks, f'{name}: ')


def follow(guest: SteppedGuest,
           compare: Callable[[str, IntervalSet], None]) -> None:
    """Let the guest execute the program, and compare at each sync.

    The guest is still busy at the end. At each sync it is stopped, too.
    """
    def compare_all(when: str, ranges: Sequence[tuple[int, int]]) -> None:
        shared = IntervalSet([ROM_RANGE, *((start, start + size)
                                           for start, size in ranges)])
        guest.expect(when, shared.total(), shared.total())
        compare(when, shared)
        guest.l2.execute('stop')
        guest.expect(f'{when}, stopped', shared.total(), shared.total())
        compare(f'{when}, stopped', shared)
        guest.l2.execute('cont')

    for number, (when, ranges) in enumerate(_SHARED):
        if number:
            guest.go_to_sync()
        else:
            guest.run_to_sync()
        compare_all(when, ranges)
    for number, (when, ranges) in enumerate(_SHARED_AFTER_RESET):
        if number:
            guest.go_to_sync()
        else:
            guest.go_through_reset(_AFTER_RESET)
        compare_all(when, ranges)
    guest.firmware.go()
    time.sleep(_BUSY_TIME)


def test_vfio_user(machines: Machines, pytestconfig: pytest.Config,
                   checks: Checks) -> None:
    """A device in another process, to which QEMU sends its mappings."""
    if pytestconfig.getoption('--base') == '10.0':
        pytest.skip('QEMU 10.0 has no vfio-user-pci')
    program = compile_program(_PROGRAM, 'guest')
    l1 = machines.start({**program_files(program, machines.built),
                         **VfioUserDevice.files(machines.built.folder)},
                        devices=0)
    device = VfioUserDevice(l1)
    with stepped_guest(l1, machines, checks, 'vfio-user',
                       device.options()) as guest:
        def compare(when: str, shared: IntervalSet) -> None:
            maps = device.maps()
            excess, missing = maps.minus(shared), shared.minus(maps)
            guest.check(not excess and not missing,
                        f'{when}: the other process has exactly the shared '
                        'memory', f'too much: {describe(excess)}; '
                        f'missing: {describe(missing)}')
        follow(guest, compare)
    checks.check(not device.is_running(), 'vfio-user: the process has ended')
    l1.power_off()


@pytest.mark.parametrize('kind', ('copy', 'pin'))
def test_mediated(machines: Machines, backend: str, kind: str, checks: Checks
                  ) -> None:
    """A mediated device, which does or does not pin what it accesses."""
    program = compile_program(_PROGRAM, 'guest')
    l1 = machines.start(program_files(program, machines.built), devices=0)
    device = MediatedDevice(l1, kind)
    with stepped_guest(l1, machines, checks, f'{kind}, {backend}',
                       device.options(backend == 'iommufd')) as guest:
        follow(guest, lambda when, shared: None)
        layout = guest.l2.layout()
        unmaps = device.counter('unmaps')
        guest.check(layout is not None and
                    layout.cutting == (backend == 'iommufd') and
                    (layout.splits == 0) == (layout.cutting and not unmaps),
                    'mappings are cut if none of their pages is pinned, and '
                    'split otherwise', f'{layout}, {unmaps} unmaps')
        guest.check((unmaps > 0) == (kind == 'pin'),
                    f'{unmaps} times the driver had to release pages')
        failures = device.counter('failures')
        guest.check(failures == _BLOCKED,
                    f'the device was refused {_BLOCKED} times', str(failures))
    checks.check(device.counter('pinned') == 0,
                 f'{kind}, {backend}: nothing is pinned any more')
    device.remove()
    l1.power_off()


# A disk that another process serves
_DISK_SOCKET = '/run/disk-socket'
_DISK_IMAGE = '/run/disk-image'
_DISK_SIZE = 64 * MIB
_VHOST_USER = (
    '-object', 'memory-backend-memfd,id=ram0,size=512M,share=on',
    '-machine', 'memory-backend=ram0',
    '-chardev', f'socket,id=disk,path={_DISK_SOCKET}',
    '-device', 'vhost-user-blk-pci,chardev=disk')

_QEMU_TIMEOUT = 30


def serve_disk(l1: L1Machine) -> None:
    """Start a QEMU that serves a disk to other processes."""
    commands = [
        {'execute': 'qmp_capabilities'},
        {'execute': 'blockdev-add', 'arguments': {
            'driver': 'file', 'node-name': 'disk', 'filename': _DISK_IMAGE}},
        {'execute': 'block-export-add', 'arguments': {
            'type': 'vhost-user-blk', 'id': 'export', 'node-name': 'disk',
            'writable': True,
            'addr': {'type': 'unix', 'path': _DISK_SOCKET}}}]
    lines = shlex.join(map(json.dumps, commands))
    l1.check(
        f'truncate -s {_DISK_SIZE} {_DISK_IMAGE}; '
        f'(printf "%s\\n" {lines}; sleep 100000) </dev/null | '
        'qemu -machine none -nodefaults -display none -qmp stdio '
        '>/run/disk-server 2>&1 & '
        f'for i in $(seq 100); do [ -S {_DISK_SOCKET} ] && break; sleep 0.1; '
        f'done; [ -S {_DISK_SOCKET} ] || cat /run/disk-server')


def test_disks(machines: Machines, pytestconfig: pytest.Config,
               tmp_path: Path, checks: Checks) -> None:
    """Disks that do not work with private memory are refused.

    QEMU's own NVMe driver pins all memory. The server of QEMU's vhost-user
    disk does not know of memory that it cannot access.
    """
    l1 = machines.start(
        {FIRMWARE_PATH: machines.built.firmware.read_bytes()},
        options=l0_devices(['nvme'], 0, tmp_path))
    address, = bind(l1, ['nvme'])
    serve_disk(l1)
    drive = {'driver': 'nvme', 'node-name': 'disk', 'device': address,
             'namespace': 1}
    plain = ['-machine', 'q35']
    private = ['-machine', 'q35,kernel-irqchip=split,'
                           'confidential-guest-support=sp0',
               '-object', 'sw-protected-vm,id=sp0']
    add: dict[str, object] = {'execute': 'blockdev-add', 'arguments': drive}
    attempts: list[tuple[str, list[str], list[dict[str, object]], str]] = [
        ('nvme:// after private memory', private, [add],
         'Cannot set discarding of RAM broken'),
        ('vhost-user with private memory', [*private, *_VHOST_USER], [],
         'iommu_platform=true is not supported by the device'),
        ('vhost-user without private memory', [*plain, *_VHOST_USER], [], '')]
    if pytestconfig.getoption('--base') == '10.0':
        # With QEMU 10.2 and no private memory, this driver waits forever for
        # the NVMe disk that level 0 emulates
        attempts += [
            ('nvme:// before private memory',
             [*private, '-blockdev', json.dumps(drive)], [],
             'cannot set up private guest memory: discard currently blocked'),
            ('nvme:// without private memory', plain, [add], '')]
    for name, options, commands, message in attempts:
        qemu = shlex.join([
            'timeout', '-s', 'KILL', str(_QEMU_TIMEOUT),
            'qemu', '-L', '/firmware', '-nodefaults', '-display', 'none',
            '-accel', 'kvm', '-cpu', 'host', '-m', '512M', '-S', '-bios',
            FIRMWARE_PATH, *options, '-qmp', 'stdio'])
        lines = shlex.join(json.dumps(command) for command in (
            {'execute': 'qmp_capabilities'}, *commands, {'execute': 'quit'}))
        status, said = l1.run(f'printf "%s\\n" {lines} | {qemu}',
                              2 * _QEMU_TIMEOUT)
        checks.check(
            message in said if message else
            status == 0 and '"error"' not in said,
            f'{name}: ' + (message or 'works'), f'status {status}\n{said}')
    l1.power_off()


# A network that the kernel of level 1 serves, and an emulated disk: a file
# that the guest does not need any more when it has booted
_VIRTIO = (
    '-netdev', 'tap,id=tap,ifname=tap0,script=no,downscript=no,vhost=on',
    '-device', 'virtio-net-pci,netdev=tap,romfile=',
    '-drive', f'if=none,id=disk,format=raw,file={INITRD_PATH}',
    '-device', 'virtio-blk-pci,drive=disk')
_VIRTIO_DISK = '/dev/vda'


def test_vhost(machines: Machines, backend: str, tmp_path: Path,
               checks: Checks) -> None:
    """Linux with an assigned disk, vhost-net, and an emulated disk."""
    options = LinuxOptions(backend, devices=('nvme',),
                           qemu_options=_VIRTIO)
    with linux_run(machines, options, tmp_path, checks) as run:
        load = Workload(run, checks)
        run.compare('after the boot')
        run.l1.check(f'ifconfig tap0 {HOST} netmask 255.255.255.0 up')
        load.serve_files()
        load.set_up_network()
        checks.check(
            run.l1.run(f'grep -q ^vhost /proc/$(cat {PID_PATH})/task/*/comm')
            [0] == 0, 'vhost serves the network')
        load.guest.check(f'{BUSY_DISK} :')
        load.transfer('network of vhost')
        load.write_and_verify(_VIRTIO_DISK, '--direct=1')
        load.check_busy_disk('beside vhost')
        run.compare('beside vhost')
