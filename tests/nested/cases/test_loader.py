# SPDX-License-Identifier: GPL-2.0-or-later

"""The loader starts Linux like a BIOS does, or says why it cannot.

The kernel of level 1 is started in its usual machine, but by the loader, and
looks at what it finds there. Other machines have something that the loader
must refuse. All of these need no nested guest. In a guest with private memory,
all RAM must be private when Linux has started.
"""

import hashlib
import json
import random
import re
import shlex
import struct
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.checks import Checks
from harness.initramfs import BLOB_DIRS, Archive, find_busybox
from harness.l1 import CLOCK_ARGUMENTS, L1Machine
from harness.l2 import wait_until
from harness.program import MIB
from harness.session import Built, Machines, check_complaints

# Memory in MiB, number of processors, and more options for QEMU. Memory of 3
# GiB is partly above 4 GiB.
MACHINES: dict[str, tuple[int, int, list[str]]] = {
    'low-memory': (512, 1, []),
    'high-memory': (3072, 4, []),
    'no-smm': (1024, 2, ['-machine', 'smm=off']),
}

# A device behind a bridge, in addition to those of level 1
BRIDGE = ['-device', 'pcie-root-port,id=root0,chassis=1',
          '-device', 'virtio-rng-pci,bus=root0']
RNG = ('0x1af4', '0x1044')
EDU = ('0x1234', '0x11e8')

TABLES = {'APIC', 'DMAR', 'DSDT', 'FACP', 'FACS', 'HPET', 'MCFG'}

# Size of a PCI Express device's configuration space, which only MMCONFIG has
EXTENDED_CONFIG = 4096

MMCONFIG = 'b0000000-bfffffff : Reserved'

# The end of the initrd: more than the loader copies at a time
DATA_PATH = '/data'
DATA = random.Random(1).randbytes(5 * MIB)

# Flags of a resource: memory, read-only ROM
RESOURCE_MEMORY = 0x200
RESOURCE_READONLY = 0x4000

# The area of VGA and ROMs, and the page that Linux reserves
NOT_RAM = 0x60000 + 0x1000

STAGES = ['shared RAM:', 'ACPI tables:', 'initrd:', 'kernel:',
          'starting Linux']
STARTED = 'loader: starting Linux'

# Messages that result from a mistake of the loader
_BAD = re.compile(r'ACPI.*(?:BIOS|Error|Exception)|mtrr|MTRR|'
                  r"can't claim|conflict|failed to assign|not reserved|"
                  r'no compatible bridge window|bogus alignment')

# A guest with private memory, and files for it in level 1. Its kernel does not
# share memory, and therefore has no kvm-clock.
GUEST_RAM = 'pc.ram'
GUEST_CPUS = 2
GUEST_START_SECONDS = 120
GUEST_STARTED = f'guest: {GUEST_CPUS} processors'
GUEST_OPTIONS = [
    '-L', '/firmware', '-nodefaults', '-no-user-config', '-display', 'none',
    '-accel', 'kvm', '-cpu', 'host', '-smp', str(GUEST_CPUS), '-m', '512M',
    '-machine', 'q35,kernel-irqchip=split,confidential-guest-support=sp0',
    '-object', 'sw-protected-vm,id=sp0', '-bios', '/guest/loader.bin',
    '-kernel', '/guest/bzImage', '-initrd', '/guest/initrd',
    '-append', f'console=ttyS0 quiet {CLOCK_ARGUMENTS} '
               'clocksource=tsc no-kvmclock no-steal-acc no-kvmapf',
    '-serial', 'file:/run/guest-serial', '-qmp', 'stdio']
REGISTERS = json.dumps({
    'execute': 'human-monitor-command',
    'arguments': {'command-line': 'info registers -a'}})
GUEST_INIT = """#!/bin/busybox sh
/bin/busybox mount -t sysfs sysfs /sys
echo "guest: $(/bin/busybox nproc) processors"
while true; do /bin/busybox sleep 60; done
"""
# Queries private memory after the start, and after a reset. If the guest does
# not start, shows where its processors are, twice.
GUEST_SCRIPT = f"""
execute()
{{
    echo "{{\\"execute\\": \\"$1\\"}}"
}}

# Whether the guest has started this number of times before time is up
has_started()
{{
    for second in $(seq {GUEST_START_SECONDS}); do
        if [ "$(grep -c '^{GUEST_STARTED}' /run/guest-serial)" = "$1" ]; then
            return 0
        fi
        sleep 1
    done
    return 1
}}

query_started()
{{
    if has_started "$1"; then
        execute query-guest-memfd
        return 0
    fi
    echo '{REGISTERS}'
    sleep 1
    echo '{REGISTERS}'
    return 1
}}

: >/run/guest-serial
{{
    execute qmp_capabilities
    if query_started 1; then
        execute system_reset
        query_started 2
    fi
    execute quit
}} | qemu {shlex.join(GUEST_OPTIONS)}
"""

