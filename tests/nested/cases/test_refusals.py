# SPDX-License-Identifier: GPL-2.0-or-later

"""QEMU rejects options and commands that cannot work with private memory.

QEMU reports an error at the start, for hotplug and for monitor commands, and
continues to run after the latter. The rejected options work without private
memory, and similar options that do work are not rejected.
"""

import json
import shlex
from dataclasses import dataclass, field
from typing import Any

import pytest

from harness.checks import Checks
from harness.guest_options import FIRMWARE_PATH, PROGRAM_PATH
from harness.initramfs import find_tool
from harness.l1 import L1Machine
from harness.program import compile_program
from harness.session import Machines
from harness.vfio import bind_edus
from harness.wire import PROGRAM_FILE

# Timeout in seconds, long enough for QEMU to start
QEMU_TIMEOUT = 30

PRIVATE = ['-machine', 'q35,kernel-irqchip=split,'
                       'confidential-guest-support=sp0',
           '-object', 'sw-protected-vm,id=sp0']
VDPA = ['-device', 'vhost-vdpa-device-pci,vhostdev=/dev/vhost-vdpa-0']


# Checks memory in each state
_PROGRAM = '''
memory 512M
let AREA = 64M
let SIZE = 2M
fill AREA SIZE seed 1
share AREA SIZE
verify AREA SIZE zero
fill AREA SIZE seed 2
unshare AREA SIZE
verify AREA SIZE zero
fill AREA SIZE seed 3
unshare AREA SIZE
verify AREA SIZE seed 3
'''
# Files for the guest's serial line: the guest starts on request
SERIAL = '/run/serial'
ANSWERS = '/run/answers'
GUEST = ['-fw_cfg', f'name={PROGRAM_FILE},file={PROGRAM_PATH}',
         '-chardev', f'file,id=serial,path={SERIAL},input-path={ANSWERS}',
         '-serial', 'chardev:serial']
# Shell commands: wait for a line of the guest, with a timeout
WAIT = ('i=0; until grep -qs "^{}" ' + SERIAL + ' || [ $i = 200 ]; '
        'do sleep 0.1; i=$((i+1)); done; ')
BEGIN = WAIT.format('boot') + 'echo start 0 >&4; ' + WAIT.format('done')

FILE = '/run/ram'
# Zeroes, which QEMU loads as a kernel of the oldest boot protocol
KERNEL = '/run/kernel'
DIMMS = ['-m', '512M,slots=4,maxmem=2G']
DIRTY_RING = ['-accel', 'kvm,dirty-ring-size=4096']
READ_ONLY = 'is read-only and cannot be private; use readonly=off'
UNTRACKED = 'changes of private memory cannot be tracked'
UNMIGRATABLE = 'private memory (guest_memfd) cannot be migrated'


@dataclass
class Refusal:
    """Options that QEMU must reject, and the error message."""

    name: str
    options: list[str]
    message: str


