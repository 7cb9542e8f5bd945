"""The file that makes a folder a checkpoint of shards: whatever stands in it is checked."""

import json

import pytest

from memprof.distributed import checkpoints
from memprof.errors import StoreError


@pytest.fixture
def folder(tmp_path):
    """A checkpoint of two shards, by its files alone."""
    place = checkpoints.begin(tmp_path)
    for number in range(2):
        (place / str(number)).mkdir()
    checkpoint = checkpoints.Checkpoint(
        place.name, 2, 5, (1, 3), 7, 0, ("auto",), {}, "numpy", ("a", "B")
    )
    checkpoints.commit(tmp_path, checkpoint)
    assert checkpoints.read(tmp_path) == checkpoint
    return tmp_path


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("place", ".."),
        ("place", "turn-../.."),
        ("place", "turn-00000000"),
        ("shards", 0),
        ("shards", 3),
        ("shards", 10**12),
        ("agents", -1),
        ("agents", 10**12),
        ("removed", [3, 1]),
        ("removed", [1, 1]),
        ("removed", [-1]),
        ("removed", [5]),
        ("removed", [2**64 - 1]),
        ("turn", -1),
        ("seed", 2**63),
        ("seed", 0.5),
        ("backend", "torch"),
        ("format", "memprof.shards/9"),
    ],
)
def test_a_field_that_memprof_never_writes_is_refused(folder, field, value):
    file = folder / "shards.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
    with pytest.raises(StoreError, match=r"shards\.json"):
        checkpoints.read(folder)