_REBOOT_TIMEOUT = 120.0
_LOADER_TIMEOUT = 60.0
_GUEST_TIMEOUT = 300.0


def parse_iomem(text: str, name: str) -> int:
    """Return the size of all ranges in /proc/iomem with this name."""
    size = 0
    for line in text.splitlines():
        match = re.fullmatch(r'([0-9a-f]+)-([0-9a-f]+) : (.*)', line)
        if match and match[3] == name:
            size += int(match[2], 16) - int(match[1], 16) + 1
    return size


def unassigned(resources: str) -> list[str]:
    """Return the lines of memory resources without an address."""
    return [line for line in resources.splitlines()
            for start, _, flags in [line.split()]
            if int(flags, 16) & RESOURCE_MEMORY and
            not int(flags, 16) & RESOURCE_READONLY and not int(start, 16)]


def check_found(l1: L1Machine, memory: int, cpus: int, checks: Checks,
                when: str) -> None:
    """Check what Linux has found in its machine."""
    iomem = l1.check('cat /proc/iomem')
    ram = parse_iomem(iomem, 'System RAM')
    tables = parse_iomem(iomem, 'ACPI Tables')
    checks.check(tables > 0 and ram + tables == memory * MIB - NOT_RAM,
                 f'{when}: Linux finds all RAM', iomem)
    checks.check(MMCONFIG in map(str.strip, iomem.splitlines()),
                 f'{when}: the memory map reserves MMCONFIG', iomem)
    digest = l1.check(f'sha256sum {DATA_PATH}').split()[0]
    checks.check(digest == hashlib.sha256(DATA).hexdigest(),
                 f'{when}: the initrd is complete', digest)
    online = l1.check('cat /sys/devices/system/cpu/online')
    expected = f'0-{cpus - 1}' if cpus > 1 else '0'
    checks.check(online.strip() == expected,
                 f'{when}: Linux starts all processors', online)
    names = l1.check('ls /sys/firmware/acpi/tables')
    checks.check(TABLES <= set(names.split()),
                 f'{when}: Linux finds the ACPI tables', names)

    devices = l1.check('cd /sys/bus/pci/devices; for d in *; do echo $d $('
                       'cat $d/vendor $d/device; stat -Lc %s $d/config); done')
    found = {tuple(line.split()[1:3]) for line in devices.splitlines()}
    checks.check({EDU, RNG} <= found, f'{when}: Linux finds the devices, also '
                 'behind a bridge', devices)
    sizes = {line.split()[3] for line in devices.splitlines()
             if line.split()[1:3] == list(RNG)}
    checks.check(sizes == {str(EXTENDED_CONFIG)},
                 f'{when}: Linux uses MMCONFIG', devices)
    resources = l1.check('cat /sys/bus/pci/devices/*/resource')
    checks.check(not unassigned(resources),
                 f'{when}: Linux assigns all memory of devices', resources)
    bad = [line for line in l1.check('dmesg').splitlines()
           if _BAD.search(line)]
    checks.check(not bad, f'{when}: Linux does not complain about the '
                 'firmware', '\n'.join(bad))


def stages(l1: L1Machine) -> list[str]:
    """Return the loader's messages, without values."""
    return [re.sub(r' \w+=.*', '', line.removeprefix('loader: ')).strip()
            for line in l1.console().splitlines()
            if line.startswith('loader: ')]


@pytest.mark.parametrize('name', MACHINES)
def test_boot(machines: Machines, name: str, checks: Checks) -> None:
    memory, cpus, options = MACHINES[name]
    l1 = machines.start({DATA_PATH: DATA}, memory, options=[
        '-bios', str(machines.built.loader), '-smp', f'cpus={cpus}',
        '-action', 'reboot=reset', *BRIDGE, *options])
    check_found(l1, memory, cpus, checks, 'start')
    checks.check(stages(l1) == STAGES, 'the loader reports its progress',
                 l1.console())

    # The answer to the command must arrive before the reset
    l1.check('(sleep 1; reboot -f) >/dev/null 2>&1 &')
    if checks.check(wait_until(lambda: l1.console().count(STARTED) == 2,
                               _REBOOT_TIMEOUT),
                    'the machine can be reset', l1.console()):
        # A command waits until Linux reads it
        status, output = l1.run('true', _REBOOT_TIMEOUT)
        checks.check(status == 0, 'Linux starts again', output)
        check_found(l1, memory, cpus, checks, 'after a reset')
    check_complaints(l1, checks)
    l1.power_off()