@dataclass
class Command:
    """A QMP command, and a text that its answer must contain, as JSON."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    answer: str = '"return"'
    status: str = 'running'

    def lines(self) -> list[str]:
        """Return the command, and one that shows that QEMU still runs."""
        return [json.dumps({'execute': self.name,
                            'arguments': self.arguments}),
                json.dumps({'execute': 'query-status'})]


def hmp(line: str, answer: str, status: str = 'running') -> Command:
    return Command('human-monitor-command', {'command-line': line}, answer,
                   status)


# Placeholders for the addresses of the devices
DEVICES = ('DEVICE0', 'DEVICE1')


def assign(device: str = DEVICES[0], options: str = '') -> list[str]:
    return ['-device', f'vfio-pci,host={device}{options}']


def extent_refusals() -> list[Refusal]:
    refused = [
        Refusal(f'extents of "{size}"',
                PRIVATE + assign(
                    options=f',x-shared-dma-extent={size}'),
                f"x-shared-dma-extent: '{size}' is none of 'auto', "
                "'superpage', 'page' and a power of two from 4K to 1T")
        for size in ('pages', '3M', '2K', '2T', '-1', '0')]
    for backend in ('', ',iommufd=iommufd0'):
        refused.append(Refusal(
            'devices of a container that want different extents' + backend,
            PRIVATE + ['-object', 'iommufd,id=iommufd0'] +
            assign(DEVICES[0], ',x-shared-dma-extent=page' + backend) +
            assign(DEVICES[1], ',x-shared-dma-extent=2M' + backend),
            "x-shared-dma-extent=2M contradicts 'page', which another device "
            'of the same VFIO container has'))
    return refused


def virtio_mem(options: str = '', backend: str = 'memory-backend-ram',
               number: int = 1) -> list[str]:
    device = f'virtio-mem-pci,memdev=mem{number},id=vmem{number}'
    return ['-m', '512M,maxmem=4G,slots=4',
            '-object', f'{backend},id=mem{number},size=512M',
            '-device', f'{device},{options}' if options else device]


def device_refusals() -> list[Refusal]:
    return [
        Refusal('vhost-vdpa, which pins all memory', PRIVATE + VDPA,
                'Cannot set discarding of RAM broken'),
        Refusal('virtio-mem whose unplugged memory is accessible',
                PRIVATE + virtio_mem('unplugged-inaccessible=off'),
                'unplugged private memory is always inaccessible; use '
                'unplugged-inaccessible=on'),
        Refusal('locked memory with virtio-mem',
                PRIVATE + virtio_mem() + ['-overcommit', 'mem-lock=on'],
                'Incompatible with mlock'),
        Refusal('an assigned device behind a virtual IOMMU, type1',
                PRIVATE + ['-device', 'intel-iommu,caching-mode=on'] +
                assign(),
                'a virtual IOMMU cannot be used for devices that are assigned '
                'to a guest with private memory'),
        Refusal('an assigned device behind a virtual IOMMU, iommufd',
                PRIVATE + ['-device', 'intel-iommu,caching-mode=on',
                           '-object', 'iommufd,id=iommufd0'] +
                assign(options=',iommufd=iommufd0'),
                'a virtual IOMMU cannot be used for devices that are assigned '
                'to a guest with private memory'),
        Refusal('SMM', PRIVATE + ['-machine', 'smm=on'],
                'use -machine smm=off'),
    ]


def file_backend(options: str) -> list[str]:
    return ['-object', 'memory-backend-file,id=ram0,size=512M,'
                       f'mem-path={FILE},{options}']


def as_memory(backend: list[str]) -> list[str]:
    """Return options that make a backend the machine's memory."""
    return [*backend, '-machine', 'memory-backend=ram0']


def machine_memory(options: str) -> list[str]:
    return as_memory(['-object', f'memory-backend-{options},id=ram0,'
                                 'size=512M'])


def memory_refusals() -> list[Refusal]:
    refused = [
        Refusal(f'memory of a file with {options}',
                PRIVATE + as_memory(file_backend(options)),
                f"memory 'ram0' {READ_ONLY}")
        for options in ('readonly=on,share=on', 'readonly=on,share=off',
                        'readonly=on,share=off,rom=on',
                        'readonly=on,share=off,rom=off',
                        'readonly=on,share=on,rom=auto')]
    refused += [
        Refusal(f'{device} with private memory',
                PRIVATE + DIMMS + file_backend('share=on') +
                ['-machine', 'nvdimm=on', '-device', f'{device},memdev=ram0'],
                f'{device} does not work in a guest with private memory; use '
                'pc-dimm or virtio-mem-pci')
        for device in ('nvdimm', 'virtio-pmem-pci')]
    return [
        *refused,
        Refusal('a DIMM that is read-only',
                PRIVATE + DIMMS + file_backend('readonly=on,share=on') +
                ['-device', 'pc-dimm,memdev=ram0'], READ_ONLY),
        Refusal('-only-migratable', PRIVATE + ['-only-migratable'],
                'disallowing migration blocker (--only-migratable) for: ' +
                UNMIGRATABLE),
        Refusal('-incoming', PRIVATE + ['-incoming', 'defer'],
                'is private and cannot be migrated; leave out -incoming'),
        Refusal('-loadvm', PRIVATE + ['-loadvm', 'x'],
                'private memory cannot be restored from a snapshot'),
    ]


