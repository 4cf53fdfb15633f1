# SPDX-License-Identifier: GPL-2.0-or-later

"""Queries of /dev/kvm that do not create a VM."""

import fcntl
import os
import struct
from pathlib import Path
from typing import Protocol

# Numbers of include/uapi/linux/kvm.h
CAP_EXIT_HYPERCALL = 201
CAP_MEMORY_ATTRIBUTES = 233
CAP_GUEST_MEMFD = 234
CAP_VM_TYPES = 235
MEMORY_ATTRIBUTE_PRIVATE = 1 << 3
HC_MAP_GPA_RANGE = 12

_CHECK_EXTENSION = 0xae03
_GET_SUPPORTED_CPUID = 0xc008ae05
_MAX_CPUID_ENTRIES = 256
# struct kvm_cpuid2 without its entries, and an entry
_CPUID_HEAD = struct.Struct('=II')
_CPUID_ENTRY = struct.Struct('=10I')

_SEV_LEAF = 0x8000001f


class KvmQueries(Protocol):
    """What the checks ask KVM. Each method raises OSError."""

    def capability(self, number: int) -> int:
        """Return the value of a capability, 0 if KVM does not have it."""

    def c_bit(self) -> int | None:
        """Return the position of the C-bit of SEV, None without SEV."""


class Kvm:
    """/dev/kvm. It is opened for each query, and closed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _ioctl(self, request: int, argument: int | bytearray) -> int:
        fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            # A bytearray is changed in place; the result is a number
            return int(fcntl.ioctl(fd, request, argument))
        finally:
            os.close(fd)

    def capability(self, number: int) -> int:
        return self._ioctl(_CHECK_EXTENSION, number)

    def c_bit(self) -> int | None:
        buffer = bytearray(_CPUID_HEAD.size +
                           _MAX_CPUID_ENTRIES * _CPUID_ENTRY.size)
        _CPUID_HEAD.pack_into(buffer, 0, _MAX_CPUID_ENTRIES, 0)
        self._ioctl(_GET_SUPPORTED_CPUID, buffer)
        count, _ = _CPUID_HEAD.unpack_from(buffer)
        for number in range(min(count, _MAX_CPUID_ENTRIES)):
            function, _, _, _, ebx, *_ = _CPUID_ENTRY.unpack_from(
                buffer, _CPUID_HEAD.size + number * _CPUID_ENTRY.size)
            if function == _SEV_LEAF:
                return ebx & 0x3f or None
        return None