def guest_files(built: Built) -> dict[str, bytes]:
    """Return the files in level 1 for a guest with private memory."""
    initrd = Archive()
    for folder in ('dev', 'sys'):
        initrd.add_dir(folder)
    initrd.add_file('init', GUEST_INIT.encode())
    initrd.add_file('bin/busybox', find_busybox().read_bytes())
    return {'/guest/run': GUEST_SCRIPT.encode(),
            '/guest/loader.bin': built.loader.read_bytes(),
            '/guest/bzImage': built.kernel.read_bytes(),
            '/guest/initrd': initrd.finish()}


def test_private_memory(machines: Machines, checks: Checks) -> None:
    l1 = machines.start(guest_files(machines.built), devices=0)
    status, output = l1.run('sh /guest/run', _GUEST_TIMEOUT)
    serial = l1.run('cat /run/guest-serial')[1]
    checks.check(status == 0, 'QEMU runs the guest', output)
    checks.check(serial.count('loader: private RAM:') == 2,
                 'the loader makes all RAM private', serial)
    checks.check(serial.count(GUEST_STARTED) == 2,
                 'Linux starts on all processors, also after a reset',
                 f'{serial}\n{output}')
    answers = [json.loads(line).get('return') for line in output.splitlines()
               if line.startswith('{')]
    shared = [block['shared-size'] for answer in answers
              if isinstance(answer, list) for block in answer
              if block['id'] == GUEST_RAM]
    checks.check(shared == [0, 0], 'Linux has only private memory', output)
    check_complaints(l1, checks)
    l1.power_off()


def kernel_image(magic: bytes = b'HdrS', version: int = 0x20f,
                 loadflags: int = 1, xloadflags: int = 1,
                 command_line: int = 2047, relocatable: int = 1,
                 address: int = 0x1000000, size: int = 0x100000) -> bytes:
    """Return an image that has nothing but a header."""
    image = bytearray(0x1000)
    image[0x1f1] = 1
    image[0x201] = 0x6a
    image[0x202:0x206] = magic
    image[0x211] = loadflags
    image[0x234] = relocatable
    for form, offset, value in (
            ('<H', 0x206, version), ('<I', 0x22c, 0x7fffffff),
            ('<I', 0x230, 0x200000), ('<H', 0x236, xloadflags),
            ('<I', 0x238, command_line), ('<Q', 0x258, address),
            ('<I', 0x260, size)):
        struct.pack_into(form, image, offset, value)
    return bytes(image)


# Options for QEMU, and the message
MACHINES_REFUSED: dict[str, tuple[list[str], str]] = {
    'no-kernel': ([], 'QEMU has no kernel: start it with -kernel'),
    'i440fx': (['-machine', 'pc'],
               'this is not a q35: start QEMU with -machine q35'),
    'no-acpi': (['-machine', 'acpi=off'],
                'etc/table-loader does not exist: QEMU has no ACPI tables'),
    'no-fw-cfg-dma': (['-global', 'fw_cfg.dma_enabled=off'],
                      'fw_cfg has no DMA'),
    'little-memory': (['-m', '16M'], 'the guest needs more RAM'),
}

KERNELS_REFUSED = {
    'no-bzimage': (kernel_image(magic=b'none'),
                   'the kernel is not a Linux bzImage'),
    'low-kernel': (kernel_image(loadflags=0),
                   'the kernel is not a Linux bzImage'),
    'old-kernel': (kernel_image(version=0x206),
                   'the kernel is too old: boot-protocol=0x206 needed=0x20c'),
    'kernel-32': (kernel_image(xloadflags=0),
                  'the kernel has no 64-bit entry point'),
    'long-command-line': (
        kernel_image(command_line=3),
        "the kernel's command line is too long: size=5 maximum=4"),
    'fixed-kernel': (kernel_image(relocatable=0, address=0x100000),
                     'the kernel cannot be loaded above 16 MiB'),
    'large-kernel': (kernel_image(size=0x40000000),
                     'the guest needs more RAM for the kernel: '
                     'address=0x1000000 size=1073741824 limit=0x7fdf000'),
}

