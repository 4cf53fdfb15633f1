# SPDX-License-Identifier: GPL-2.0-or-later

"""All checks, and the description of the host for the report."""

import datetime
import platform
from pathlib import Path
from typing import Any

from first_light import device_checks, firmware, host_checks, qemu_checks
from first_light.finding import Finding
from first_light.host import Host
from first_light.options import Wish


def check_all(host: Host, wish: Wish) -> list[Finding]:
    """Run all checks that the wish needs."""
    findings = host_checks.check_host(host, wish.tee)
    if wish.devices:
        for backend in wish.backends:
            findings += host_checks.check_backend(host, backend)
        if 'type1' in wish.backends:
            findings.append(host_checks.check_entry_limit(host, wish.memory))
        findings.append(host_checks.check_memlock(
            host, wish.memory, sum(device_checks.bar_size(host, device)
                                   for device in wish.devices)))
    for device in wish.devices:
        findings += device_checks.check_device(host, device, wish.backends)
    findings += qemu_checks.check_qemu(wish.qemu, wish.tee, wish.backends)
    return (findings + firmware.check_firmware(wish) +
            qemu_checks.check_files(wish))


def describe(host: Host, wish: Wish) -> dict[str, Any]:
    """Return versions, and what the host is."""
    described = {
        'tee': wish.tee.name,
        'time': datetime.datetime.now(datetime.timezone.utc).isoformat(
            timespec='seconds'),
        'processor': host.cpu_field('model name'),
        'microcode': host.cpu_field('microcode'),
        'linux': host.kernel(),
        'kernel-arguments': ' '.join(host.kernel_arguments()),
        'python': platform.python_version(),
        'qemu': qemu_checks.qemu_version(wish.qemu),
        'qemu-sha256': qemu_checks.checksum(wish.qemu)}
    for name in ('firmware', 'kernel', 'initrd'):
        path: Path | None = getattr(wish, name)
        if path:
            described[f'{name}-sha256'] = qemu_checks.checksum(path)
    for device in wish.devices:
        folder = f'sys/bus/pci/devices/{device}'
        described[f'device {device}'] = ' '.join(
            f'{name} {host.read(f"{folder}/{name}")}' for name in
            ('vendor', 'device', 'class', 'revision'))
    return described
