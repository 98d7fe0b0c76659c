"""Event files of TensorBoard: as tensorboardX writes them, and at once."""

import resource
import struct

import numpy as np
import pytest
from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from ganjax.training.board import Board

PICTURE = np.random.RandomState(0).randint(0, 256, (3, 5, 1), np.uint8)


def events(folder):
    """The events of the only file in a folder, without their times."""
    (file,) = folder.glob("events.out.tfevents.*")
    content, found = file.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        record, content = content[: 16 + length], content[16 + length :]
        for part, of in ((record[8:12], record[:8]), (record[12 + length :], record[12:-4])):
            assert struct.unpack("<I", part) == (masked_crc32c(of),)
        event = Event.FromString(record[12:-4])
        event.ClearField("wall_time")
        found.append(event)
    return found


def add_all(board):
    board.add_scalar("d_loss", 0.5, 3)
    board.add_image("samples", PICTURE, 4)


def test_an_event_file_is_that_of_tensorboardx(tmp_path):
    board = Board(tmp_path / "own", purge_step=2)
    add_all(board)
    found = events(tmp_path / "own")  # Before it is closed.
    board.close()
    with SummaryWriter(str(tmp_path / "other"), purge_step=2) as writer:
        writer.add_scalar("d_loss", 0.5, 3)
        writer.add_image("samples", PICTURE, 4, dataformats="HWC")
    first, repeated, *expected = events(tmp_path / "other")
    assert first.file_version == repeated.file_version == "brain.Event:2"
    assert found == [first, *expected]


def test_the_first_event_of_a_metric_describes_it(tmp_path):
    board = Board(tmp_path, purge_step=0, describe={"d_loss": "a loss", "mine": ""}.__getitem__)
    for step in (1, 2):
        board.add_scalar("d_loss", 0.5, step)
        board.add_scalar("mine", 0.5, step)
    board.close()
    values = [event.summary.value[0] for event in events(tmp_path)[2:]]
    found = [(value.tag, value.metadata.summary_description) for value in values]
    assert found == [("d_loss", "a loss"), ("mine", ""), ("d_loss", ""), ("mine", "")]
    assert all(value.simple_value == 0.5 for value in values)


def test_a_full_disk_is_an_error_of_whoever_adds_and_names_the_file(tmp_path):
    board = Board(tmp_path, purge_step=0)
    size = next(tmp_path.iterdir()).stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, before[1]))
        with pytest.raises(OSError, match=r"events\.out\.tfevents\."):
            board.add_scalar("d_loss", 0.5, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    board.close()


def test_two_files_of_a_second_do_not_overwrite_one_another(tmp_path):
    for _ in range(2):
        Board(tmp_path, purge_step=0).close()
    assert len(list(tmp_path.iterdir())) == 2