TABLES_FILE = 'etc/table-loader'
BLOB_FILE = 'opt/blob'
BLOB = bytes(100)

# File that guests can write, with an address at the end
WRITABLE_FILE = 'etc/vmcoreinfo'
WRITABLE_SIZE = 16
WRITABLE_DEVICE = ['-device', 'vmcoreinfo']


def name_field(name: str) -> bytes:
    return name.encode().ljust(56, b'\0')


def command(kind: int, *fields: bytes | int, form: str = '') -> bytes:
    """Return a command of the table loader."""
    names = b''.join(field for field in fields if isinstance(field, bytes))
    numbers = [field for field in fields if isinstance(field, int)]
    return (struct.pack('<I', kind) + names +
            struct.pack('<' + form, *numbers)).ljust(128, b'\0')


def allocate(name: str = BLOB_FILE, align: int = 16) -> bytes:
    return command(1, name_field(name), align, 1, form='IB')


def add_pointer(offset: int, size: int, source: str = BLOB_FILE) -> bytes:
    return command(2, name_field(BLOB_FILE), name_field(source), offset, size,
                   form='IB')


def add_checksum(offset: int, start: int, length: int) -> bytes:
    return command(3, name_field(BLOB_FILE), offset, start, length,
                   form='III')


def write_pointer(target: str, offset: int, source_offset: int, size: int
                  ) -> bytes:
    return command(4, name_field(target), name_field(BLOB_FILE), offset,
                   source_offset, size, form='IIB')


TABLES_REFUSED = {
    'size': (b'x', f'{TABLES_FILE} has an unexpected size'),
    'no-rsdp': (allocate(), f'{TABLES_FILE} does not load the RSDP'),
    'unknown-command': (command(5), f'{TABLES_FILE} has an unknown command'),
    'endless-name': (command(1, b'x' * 56, 16, 1, form='IB'),
                     f'{TABLES_FILE} has a name without an end'),
    'missing-file': (allocate('none'), 'none does not exist'),
    'twice': (allocate() * 2, f'{BLOB_FILE} is loaded twice'),
    'no-alignment': (
        allocate(align=0),
        f'{BLOB_FILE} has an alignment that is not a power of two'),
    'odd-alignment': (
        allocate(align=24),
        f'{BLOB_FILE} has an alignment that is not a power of two'),
    'large-alignment': (allocate(align=1 << 31), 'the guest needs more RAM'),
    'not-loaded': (add_pointer(0, 8), f'{TABLES_FILE} uses a file that is '
                   f'not loaded: {BLOB_FILE}'),
    'source-not-loaded': (allocate() + add_pointer(0, 8, 'none'),
                          f'{TABLES_FILE} uses a file that is not loaded: '
                          'none'),
    'pointer-size': (allocate() + add_pointer(0, 3),
                     f'{TABLES_FILE} has a pointer of unknown size'),
    'pointer-at-end': (allocate() + add_pointer(len(BLOB) - 7, 8),
                       f'{BLOB_FILE} has no such pointer'),
    'pointer-wraps': (allocate() + add_pointer(0xffffffff, 8),
                      f'{BLOB_FILE} has no such pointer'),
    # The first pointer becomes an address, which the second one adds to
    'pointer-beyond': (allocate() + add_pointer(0, 8) * 2,
                       f'{BLOB_FILE} points beyond the end of a file'),
    'small-pointer': (allocate() + add_pointer(0, 2),
                      f'{BLOB_FILE} has a pointer that is too small'),
    'checksum-at-end': (allocate() + add_checksum(len(BLOB), 0, 1),
                        f'{BLOB_FILE} has a checksum beyond its end'),
    'checksum-beyond': (allocate() + add_checksum(0, 1, len(BLOB)),
                        f'{BLOB_FILE} has a checksum beyond its end'),
    'checksum-wraps': (allocate() + add_checksum(0, 2, 0xffffffff),
                       f'{BLOB_FILE} has a checksum beyond its end'),
    'write-to-none': (allocate() + write_pointer('none', 0, 0, 8),
                      'none does not exist'),
    'write-at-end': (allocate() +
                     write_pointer(BLOB_FILE, len(BLOB) - 3, 0, 4),
                     f'{BLOB_FILE} has no such pointer'),
    'write-beyond': (allocate() +
                     write_pointer(BLOB_FILE, 0, len(BLOB) + 1, 4),
                     f'{BLOB_FILE} points beyond the end of a file'),
    'write-size': (allocate() + write_pointer(BLOB_FILE, 0, 0, 5),
                   f'{TABLES_FILE} has a pointer of unknown size'),
    'write-small': (allocate() + write_pointer(BLOB_FILE, 0, 0, 1),
                    f'{BLOB_FILE} has a pointer that is too small'),
    # QEMU does not let guests write to this file
    'write-refused': (allocate() + write_pointer(BLOB_FILE, 8, 0, 8),
                      'fw_cfg cannot transfer: control=0x10 size=8'),
}


