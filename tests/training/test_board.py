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
    """The events of all files in a folder, in the order of their names, without their times."""
    files = sorted(folder.glob("events.out.tfevents.*"))
    content, found = b"".join(file.read_bytes() for file in files), []
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
    assert values[0].tensor.float_val == [0.5]
    assert all(value.simple_value == 0.5 for value in values[1:])


def test_files_are_read_in_the_order_in_which_they_were_opened(tmp_path):
    for step in range(12):  # Within a second: a count of one digit, then two, would end here.
        Board(tmp_path, purge_step=step).close()
    assert len(list(tmp_path.iterdir())) == 12
    assert [event.step for event in events(tmp_path)[1::2]] == list(range(12))


def test_texts_and_hyper_parameters_are_written_and_at_the_end_that_the_run_has_ended(tmp_path):
    for finished in (True, False):
        folder = tmp_path / str(finished)
        board = Board(folder, purge_step=0)
        board.add_text("config", "    {}")
        board.add_hparams({"n_critic": 3, "loss": "hinge", "mirror": True}, ["d_loss"])
        board.close(finished)
        values = [event.summary.value[0] for event in events(folder)[2:]]
        tags = ["config/text_summary", "experiment", "session_start_info"]
        tags += ["session_end_info"] if finished else []
        assert [value.tag.removeprefix("_hparams_/") for value in values] == tags
        assert values[0].tensor.string_val == [b"    {}"]
        assert b"n_critic" in values[2].metadata.plugin_data.content


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_tensorboard_itself_reads_it_all(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    for step in (1, 2):  # A run that is stopped and goes on.
        purge_step = 0 if step == 1 else step
        board = Board(tmp_path, purge_step, lambda name: f"what {name} means")
        board.add_text("config", "    {}")
        board.add_hparams({"n_critic": 3}, ["d_loss"])
        board.add_scalar("d_loss", step / 2, step)
        board.add_image("samples", PICTURE, step)
        board.close()
    found = EventAccumulator(str(tmp_path)).Reload()
    tensors = [each.tensor_proto.float_val[0] for each in found.Tensors("d_loss")]
    assert tensors == [0.5, 1.0]
    assert found.SummaryMetadata("d_loss").summary_description == "what d_loss means"
    assert len(found.Images("samples")) == 2
    assert found.Tensors("config/text_summary")[0].tensor_proto.string_val == [b"    {}"]
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert start.hparams["n_critic"].number_value == 3


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
