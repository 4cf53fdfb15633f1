# SPDX-License-Identifier: GPL-2.0-or-later

"""Send ICMP echo requests to a guest's network card from this machine.

The frames go to the card that L0 emulates, and not through level 1, which
therefore executes no instructions to send them.
"""

import socket
import struct
import tempfile
from pathlib import Path

_HEADER = struct.Struct('!6s6sH')
_IPV4 = struct.Struct('!BBHHHBBH4s4s')
_ICMP = struct.Struct('!BBHHH')
_TYPE_IPV4 = 0x0800
_PROTOCOL_ICMP = 1
_REPLY = 0
_REQUEST = 8
_ID = 0x4242
_TTL = 64

PEER_MAC = bytes.fromhex('020000000001')


class EchoError(Exception):
    """The guest does not answer, or not correctly."""


def checksum(data: bytes) -> int:
    """Return the Internet checksum of an even number of bytes."""
    total = sum(word for word, in struct.iter_unpack('!H', data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def echo_request(to: bytes, source: str, target: str, sequence: int,
                 payload: bytes) -> bytes:
    """Return the Ethernet frame of an echo request.

    @to: MAC address of the guest
    @source, @target: IP addresses of the sender and the guest
    """
    def icmp(check: int) -> bytes:
        return _ICMP.pack(_REQUEST, 0, check, _ID, sequence) + payload

    def ipv4(check: int) -> bytes:
        return _IPV4.pack(0x45, 0, _IPV4.size + _ICMP.size + len(payload), 0,
                          0, _TTL, _PROTOCOL_ICMP, check,
                          socket.inet_aton(source), socket.inet_aton(target))
    return (_HEADER.pack(to, PEER_MAC, _TYPE_IPV4) + ipv4(checksum(ipv4(0))) +
            icmp(checksum(icmp(0))))


def parse_reply(frame: bytes) -> tuple[int, bytes] | None:
    """Return sequence number and payload, or None if it is no echo reply."""
    start = _HEADER.size + _IPV4.size
    if len(frame) < start + _ICMP.size or \
            _HEADER.unpack_from(frame)[2] != _TYPE_IPV4:
        return None
    length, protocol = struct.unpack_from('!2xH5xB', frame, _HEADER.size)
    kind, _, _, identity, sequence = _ICMP.unpack_from(frame, start)
    if (protocol, kind, identity) != (_PROTOCOL_ICMP, _REPLY, _ID):
        return None
    return sequence, frame[start + _ICMP.size:_HEADER.size + length]


class EchoPeer:
    """The other end of the network card's cable."""

    def __init__(self) -> None:
        # The names of sockets must be short
        self._folder = tempfile.TemporaryDirectory(prefix='nested-')
        self._near = Path(self._folder.name) / 'peer'
        self._far = Path(self._folder.name) / 'card'
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._near))

    @property
    def card(self) -> Path:
        """The socket of the network card."""
        return self._far

    def netdev(self, identity: str) -> str:
        """Return the value of L0's option -netdev."""
        return (f'dgram,id={identity},local.type=unix,'
                f'local.path={self._far},remote.type=unix,'
                f'remote.path={self._near}')

    def exchange(self, frames: list[bytes], timeout: float) -> None:
        """Send echo requests at once, and wait for all replies.

        Raises EchoError if a reply is missing or different.
        """
        for frame in frames:
            self._socket.sendto(frame, str(self._far))
        start = _HEADER.size + _IPV4.size
        missing = {_ICMP.unpack_from(frame, start)[4]:
                   frame[start + _ICMP.size:] for frame in frames}
        self._socket.settimeout(timeout)
        while missing:
            try:
                reply = parse_reply(self._socket.recv(1 << 16))
            except TimeoutError as error:
                raise EchoError(f'{len(missing)} of {len(frames)} echo '
                                'requests are not answered') from error
            if reply and missing.pop(reply[0], None) != reply[1]:
                raise EchoError(f'echo reply {reply[0]} is unexpected, or '
                                'its content is wrong')

    def discard(self) -> None:
        """Discard frames that have arrived, such as late replies."""
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(1 << 16)
        except BlockingIOError:
            pass

    def close(self) -> None:
        self._socket.close()
        self._folder.cleanup()
