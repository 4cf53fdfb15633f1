# SPDX-License-Identifier: GPL-2.0-or-later

"""The figures of a run: what was counted and measured."""

from dataclasses import dataclass, field


@dataclass
class Measurement:
    """What a measured block took."""

    name: str
    ticks: int
    calls: int


@dataclass
class State:
    """Of the guest's memory, when something was compared."""

    line: int
    pages_shared: int
    # What is known of the IOMMU's entries: QEMU may not count them, and the
    # kernel is not looked at while instructions are counted
    extents: int | None
    map_events: int | None


@dataclass
class VmemState:
    """Of a virtio-mem device, when something was compared."""

    line: int
    blocks_plugged: int
    map_events_live: int


@dataclass
class Latency:
    """How long a command of the monitor took, in ms."""

    command: str
    # What the guest did meanwhile
    phase: str
    median: float
    longest: float
    times: list[float]


@dataclass
class Load:
    """What the guest did while the monitor was asked."""

    seconds: float
    conversions: int
    pam_toggles: int


@dataclass
class Figures:
    """What there is to tell of a run."""

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
    # Of QEMU's layout: IOMMU entries when last compared, and at most
    extents: int = 0
    extents_peak: int = 0
    splits: int = 0
    merges: int = 0
    # Whether QEMU started the guest
    booted: bool = False
    states: list[State] = field(default_factory=list)
    vmem: list[VmemState] = field(default_factory=list)
    syncs: int = 0
    measurements: list[Measurement] = field(default_factory=list)
    latencies: list[Latency] = field(default_factory=list)
    load: Load | None = None
    failed_checks: int = 0
