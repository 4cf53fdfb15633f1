# SPDX-License-Identifier: GPL-2.0-or-later

"""Let a Linux guest use its disk and its network card."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.checks import Checks
from harness.l2 import wait_until
from harness.linux_guest import COMMAND_TIMEOUT
from harness.linux_run import LinuxRun
from harness.program import MIB

DISK = '/dev/nvme0n1'

# The network between the guest and level 1, and a file there
HOST = '192.168.7.1'
_GUEST = '192.168.7.2'
_PORT = 7000
DOWNLOAD = f'wget -q -O /run/download http://{HOST}/file'

# Sizes of the file, and of what fio writes
_FILE_MIB = 4
_DISK_MIB = 8

SETTLE_TIMEOUT = 60.0
# Number of times to look whether all of a file that the guest has sent has
# arrived, once a second; and the time limit for all of it
_ARRIVAL_TRIES = 45
_ARRIVAL_TIMEOUT = 180.0

# Random reads and writes. --minimal prints one line, see fio's manual.
FIO = ('fio --minimal --name=verify --ioengine=libaio --rw=randrw '
       '--bsrange=4k-64k --iodepth=8 --verify=crc32c --verify_fatal=1 '
       f'--size={_DISK_MIB}M')

# What fio does in the background, and its exit status
_FIO_OUTPUT = '/run/fio'
FIO_STATUS = '/run/fio-status'


def busy_disk(options: str = '') -> str:
    """Return the start of a shell command that runs fio in the background."""
    return (f'rm -f {FIO_STATUS}; ({FIO} --filename={DISK} --direct=1 '
            f'{options} >{_FIO_OUTPUT} 2>&1; echo $? >{FIO_STATUS}) & ')


BUSY_DISK = busy_disk()
# A load that ends with the guest
LASTING_LOAD = busy_disk('--time_based --runtime=3600')


@dataclass
class Transferred:
    """Numbers of bytes whose contents were compared."""

    disk: int = 0
    network: int = 0


class Workload:
    """Uses the devices, and checks the data."""

    def __init__(self, run: LinuxRun, checks: Checks) -> None:
        self.run = run
        self.guest = run.guest
        self.checks = checks
        self.transferred = Transferred()

    def device_address(self, index: int) -> str:
        """Return the guest's PCI address of a device.

        Each device is alone on the bus of its root port.
        """
        return self.guest.check(
            f'cd /sys/bus/pci/devices && echo 0000:{index + 1:02x}:00.0 && '
            f'[ -e 0000:{index + 1:02x}:00.0 ]').strip()

    def bind_again(self, drivers: Sequence[str]) -> None:
        """Unbind each device from its driver, and bind it.

        The drivers, of the disk and the network card among others, allocate
        all their memory again.
        """
        for index, driver in enumerate(drivers):
            address = self.device_address(index)
            self.guest.check(f'cd /sys/bus/pci/drivers/{driver} && '
                             f'echo {address} >unbind && '
                             f'echo {address} >bind')
        self.checks.check(
            wait_until(lambda: self.guest.run(f'[ -b {DISK} ]')[0] == 0,
                       SETTLE_TIMEOUT),
            'the guest finds the disk again', self.guest.run('dmesg|tail')[1])
        self.set_up_network()

    def write_and_verify(self, target: str, options: str = '') -> None:
        """Let fio write to a file or device, and read it back."""
        status, output = self.guest.run(f'{FIO} --filename={target} {options}')
        self.checks.check(
            status == 0, f'fio finds what it has written to {target} '
            f'{options}', output)
        self.transferred.disk += _DISK_MIB * MIB

    def check_busy_disk(self, name: str) -> None:
        """Wait for fio in the background, and check what it has done."""
        wait_until(lambda: self.guest.run(f'[ -s {FIO_STATUS} ]')[0] == 0,
                   SETTLE_TIMEOUT)
        self.checks.check(
            self.guest.run(f'cat {FIO_STATUS}')[1].strip() == '0',
            f'fio finds what it has written {name}',
            self.guest.run(f'cat {_FIO_OUTPUT}')[1])
        self.transferred.disk += _DISK_MIB * MIB

    def mount_disk(self) -> None:
        """Create a file system on the disk, and mount it at /mnt."""
        self.guest.check(f'mkdir -p /mnt && mke2fs -F {DISK} && '
                         f'mount -t ext4 {DISK} /mnt')

    def set_up_peer(self) -> None:
        """Set up level 1's end of the network, with a file to download."""
        self.run.l1.check(
            'for n in /sys/class/net/*; do '
            'case $(readlink $n/device/driver) in */virtio_net) '
            f'ifconfig ${{n##*/}} {HOST} netmask 255.255.255.0 up;; esac; '
            'done')
        self.serve_files()

    def serve_files(self) -> None:
        """Let level 1 serve a file to download."""
        self.run.l1.check(
            'mkdir -p /run/www && '
            f'dd if=/dev/urandom of=/run/www/file bs=1M count={_FILE_MIB} '
            f'2>/dev/null && httpd -p {HOST}:80 -h /run/www')

    def set_up_network(self) -> None:
        """Set up the guest's network card, and wait until it works."""
        self.guest.check(f'ifconfig eth0 {_GUEST} netmask 255.255.255.0 up')
        self.checks.check(
            wait_until(lambda: self.guest.run(f'ping -c 1 -W 1 {HOST}')[0]
                       == 0, SETTLE_TIMEOUT),
            f'the guest reaches {HOST}',
            self.guest.run('ifconfig -a; dmesg | tail -n 20')[1])

    def transfer(self, name: str) -> None:
        """Transfer a file in both directions."""
        # nc ends when its input ends, or when the guest has sent everything
        self.run.l1.check(f'sleep {2 * COMMAND_TIMEOUT:.0f} | '
                          f'nc -l -p {_PORT} >/run/upload 2>/dev/null &')
        self.guest.check(f'{DOWNLOAD} && nc {HOST} {_PORT} </run/download')
        sums = self.run.l1.check(
            f'for i in $(seq {_ARRIVAL_TRIES}); do '
            'cmp -s /run/www/file /run/upload && break; sleep 1; done; '
            'cat /run/www/file | sha256sum; cat /run/upload | sha256sum',
            _ARRIVAL_TIMEOUT).split()
        got = self.guest.check('cat /run/download | sha256sum').split()
        self.checks.check(
            sums[0] == sums[2] == got[0],
            f'{name}: a file arrives in both directions', f'{sums} {got}')
        self.transferred.network += 2 * _FILE_MIB * MIB
