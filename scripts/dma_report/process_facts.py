# SPDX-License-Identifier: GPL-2.0-or-later

"""Facts of QEMU's process: arguments, limits, memory and cgroup."""

import re
from pathlib import PurePosixPath

from dma_report.arguments import qemu_arguments
from dma_report.host_facts import Lines
from first_light.host import Host

_STATUS = re.compile(r'(?m)^(?:VmPeak|VmRSS|VmLck|VmPin|RssAnon|RssShmem|'
                     r'HugetlbPages|Threads):.*$')
_LIMITS = re.compile(r'(?m)^(Max (?:locked memory|address space|open files))'
                     r' +(\S+) +(\S+)')
_CGROUP = 'sys/fs/cgroup'
_CGROUP_FILES = ('memory.max', 'memory.high', 'memory.current', 'memory.peak',
                 'memory.swap.max', 'memory.events')


def _cgroup_lines(host: Host, pid: int) -> Lines:
    """Yield the limits of a process's cgroup, and of those above it."""
    match = re.search('(?m)^0::/(.*)$', host.read(f'proc/{pid}/cgroup') or '')
    if not match or not host.path(f'{_CGROUP}/cgroup.controllers').exists():
        yield 'cgroup: the process is in none of version 2'
        return
    path = PurePosixPath(match.group(1))
    for depth, folder in enumerate([path, *path.parents]):
        # Names of cgroups can be those of guests
        name = 'cgroup' + ', above it' * bool(depth) + f' ({depth})'
        values = [f'{file} {" ".join(text.split())}' for file in _CGROUP_FILES
                  if (text := host.read(f'{_CGROUP}/{folder}/{file}'))
                  is not None]
        if values:
            yield f'{name}: {"; ".join(values)}'
        elif str(folder) != '.':
            yield f'{name}: has no memory controller'


def process(host: Host, pid: int) -> Lines:
    """Yield the facts of a process."""
    if not host.path(f'proc/{pid}').is_dir():
        yield f'process {pid}: does not exist'
        return
    limits = _LIMITS.findall(host.read(f'proc/{pid}/limits') or '')
    if not limits:
        yield 'limits: not readable; run this as root or as QEMU\'s user'
    for name, soft, hard in limits:
        yield f'{name}: {soft}, at most {hard}'
    yield ('CAP_IPC_LOCK: ' + ('yes, memory can be locked without limit'
                               if host.may_lock_any_memory(pid) else 'no'))
    yield from (' '.join(line.split()) for line in
                _STATUS.findall(host.read(f'proc/{pid}/status') or '') or
                ['status: not readable'])
    yield from _cgroup_lines(host, pid)
    arguments = (host.read(f'proc/{pid}/cmdline') or '').split('\0')[1:]
    yield 'arguments, without values that may be secret:'
    yield from (f'  {line}' for line in qemu_arguments(
        [argument for argument in arguments if argument]))