def loader_error(built: Built, options: Sequence[str]) -> str:
    """Start the loader in QEMU. Returns its error, or all output."""
    command_line = [
        str(built.qemu), '-nodefaults', '-no-user-config', '-display', 'none',
        '-machine', 'q35,accel=tcg', '-m', '128M', '-serial', 'stdio',
        '-no-reboot', '-bios', str(built.loader)]
    for path in BLOB_DIRS:
        command_line += ['-L', str(path)]
    command_line += options
    output = [shlex.join(command_line)]
    with subprocess.Popen(
            command_line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True) as process:
        timer = threading.Timer(_LOADER_TIMEOUT, process.kill)
        timer.start()
        try:
            assert process.stdout
            for line in process.stdout:
                output.append(line.strip())
                if line.startswith('loader: error: '):
                    return output[-1].removeprefix('loader: error: ')
        finally:
            timer.cancel()
            process.kill()
    return '\n'.join(output)


@pytest.mark.parametrize('name', MACHINES_REFUSED)
def test_machine_refused(built: Built, name: str) -> None:
    options, message = MACHINES_REFUSED[name]
    assert loader_error(built, options) == message


@pytest.mark.parametrize('name', KERNELS_REFUSED)
def test_kernel_refused(built: Built, tmp_path: Path, name: str) -> None:
    image, message = KERNELS_REFUSED[name]
    path = tmp_path / 'kernel'
    path.write_bytes(image)
    assert loader_error(built, ['-kernel', str(path), '-append', 'text'
                                ]) == message


def tables_options(folder: Path, commands: bytes, blob: bytes) -> list[str]:
    """Return options for tables that these commands assemble."""
    options = ['-machine', 'acpi=off', *WRITABLE_DEVICE]
    for file, data in ((TABLES_FILE, commands), (BLOB_FILE, blob)):
        path = folder / file.replace('/', '-')
        path.write_bytes(data)
        options += ['-fw_cfg', f'name={file},file={path}']
    return options


@pytest.mark.parametrize('name', TABLES_REFUSED)
def test_tables_refused(built: Built, tmp_path: Path, name: str) -> None:
    commands, message = TABLES_REFUSED[name]
    options = tables_options(tmp_path, commands, BLOB)
    assert loader_error(built, options) == message


def test_tables(built: Built, tmp_path: Path) -> None:
    """Each command has the effect that QEMU defines for it."""
    align, checksum, small, large, source = 64, 5, 17, 40, 30
    blob = bytearray(range(100, 200))
    blob[checksum] = 0
    for offset, size, value in ((small, 4, 7), (large, 8, len(blob))):
        blob[offset:offset + size] = value.to_bytes(size, 'little')
    commands = (
        allocate(align=align) + add_pointer(small, 4) +
        add_pointer(large, 8) + add_checksum(checksum, 1, 60) +
        write_pointer(WRITABLE_FILE, WRITABLE_SIZE - 8, source, 8) +
        bytes(128) + allocate(WRITABLE_FILE, 1))
    memory = tmp_path / 'memory'
    options = tables_options(tmp_path, commands, bytes(blob))
    options += ['-object', 'memory-backend-file,id=ram,share=on,size=128M,'
                f'mem-path={memory}', '-machine', 'memory-backend=ram']
    assert loader_error(built, options) == TABLES_REFUSED['no-rsdp'][1]

    # What the commands change is between the parts that they do not change
    found = memory.read_bytes()
    address = found.rindex(blob[large + 8:]) - large - 8
    assert address % align == 0
    for offset, size, value in ((small, 4, 7), (large, 8, len(blob))):
        blob[offset:offset + size] = (address + value).to_bytes(size, 'little')
    blob[checksum] = -sum(blob[1:61]) % 256
    assert found[address:address + len(blob)] == blob
    # The second file is loaded below the first one
    pointer = found[address - 8:address]
    assert int.from_bytes(pointer, 'little') == address + source
