import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.workers import wire
from tidemill.workers.wire import Channel


def channels() -> tuple[Channel, Channel]:
    ours, theirs = socket.socketpair()
    return Channel(ours), Channel(theirs)


def collect(channel: Channel, count: int) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < count:
        more = channel.wait()
        assert more is not None
        found += more
    return found


def start_sending(channel: Channel, frames: list[bytes]) -> threading.Thread:
    def send() -> None:
        for frame in frames:
            channel.send_all(frame)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


SIZES = st.one_of(
    st.integers(0, 300), st.sampled_from([wire._ROOM - 5, wire._ROOM - 4, wire._ROOM - 3, wire._ROOM, 3 * wire._ROOM])
)


@given(st.lists(SIZES, min_size=1, max_size=12))
def test_frames_arrive_whole_and_in_order(sizes: list[int]) -> None:
    ours, theirs = channels()
    sent = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    writer = start_sending(ours, sent)
    assert collect(theirs, len(sent)) == sent
    writer.join()
    ours.close()
    theirs.close()


@given(st.binary(max_size=40), st.integers(1, 7))
def test_frames_may_arrive_in_any_pieces(data: bytes, piece: int) -> None:
    ours, theirs = channels()
    stream = b"".join(len(part).to_bytes(4, "little") + part for part in (data, b"", data[:3]))
    found = []
    for start in range(0, len(stream), piece):
        ours.sock.sendall(stream[start : start + piece])
        found += theirs.receive() or []
    assert found == [data, b"", data[:3]]
    ours.close()
    theirs.close()


def test_a_sender_never_blocks_and_the_rest_is_flushed() -> None:
    ours, theirs = channels()
    data = [bytes([number]) * 1_000_000 for number in range(9)]
    for one in data:
        ours.send(one)
    found: list[bytes] = []
    turns = 0
    while not ours.flush():
        assert ours.wants_write
        found += theirs.receive() or []
        turns += 1
    assert turns > 1
    found += collect(theirs, len(data) - len(found))
    assert found == data
    ours.close()
    theirs.close()


def test_nothing_to_read_is_not_the_end() -> None:
    ours, theirs = channels()
    assert theirs.receive() == []
    ours.send(b"x")
    ours.close()
    assert theirs.receive() == [b"x"]
    assert theirs.receive() is None
    assert theirs.wait() is None
    theirs.close()


def test_a_frame_cut_short_by_the_end_is_dropped() -> None:
    ours, theirs = channels()
    ours.sock.sendall((100).to_bytes(4, "little") + b"half")
    ours.close()
    assert theirs.wait() is None
    theirs.close()


def test_sending_to_a_peer_that_has_gone_is_silent_for_the_host_and_an_error_for_the_executor() -> None:
    ours, theirs = channels()
    theirs.close()
    ours.send(b"x" * 10_000_000)
    assert ours.flush()
    assert not ours.wants_write
    assert ours.receive() is None
    with pytest.raises(OSError, match="Broken pipe"):
        ours.send_all(b"x")
    ours.close()


def test_one_turn_is_bounded_so_that_one_peer_does_not_starve_the_others() -> None:
    ours, theirs = channels()
    writer = start_sending(ours, [bytes(60_000)] * 300)
    found = len(theirs.receive() or [])
    assert found * 60_000 <= wire._TURN + wire._ROOM
    assert len(collect(theirs, 300 - found)) == 300 - found
    writer.join()
    ours.close()
    theirs.close()
