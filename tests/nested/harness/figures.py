# SPDX-License-Identifier: GPL-2.0-or-later

"""The figures of a run."""

from dataclasses import dataclass, field


@dataclass
class Measurement:
    """The cost of a measured block."""

    name: str
    ticks: int
    calls: int


@dataclass
class State:
    """The guest's memory at a comparison."""

    line: int
    pages_shared: int
    # IOMMU entries, or None: some QEMUs do not count them, and the kernel is
    # not traced while instructions are counted
    extents: int | None
    map_events: int | None


@dataclass
class VmemState:
    """A virtio-mem device at a comparison."""

    line: int
    blocks_plugged: int
    map_events_live: int


@dataclass
class Latency:
    """Response times of a monitor command in ms."""

    command: str
    # The phase of the guest
    phase: str
    median: float
    longest: float
    times: list[float]


@dataclass
class Load:
    """The work of the guest while the monitor was measured."""

    seconds: float
    conversions: int
    pam_toggles: int


@dataclass
class BootFigures:
    """The mappings and memory of a Linux guest that has booted.

    Mappings are those of RAM; memory is in bytes.
    """

    entries: int
    map_calls: int
    unmap_calls: int
    mapped: int
    pinned: int
    # Memory that the kernel of level 1 uses for itself
    kernel: int


@dataclass
class IoFigures:
    """Instructions for one I/O operation of a Linux guest."""

    name: str
    # Number of operations in flight
    depth: int
    median: int
    repetitions: tuple[int, ...]


@dataclass
class GapFigures:
    """For how long the rest of extents is not mapped that lose a page.

    @size: size of the extents
    @instructions: for each of them
    """

    size: int
    instructions: list[int]


@dataclass
class Figures:
    """All figures of a run."""

    device: str | None = None
    backend: str = ''
    icount: bool = False
    pages_shared: int = 0
    pages_shared_peak: int = 0
    conversion_calls: int = 0
    dma_arrived: int = 0
    dma_blocked: int = 0
    dma_faults: int = 0
    map_events_live: int = 0
    map_events_peak: int = 0
    map_events_total: int = 0
    # IOMMU entries of QEMU's layout: at the last comparison, and the maximum
    extents: int = 0
    extents_peak: int = 0
    splits: int = 0
    merges: int = 0
    # Bytes that were unmapped and mapped again while they were shared
    remapped_bytes: int = 0
    # Whether QEMU started the guest
    booted: bool = False
    states: list[State] = field(default_factory=list)
    vmem: list[VmemState] = field(default_factory=list)
    syncs: int = 0
    measurements: list[Measurement] = field(default_factory=list)
    latencies: list[Latency] = field(default_factory=list)
    load: Load | None = None
    boot: BootFigures | None = None
    io: list[IoFigures] = field(default_factory=list)
    gaps: list[GapFigures] = field(default_factory=list)
    # System calls that failed on purpose, and those that the guest survived
    failed_calls: int = 0
    survived_calls: int = 0
    failed_checks: int = 0
