# SPDX-License-Identifier: GPL-2.0-or-later

"""A program that behaves as QEMU with a FakeGuest, for first-light's tests.

The environment variable STUB_QEMU selects what goes wrong.
"""

import json
import os
import re
import socket
import sys
from pathlib import Path

_SCRIPTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_SCRIPTS))

from first_light.machine import Gone, Refused  # noqa: E402
from tests.fake_monitor import FakeGuest  # noqa: E402

_HELP = {('--version',): 'QEMU emulator version 10.0.13 (stub)',
         ('-object', 'help'): 'List of user creatable objects:\n  '
         'sev-snp-guest\n  memory-backend-memfd\n  iommufd',
         ('-device', 'vfio-pci,help'): '  x-shared-dma-extent=<str>'}


def serve(monitor: socket.socket, guest: FakeGuest) -> int:
    def say(value: dict[str, object]) -> None:
        monitor.sendall(json.dumps(value).encode() + b'\r\n')

    say({'QMP': {'version': {'qemu': {'major': 10, 'minor': 0, 'micro': 13},
                             'package': ''}, 'capabilities': []}})
    # Requests follow each other without separators, one at a time
    while data := monitor.recv(1 << 16):
        request = json.loads(data)
        answer: dict[str, object] = {'return': {}}
        if request['execute'] != 'qmp_capabilities':
            try:
                answer = {'return': guest.answer(
                    request['execute'], request.get('arguments', {}))}
            except Refused as error:
                answer = {'error': {'class': 'CommandNotFound',
                                    'desc': str(error)}}
            except Gone:
                break
        for event in guest.new_events:
            say({**event, 'timestamp': {'seconds': 1, 'microseconds': 0}})
        guest.new_events = []
        say({'id': request.get('id'), **answer})
        if guest.ended is not None:
            break
    return guest.ended or 0


def main(arguments: list[str]) -> int:
    if tuple(arguments) in _HELP:
        print(_HELP[tuple(arguments)])
        return 0
    line = ' '.join(arguments)
    fault = os.environ.get('STUB_QEMU', '')
    print(f'TMPDIR is {os.environ["TMPDIR"]}', flush=True)
    if fault == 'start':
        print('qemu: -object sev-snp-guest: cbitpos check failed',
              file=sys.stderr)
        return 1
    console = re.search(r'file,id=console0,path=(\S+)', line)
    fd = re.search(r'socket,id=qmp0,fd=(\d+)', line)
    assert console and fd
    Path(console.group(1)).write_text(f'{os.getpid()}\n', 'utf-8')
    guest = FakeGuest('iommufd' if 'iommufd=' in line else 'type1')
    guest.has_device = 'vfio-pci' in line
    if fault == 'hang':
        guest.memfd['failures'] = 1
        # Ends only when it is killed
        guest.actions['quit'] = lambda arguments: None
    with socket.socket(fileno=int(fd.group(1))) as monitor:
        return serve(monitor, guest)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