# Memory and machines that work
WORKING = {
    'memory-backend-ram': machine_memory('ram'),
    'memory-backend-ram,share=on': machine_memory('ram,share=on'),
    'memory-backend-memfd': machine_memory('memfd'),
    'memory-backend-memfd,seal=off': machine_memory('memfd,seal=off'),
    'memory-backend-memfd,share=off': machine_memory('memfd,share=off'),
    'memory-backend-shm': machine_memory('shm'),
    'memory-backend-file,share=on': as_memory(file_backend('share=on')),
    'memory-backend-file,share=off': as_memory(file_backend('share=off')),
    'reserve=off': machine_memory('ram,reserve=off'),
    'reserve=off of memfd': machine_memory('memfd,reserve=off'),
    'prealloc=on': machine_memory('ram,prealloc=on'),
    'merge=off, dump=off': machine_memory('ram,merge=off,dump=off'),
    'huge pages': machine_memory('memfd,hugetlb=on,hugetlbsize=2M'),
    'huge pages, share=off': machine_memory(
        'memfd,hugetlb=on,hugetlbsize=2M,share=off'),
    '-mem-path': ['-mem-path', '/run'],
    '-mem-path of huge pages': ['-mem-path', '/run/huge', '-mem-prealloc'],
    '-mem-prealloc': ['-mem-prealloc'],
    'aux-ram-share=on': ['-machine', 'aux-ram-share=on'],
    'a DIMM': [*DIMMS, *file_backend('share=on'), '-device',
               'pc-dimm,memdev=ram0'],
    'virtio-mem': virtio_mem(),
    'virtio-mem that decides what is accessible': virtio_mem(
        'unplugged-inaccessible=auto'),
    'virtio-mem with slots': virtio_mem('dynamic-memslots=on'),
    'virtio-mem that preallocates': virtio_mem('prealloc=on',
                                               'memory-backend-memfd'),
    'virtio-mem without swap space': virtio_mem(
        backend='memory-backend-ram,reserve=off'),
    'virtio-mem of huge pages': virtio_mem(
        backend='memory-backend-memfd,hugetlb=on,hugetlbsize=2M,reserve=off'),
    'virtio-mem devices in NUMA nodes': [
        *virtio_mem('node=0'), *virtio_mem('node=1', number=2),
        '-object', 'memory-backend-ram,id=ram0,size=256M',
        '-object', 'memory-backend-ram,id=ram1,size=256M',
        '-numa', 'node,nodeid=0,memdev=ram0,cpus=0',
        '-numa', 'node,nodeid=1,memdev=ram1'],
    'virtio-mem and a DIMM': [
        *virtio_mem(), *file_backend('share=on'),
        '-device', 'pc-dimm,memdev=ram0'],
    'ivshmem': [*file_backend('share=on'), '-device',
                'ivshmem-plain,memdev=ram0'],
    'locked memory': ['-overcommit', 'mem-lock=on'],
    'locked memory that is shared': [*machine_memory('ram,share=on'),
                                     '-overcommit', 'mem-lock=on'],
    'a display': ['-device', 'VGA,romfile='],
    'displays': ['-device', 'bochs-display,romfile=',
                 '-device', 'secondary-vga,romfile='],
    'an option ROM': ['-option-rom', FIRMWARE_PATH],
    'a kernel': ['-kernel', KERNEL],
    'the machine pc': ['-machine', 'pc'],
    'the machine microvm': ['-machine', 'microvm'],
    'a dirty ring that is not used': DIRTY_RING,
    'flash': ['-drive', f'if=pflash,format=raw,file={FIRMWARE_PATH},'
                        'readonly=on'],
    'flash of the machine': [
        '-blockdev', f'file,node-name=flash,filename={FIRMWARE_PATH},'
                     'read-only=on', '-machine', 'pflash0=flash'],
}


