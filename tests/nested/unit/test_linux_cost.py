# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the arithmetic with which the cost of a Linux guest is measured."""

import socket
import threading
import unittest

from harness.echo import (EchoError, EchoPeer, checksum, echo_request,
                          parse_reply)
from harness.icount import Cost, cost_each, parse_busy_time
from harness.initramfs import MissingError
from harness.l1 import L1Error
from harness.map_calls import MapCalls

_TIMER_LIST = '''Timer List Version: v0.10
HRTIMER_MAX_CLOCK_BASES: 8
now at 5000 nsecs

cpu: 0
  .idle_entrytime : 900 nsecs
  .idle_sleeptime : 1200 nsecs
  .iowait_sleeptime: 300 nsecs
'''

_MAC = bytes.fromhex('525400123456')


def edge(number: int, word: str, iova: int, size: int) -> str:
    return f'  qemu-93  [001] .....  {number}: tracing_mark_write: ' \
           f'edge {word} {iova:#x} {size:#x}'


def marker(number: int) -> str:
    return f'  sh-80  [000] .....  {number}: tracing_mark_write: marker 1'


def answered(request: bytes, payload: bytes | None = None) -> bytes:
    """Return the reply to a request: swapped addresses, another type."""
    reply = bytearray(request[6:12] + request[:6] + request[12:])
    reply[26:34] = request[30:34] + request[26:30]
    reply[34] = 0
    if payload is not None:
        reply[42:] = payload
    return bytes(reply)


class InstructionsTest(unittest.TestCase):

    def test_idle_time_does_not_count(self) -> None:
        self.assertEqual(parse_busy_time(_TIMER_LIST), 3500)

    def test_needs_one_processor(self) -> None:
        for text in ('', _TIMER_LIST + _TIMER_LIST,
                     _TIMER_LIST.replace('idle_sleep', 'other')):
            with self.assertRaises(L1Error):
                parse_busy_time(text)

    def test_needs_idle_times(self) -> None:
        with self.assertRaises(MissingError):
            parse_busy_time(_TIMER_LIST.replace('sleeptime', 'other'))

    def test_set_up_cancels_out(self) -> None:
        # 7 for each operation, 1000 for each execution
        self.assertEqual(cost_each(50, 50 + 1070, 50 + 1070 + 1700, 10, 100),
                         7)

    def test_needs_different_numbers(self) -> None:
        for few, many in ((0, 5), (5, 5), (6, 5)):
            with self.assertRaises(ValueError):
                cost_each(0, 1, 2, few, many)

    def test_median(self) -> None:
        self.assertEqual(Cost((5, 900, 4)).median, 5)


class MapCallsTest(unittest.TestCase):

    def test_counts_calls_and_entries(self) -> None:
        calls = MapCalls(0x10000)
        for line in (edge(1, 'mapped', 0x1000, 0x1000),
                     edge(2, 'mapped', 0x2000, 0x1000),
                     edge(3, 'mapped', 0x3000, 0x4000)):
            self.assertIsNone(calls.feed(line))
        self.assertEqual(calls.entries, 0)
        self.assertEqual(calls.feed(marker(4)), 'marker 1')
        self.assertEqual((calls.entries, calls.map_calls, calls.mapped_bytes),
                         (3, 3, 0x6000))
        # One call for two mappings
        calls.feed(edge(5, 'unmapped', 0x1000, 0x2000))
        calls.feed(marker(6))
        self.assertEqual((calls.entries, calls.map_calls, calls.unmap_calls,
                          calls.mapped_bytes), (1, 3, 1, 0x4000))
        self.assertEqual(calls.errors, [])

    def test_order_is_that_of_the_numbers(self) -> None:
        calls = MapCalls(0x10000)
        calls.feed(edge(2, 'unmapped', 0x1000, 0x1000))
        calls.feed(edge(1, 'mapped', 0x1000, 0x1000))
        calls.feed(marker(3))
        self.assertEqual(calls.entries, 0)

    def test_registers_do_not_count(self) -> None:
        calls = MapCalls(0x10000)
        calls.feed(edge(1, 'mapped', 0x10000, 0x1000))
        calls.feed(edge(2, 'unmapped', 0x10000, 0x1000))
        calls.feed(marker(3))
        self.assertEqual((calls.entries, calls.map_calls, calls.unmap_calls),
                         (0, 0, 0))


class EchoTest(unittest.TestCase):

    def test_checksum(self) -> None:
        # The example of RFC 1071
        self.assertEqual(checksum(bytes.fromhex('0001f203f4f5f6f7')),
                         ~0xddf2 & 0xffff)

    def test_request(self) -> None:
        frame = echo_request(_MAC, '10.0.0.1', '10.0.0.2', 7, b'ab' * 20)
        self.assertEqual(len(frame), 14 + 20 + 8 + 40)
        self.assertEqual(frame[:6], _MAC)
        # A checksum over data that includes it is 0
        self.assertEqual(checksum(frame[14:34]), 0)
        self.assertEqual(checksum(frame[34:]), 0)
        self.assertIsNone(parse_reply(frame))

    def test_reply(self) -> None:
        frame = echo_request(_MAC, '10.0.0.1', '10.0.0.2', 7, b'ab' * 20)
        self.assertEqual(parse_reply(answered(frame)), (7, b'ab' * 20))
        self.assertEqual(parse_reply(answered(frame) + bytes(6)),
                         (7, b'ab' * 20))
        for other in (b'', frame[:20], frame[:12] + b'\x08\x06' + frame[14:]):
            self.assertIsNone(parse_reply(other))

    def _exchange(self, payload: bytes | None, replies: int) -> None:
        peer = EchoPeer()
        card = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        card.bind(str(peer.card))

        def answer() -> None:
            for _ in range(replies):
                frame, sender = card.recvfrom(2048)
                card.sendto(answered(frame, payload), sender)
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            peer.exchange([echo_request(_MAC, '10.0.0.1', '10.0.0.2', at,
                                        b'ab') for at in (1, 2)], 0.5)
        finally:
            thread.join()
            card.close()
            peer.close()

    def test_exchange(self) -> None:
        self._exchange(None, 2)

    def test_missing_reply(self) -> None:
        with self.assertRaisesRegex(EchoError, 'of 2 .* not answered'):
            self._exchange(None, 1)

    def test_wrong_reply(self) -> None:
        with self.assertRaisesRegex(EchoError, 'wrong'):
            self._exchange(b'xy', 2)
