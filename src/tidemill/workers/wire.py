"""Frames over a stream socket: a 4-byte little-endian length, then that many bytes (a MessagePack message).

One class serves all ends: the engine's host and its clients, which must never block, and the executor, which may.
"""

import socket
import struct
from collections import deque
from contextlib import suppress

_HEADER = struct.Struct("<I")
_ROOM = 1 << 18
"""Bytes of the receive buffer; a frame that does not fit gets a buffer of its own."""
_SOCKET_BUFFER = 1 << 20
"""Asked of the kernel in both directions; it may grant less."""
_TURN = 1 << 22
"""Most bytes read in one `receive`, so that one busy peer does not starve the others."""
MAX_FRAME = 0xFFFFFFFF


class Channel:
    """A framed stream socket.

    Not thread safe. The socket is owned by the channel. A peer that has gone never raises from `send` or `flush`: what
    could not be sent is dropped, and `receive` returns None once everything that had arrived has been returned.
    """

    __slots__ = ("_buffer", "_end", "_eof", "_large", "_out", "_start", "_view", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER)
        self._out: deque[memoryview] = deque()
        self._buffer = bytearray(_ROOM)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0
        self._large: tuple[memoryview, int] | None = None
        self._eof = False

    def fileno(self) -> int:
        """The socket's descriptor, so that a selector takes the channel itself."""
        return self.sock.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether something waits to be sent: select for writing and call `flush`."""
        return bool(self._out)

    def send(self, data: bytes) -> None:
        """Send one frame, without blocking; what the kernel does not take now waits for `flush`.

        Raises:
            ValueError: if `data` has 4 GiB or more.
        """
        header = _header(data)
        if self._out:
            self._out.append(memoryview(header))
            self._out.append(memoryview(data))
            return
        try:
            sent = self.sock.sendmsg((header, data), (), socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            return
        if sent < len(header):
            self._out.append(memoryview(header)[sent:])
            self._out.append(memoryview(data))
        elif sent < len(header) + len(data):
            self._out.append(memoryview(data)[sent - len(header) :])

    def flush(self) -> bool:
        """Send what waits, without blocking. Returns whether everything has gone."""
        while self._out:
            head = self._out[0]
            try:
                sent = self.sock.send(head, socket.MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                return False
            except OSError:
                self._out.clear()
                return True
            if sent == len(head):
                self._out.popleft()
            else:
                self._out[0] = head[sent:]
        return True

    def receive(self) -> list[bytes] | None:
        """Every complete frame that can be had without blocking; [] if there is none yet, None at end of file."""
        frames: list[bytes] = []
        total = 0
        while total < _TURN and not self._eof:
            asked, got = self._read(socket.MSG_DONTWAIT)
            self._take(frames)
            total += got
            if got < asked:
                break
        return None if self._eof and not frames else frames

    # ------------------------------------------------------------------------------------- blocking, for the executor

    def send_all(self, data: bytes) -> None:
        """Send one frame, blocking until the kernel has it.

        Raises:
            OSError: if the peer has gone.
            ValueError: if `data` has 4 GiB or more.
        """
        header = _header(data)
        sent = self.sock.sendmsg((header, data))
        if sent < len(header):
            self.sock.sendall(header[sent:])
            sent = len(header)
        if sent < len(header) + len(data):
            self.sock.sendall(memoryview(data)[sent - len(header) :])

    def wait(self) -> list[bytes] | None:
        """Block until at least one frame is complete and return what there is; None at end of file."""
        frames: list[bytes] = []
        while not frames and not self._eof:
            self._read(0)
            self._take(frames)
        return frames or None

    def close(self) -> None:
        """Close the socket; harmless when closed already."""
        self._out.clear()
        with suppress(OSError):
            self.sock.close()

    # ------------------------------------------------------------------------------------------------------ internals

    def _read(self, flags: int) -> tuple[int, int]:
        """One read into the large frame under way, else into the buffer: (bytes asked for, bytes got)."""
        if self._large is not None:
            whole, filled = self._large
            target = whole[filled:]
        else:
            target = self._view[self._end :]
        try:
            got = self.sock.recv_into(target, 0, flags)
        except (BlockingIOError, InterruptedError):
            return len(target), 0
        except OSError:
            got = 0
        if got == 0:
            self._eof = True
        elif self._large is not None:
            self._large = (whole, filled + got)
        else:
            self._end += got
        return len(target), got

    def _take(self, frames: list[bytes]) -> None:
        """Move complete frames out of the buffer and make room for the next read."""
        if self._large is not None:
            whole, filled = self._large
            if filled == len(whole):
                frames.append(bytes(whole))
                self._large = None
            return
        start, end, view = self._start, self._end, self._view
        size = 0
        while end - start >= _HEADER.size:
            (size,) = _HEADER.unpack_from(view, start)
            after = start + _HEADER.size + size
            if after > end:
                break
            frames.append(bytes(view[start + _HEADER.size : after]))
            start = after
        rest = end - start
        if rest >= _HEADER.size and _HEADER.size + size > _ROOM:
            whole = memoryview(bytearray(size))
            whole[: rest - _HEADER.size] = view[start + _HEADER.size : end]
            self._large = (whole, rest - _HEADER.size)
            rest = 0
        elif rest and start:
            view[:rest] = bytes(view[start:end])
        self._start, self._end = 0, rest


def _header(data: bytes) -> bytes:
    size = len(data)
    if size > MAX_FRAME:
        raise ValueError(f"a message of {size} bytes does not fit into one frame (limit {MAX_FRAME})")
    return _HEADER.pack(size)
