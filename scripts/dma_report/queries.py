# SPDX-License-Identifier: GPL-2.0-or-later

"""QEMU's answers to queries, none of which has the guest's data."""

import json
from collections.abc import AsyncIterator
from typing import Any, Protocol

from first_light.machine import Gone, Refused

_QUERIES = ('query-version', 'query-status', 'query-kvm',
            'query-memory-size-summary', 'query-memdev',
            'query-memory-devices', 'query-guest-memfd', 'x-query-vfio-dma')


class Asking(Protocol):
    """What answers the queries."""

    async def execute(self, command: str, **arguments: Any) -> Any:
        """Execute a QMP command. Raises Refused and Gone."""


async def answers(monitor: Asking) -> AsyncIterator[str]:
    """Yield the answer to each query, as JSON, or why there is none."""
    for command in _QUERIES:
        try:
            answer = await monitor.execute(command)
        except Refused as error:
            yield f'{error}'
            continue
        except Gone as error:
            yield f'{error}'
            return
        yield f'{command}: {json.dumps(answer, indent=1)}'
