"""Weight files in both of PyTorch's formats, assembled byte by byte without PyTorch.

Their pickles are assembled as bytes, since pickling needs the classes that are named.
"""

import io
import pickle
import struct
import zipfile

import numpy as np

from ganjax.metrics import torch_files

NUMBERS = np.arange(12, dtype="<f4")


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def name(module, attribute):
    return b"c" + f"{module}\n{attribute}\n".encode()


def integer(value):
    return b"J" + struct.pack("<i", value)


def integers(*values):
    return b"(" + b"".join(map(integer, values)) + b"t"


REBUILD = name("torch._utils", "_rebuild_tensor_v2")
KEEP = name("torch._utils", "_rebuild_parameter")


def built(**state):
    """Sets attributes of what was pickled before it."""
    return b"}(" + b"".join(text(key) + value for key, value in state.items()) + b"ub"


def stored(count=12):
    """What torch.save writes for a storage."""
    parts = text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), integer(count)
    return b"(" + b"".join(parts) + b"tQ"


def tensor(shape, strides, offset=0, storage=None):
    """What torch.save writes for a tensor."""
    storage = stored() if storage is None else storage
    hooks = name("collections", "OrderedDict") + b")R"
    arguments = b"(" + storage + integer(offset) + integers(*shape) + integers(*strides)
    return REBUILD + arguments + b"\x89" + hooks + b"tR"


def state_dict(**values):
    items = b"".join(text(key) + value for key, value in values.items())
    return name("collections", "OrderedDict") + b")R(" + items + b"u"


def pickled(body):
    return b"\x80\x02" + body + b"."


GOOD = state_dict(whole=tensor((3, 4), (4, 1)), part=tensor((2, 3), (1, 4), offset=1))


def zip_file(body, folder="archive", numbers=NUMBERS, **more):
    """A file as PyTorch 1.6 and later write it; `more` are further entries of the archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{folder}/data.pkl", pickled(body))
        archive.writestr(f"{folder}/data/0", numbers.tobytes())
        for path, content in more.items():
            archive.writestr(f"{folder}/{path}", content)
    return file.getvalue()


def legacy_file(body, numbers=NUMBERS):
    """A file as earlier versions wrote it."""
    # With the view metadata, None, that this format has.
    body = body.replace(integer(12) + b"tQ", integer(12) + b"NtQ")
    head = [torch_files.LEGACY_MAGIC, 1001, {"little_endian": True, "protocol_version": 1001}]
    parts = [pickle.dumps(each, 2) for each in head]
    parts += [pickled(body), pickle.dumps(["0"], 2), struct.pack("<q", len(numbers))]
    return b"".join(parts) + numbers.tobytes()


FORMATS = {"zip": zip_file, "legacy": legacy_file}