def untracked_commands() -> list[Command]:
    """Return commands that would track changes of memory.

    Commands of the human monitor return their errors.
    """
    migration = {'uri': 'exec:cat >/dev/null'}
    modes: list[dict[str, str]] = [
        {}, {'mode': 'page-sampling'}, {'mode': 'dirty-bitmap'},
        {'mode': 'dirty-ring'}]
    return [
        *(Command('calc-dirty-rate', {'calc-time': 1, **mode}, UNTRACKED)
          for mode in modes),
        hmp('calc_dirty_rate -b 1', UNTRACKED),
        Command('query-dirty-rate', {}, '"unstarted"'),
        Command('set-vcpu-dirty-limit', {'dirty-rate': 5}, UNTRACKED),
        Command('set-vcpu-dirty-limit', {'cpu-index': 0, 'dirty-rate': 5},
                UNTRACKED),
        Command('query-vcpu-dirty-limit', {}, '{"return": []}'),
        Command('cancel-vcpu-dirty-limit'),
        Command('migrate', migration, UNMIGRATABLE),
        Command('migrate-set-capabilities', {'capabilities': [
            {'capability': 'x-ignore-shared', 'state': True}]}),
        Command('migrate', migration, UNMIGRATABLE),
        hmp('savevm x', UNMIGRATABLE),
        Command('query-migrate', {}, f'["{UNMIGRATABLE}"]'),
    ]


def plug_commands() -> list[Command]:
    commands = [
        Command('object-add', {
            'qom-type': 'memory-backend-file', 'id': 'ro', 'size': 64 << 20,
            'mem-path': FILE, 'readonly': True, 'share': True}, READ_ONLY),
    ]
    for number, device in enumerate(('virtio-pmem-pci', 'nvdimm')):
        commands += [
            Command('object-add', {'qom-type': 'memory-backend-ram',
                                   'id': f'{device}-memory',
                                   'size': 64 << 20}),
            Command('device_add', {'driver': device, 'id': f'plug{number}',
                                   'memdev': f'{device}-memory',
                                   **({} if device == 'nvdimm'
                                      else {'bus': 'slot0'})},
                    f'{device} does not work in a guest with private memory'),
            Command('object-del', {'id': f'{device}-memory'})]
    refused = {'driver': 'virtio-mem-pci', 'id': 'vmem', 'bus': 'slot0',
               'memdev': 'vmem-memory', 'unplugged-inaccessible': 'off'}
    return [*commands,
            Command('object-add', {'qom-type': 'memory-backend-ram',
                                   'id': 'vmem-memory', 'size': 64 << 20}),
            Command('device_add', refused,
                    'unplugged private memory is always inaccessible'),
            Command('object-del', {'id': 'vmem-memory'})]


# Leaves the machine stopped, like any failed loadvm
LOADVM = hmp('loadvm x', 'private memory cannot be restored', 'restore-vm')


def pam_commands(register: int) -> list[Command]:
    """Return PCI writes that set all four modes of memory below 1 MiB.

    One of the modes is read-only, even for memory with a guest_memfd.
    """
    commands = []
    for mode in (1, 2, 3, 0):
        for pair in (0, 4):
            commands += [hmp(f'o /w 0xcf8 {0x80000000 | register + pair:#x}',
                             '""'),
                         hmp(f'o /w 0xcfc {0x11111111 * mode:#x}', '""')]
    return commands


# Commands that are rejected above, for a guest without private memory
PLAIN_COMMANDS = [
    Command('calc-dirty-rate', {'calc-time': 1, 'mode': 'dirty-bitmap'},
            '{"return": {}}'),
    Command('query-dirty-rate', {}, '"dirty-bitmap"'),
    Command('migrate', {'uri': 'exec:cat >/dev/null'}, '{"return": {}}'),
]
PLAIN_RING_COMMANDS = [
    Command('calc-dirty-rate', {'calc-time': 1, 'mode': 'dirty-ring'},
            '{"return": {}}'),
    Command('set-vcpu-dirty-limit', {'dirty-rate': 5}, '{"return": {}}'),
    Command('query-vcpu-dirty-limit', {}, '"limit-rate": 5'),
]

OLD_KVM = Refusal('private memory on a KVM without software-protected VMs',
                  PRIVATE, 'use Linux 6.8 or later, built with '
                           'CONFIG_KVM_SW_PROTECTED_VM')


# Options that are rejected above must work without private memory. Otherwise
# they could be rejected for another reason.
WORKING_WITHOUT = {
    'vhost-vdpa': VDPA,
    'memory that is read-only': [
        *DIMMS, *file_backend('readonly=on,share=on'),
        '-device', 'pc-dimm,memdev=ram0'],
    'NVDIMM and virtio-pmem': [
        *DIMMS, '-machine', 'nvdimm=on', *file_backend('share=on'),
        '-device', 'nvdimm,memdev=ram0',
        '-object', 'memory-backend-ram,id=ram1,size=64M',
        '-device', 'virtio-pmem-pci,memdev=ram1'],
    '-only-migratable and -incoming': [
        '-only-migratable', '-incoming', 'defer'],
}

PRIVATE_SLOTS = [*PRIVATE, *DIMMS, '-machine', 'nvdimm=on',
                 '-device', 'pcie-root-port,id=slot0']
# Options of QEMU, and commands. Rejected commands are executed twice: the
# error must be the same.
COMMANDS = {
    'private memory': (
        PRIVATE_SLOTS,
        2 * (untracked_commands() + plug_commands()) + 2 * [LOADVM]),
    'private memory, dirty ring': (
        [*PRIVATE_SLOTS, *DIRTY_RING], 2 * untracked_commands()),
    'private memory, PAM of q35': (PRIVATE, pam_commands(0x90)),
    'private memory, PAM of i440fx': (
        [*PRIVATE, '-machine', 'pc'], pam_commands(0x58)),
    'plain memory': (['-machine', 'q35'], PLAIN_COMMANDS),
    'plain memory, dirty ring': (
        ['-machine', 'q35', *DIRTY_RING], PLAIN_RING_COMMANDS),
}


class Host:
    """The level 1 machine, on which one QEMU after the other is started."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self._l1: L1Machine | None = None
        self._bdfs: list[str] = []

    @property
    def l1(self) -> L1Machine:
        """The machine, which is started if necessary."""
        if self._l1 is None or self._machines.l1 is not self._l1:
            self._l1 = start_l1(self._machines)
            self._bdfs = bind_edus(self._l1, len(DEVICES))
            self._l1.check(
                'vdpa dev add name vdpa0 mgmtdev vdpasim_net; '
                f'truncate -s 512M {FILE}; truncate -s 64K {KERNEL}; '
                'mkdir -p /run/huge /dev/shm; '
                'mount -t tmpfs none /dev/shm; '
                'mount -t hugetlbfs none /run/huge; '
                'echo 256 >/proc/sys/vm/nr_hugepages')
        return self._l1

    def run(self, command: str) -> tuple[int, str]:
        """Execute a shell command with a QEMU in it."""
        return self.l1.run(command, 2 * QEMU_TIMEOUT)

    def qemu(self, options: list[str]) -> str:
        """Return the command that starts QEMU with these options."""
        command = qemu_command(options)
        # The property self.l1 also starts the machine
        assert self.l1
        for name, bdf in zip(DEVICES, self._bdfs):
            command = command.replace(name, bdf)
        return command

    def start_and_quit(self, options: list[str]) -> tuple[str, int, str]:
        """Return the command, its status, and QEMU's output."""
        command = self.qemu([*options, '-S', '-monitor', 'stdio'])
        return command, *self.run(f'echo quit | {command}')


def qemu_command(options: list[str]) -> str:
    accel = [] if '-accel' in options else ['-accel', 'kvm']
    return shlex.join([
        'timeout', '-s', 'KILL', str(QEMU_TIMEOUT),
        'qemu', '-L', '/firmware', '-nodefaults', '-no-user-config',
        '-display', 'none', *accel, '-cpu', 'host', '-m', '512M',
        '-bios', FIRMWARE_PATH, *options])


def start_l1(machines: Machines, kernel_arguments: str = '') -> L1Machine:
    return machines.start({
        FIRMWARE_PATH: machines.built.firmware.read_bytes(),
        PROGRAM_PATH: compile_program(_PROGRAM, 'guest').pack(),
        **find_tool('vdpa', 'iproute2')},
        devices=len(DEVICES), kernel_arguments=kernel_arguments)


@pytest.fixture(scope='module')
def host(machines: Machines) -> Host:
    """One level 1 machine for all tests of this module."""
    return Host(machines)


def check_refusal(refusal: Refusal, command: str, status: int, output: str,
                  checks: Checks) -> None:
    # 1 is an orderly exit: a crash or the timeout has another status
    checks.check(status == 1 and refusal.message in output,
                 f'refused: {refusal.name}',
                 f'{command}\nstatus {status}, expected 1 and: '
                 f'{refusal.message}\n{output}')


REFUSALS = [*device_refusals(), *extent_refusals(), *memory_refusals()]


@pytest.mark.parametrize('refusal', REFUSALS, ids=lambda each: each.name)
def test_refused(refusal: Refusal, host: Host, checks: Checks) -> None:
    command = host.qemu(refusal.options)
    check_refusal(refusal, command, *host.run(command), checks)


@pytest.mark.parametrize('name', WORKING_WITHOUT)
def test_works_without_private_memory(name: str, host: Host, checks: Checks
                                      ) -> None:
    command, status, output = host.start_and_quit(
        ['-machine', 'q35', *WORKING_WITHOUT[name]])
    checks.check(status == 0, f'without private memory: {name}',
                 f'{command}\nstatus {status}\n{output}')


@pytest.mark.parametrize('name', WORKING)
def test_works(name: str, host: Host, checks: Checks) -> None:
    """A guest with private memory converts it, and checks its content."""
    command = host.qemu([*PRIVATE, *GUEST, *WORKING[name],
                         '-monitor', 'stdio'])
    status, output = host.run(
        f'rm -f {SERIAL} {ANSWERS}; mkfifo {ANSWERS}; '
        f'(exec 4<>{ANSWERS}; {BEGIN} echo quit) | {command}')
    said = host.l1.run(f'cat {SERIAL}')[1].replace('\r', '').splitlines()
    checks.check(status == 0 and said[:1] == ['boot'] and
                 said[-1].startswith('done ') and
                 all(line.startswith('ok ') for line in said[1:-1]),
                 f'works: {name}',
                 '\n'.join([command, f'status {status}', output, *said]))


@pytest.mark.parametrize('name', COMMANDS)
def test_commands(name: str, host: Host, checks: Checks) -> None:
    """QEMU answers as expected, and still runs after each command."""
    options, commands = COMMANDS[name]
    lines = ['{"execute": "qmp_capabilities"}']
    for command in commands:
        lines += command.lines()
    lines.append('{"execute": "quit"}')
    qemu = host.qemu([*options, '-qmp', 'stdio'])
    status, output = host.run(f'printf "%s\\n" {shlex.join(lines)} | {qemu}')
    answers = [line for line in output.splitlines()
               if line.startswith(('{"return"', '{"error"'))][1:]
    for command, answer, running in zip(commands, answers[::2],
                                        answers[1::2]):
        checks.check(command.answer in answer and
                     f'"status": "{command.status}"' in running,
                     f'{name}: {command.lines()[0]}',
                     f'{answer}\n{running}\nexpected: {command.answer}, and '
                     f'{command.status}')
    checks.check(status == 0 and len(answers) == 2 * len(commands) + 1,
                 f'{name}: QEMU quits on request',
                 f'{qemu}\nstatus {status}\n{output}')


@pytest.mark.parametrize('extent, warns', (('page', True), ('auto', False)))
def test_warning(extent: str, warns: bool, host: Host, checks: Checks) -> None:
    """QEMU warns at the start if IOMMU entries may run out."""
    command, status, output = host.start_and_quit(
        PRIVATE + assign(options=f',x-shared-dma-extent={extent}'))
    warning = 'x-shared-dma-extent=page can take up to'
    checks.check(status == 0 and (warning in output) == warns,
                 f'extents of "{extent}": ' + ('a' if warns else 'no') +
                 ' warning that entries may run out',
                 f'{command}\nstatus {status}\n{output}')


def test_old_kvm(machines: Machines, checks: Checks) -> None:
    """The KVM of this machine has no software-protected VMs."""
    l1 = start_l1(machines, 'kvm.tdp_mmu=0')
    command = qemu_command(OLD_KVM.options)
    check_refusal(OLD_KVM, command, *l1.run(command, 2 * QEMU_TIMEOUT),
                  checks)
    l1.power_off()
