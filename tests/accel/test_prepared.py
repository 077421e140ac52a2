import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from accel import array_cache
from accel.array_cache import ArrayCache, Entry
from accel.evaluator import CompiledEvaluator, prepared
from accel.evaluator.prepared import PreparedModel, model_digest
from tests.accel.random_models import TWO_HEADS, liquid, random_model

ERROR = 1e-4


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(array_cache, "cache_home", lambda: tmp_path)
    return tmp_path / "prepared"


def forces(model: Any) -> Any:
    return CompiledEvaluator(model, radial_error=ERROR).evaluate(liquid(8)).forces


@pytest.mark.parametrize(
    "changes",
    [{"pair_repulsion": True, "distance_transform": "Agnesi"}, {"readout_cls": "NonLinearBiasReadoutBlock"}],
)
def test_a_model_is_read_once_and_gives_the_same_bits_from_the_cache(
    home: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(**changes)
    first = forces(model)
    assert len(list(home.iterdir())) == 2

    def refuse(*_: Any) -> None:
        raise AssertionError("the model was read again")

    monkeypatch.setattr(prepared, "double_copy", refuse)
    np.testing.assert_array_equal(forces(model), first)


def test_whatever_decides_about_the_answer_is_in_the_key() -> None:
    model = random_model()
    seen = {model_digest(model)}
    model.interactions[0].avg_num_neighbors *= 1.5  # in no state dict
    seen.add(model_digest(model))
    with torch.no_grad():
        next(model.parameters())[0] += 1e-9
    seen.add(model_digest(model))
    seen.add(model_digest(random_model(gate="tanh")))
    seen.add(model_digest(random_model(apply_cutoff=False)))
    seen.add(model_digest(random_model(num_polynomial_cutoff=6)))
    seen.add(model_digest(random_model(dtype=torch.float32)))

    assert len(seen) == 7
    assert model_digest(random_model()) == model_digest(random_model())


def test_heads_and_errors_are_kept_apart(home: Path) -> None:
    model = random_model(**TWO_HEADS)
    PreparedModel(model, head="dft", radial_error=ERROR)
    PreparedModel(model, head="Default", radial_error=ERROR)
    PreparedModel(model, head=None, radial_error=ERROR)
    PreparedModel(model, head=None, radial_error=ERROR / 10)

    assert len(list(home.iterdir())) == 3


@pytest.mark.parametrize("damage", ["cut off", "garbage", "a bit", "another key", "empty"])
def test_a_damaged_entry_is_said_so_and_made_anew(
    home: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = random_model()
    right = forces(model)
    for path in home.iterdir():
        content = bytearray(path.read_bytes())
        if damage == "a bit":
            content[len(content) // 2] ^= 1
        broken = {
            "cut off": content[: len(content) // 2],
            "garbage": b"MZ" + bytes(500),
            "a bit": content,
            "another key": next(p for p in sorted(home.iterdir()) if p != path).read_bytes(),
            "empty": b"",
        }[damage]
        path.write_bytes(bytes(broken))

    np.testing.assert_array_equal(forces(model), right)

    assert "made anew" in caplog.text
    caplog.clear()
    np.testing.assert_array_equal(forces(model), right)
    assert caplog.text == ""


def test_a_pickle_in_the_cache_is_never_opened(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (home / "sprung",))

    cache = ArrayCache(home)
    home.mkdir()
    with (home / "key.npz").open("wb") as file:
        np.savez(file, header=np.array([Trap()], dtype=object))

    assert cache.load("key") is None
    assert not (home / "sprung").exists()
    assert "made anew" in caplog.text


def test_without_a_place_to_write_it_works_and_says_so(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    home.write_text("a file, where the folder should be")

    assert np.isfinite(forces(random_model())).all()
    assert "it will be made again" in caplog.text


def test_on_a_full_disk_it_works_says_so_and_leaves_nothing(
    home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    assert np.isfinite(forces(random_model())).all()
    assert "No space left on device" in caplog.text
    assert list(home.iterdir()) == []


def test_the_folder_stays_small_and_keeps_what_was_used_last(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path, most_bytes=5000)
    for i, key in enumerate(("old", "used", "new")):
        cache.store(key, Entry(i, {"x": np.zeros(100)}))
        os.utime(tmp_path / f"{key}.npz", (1000 + i, 1000 + i))
    left_behind = tmp_path / ".dead.npz.123"
    left_behind.write_bytes(b"half")
    os.utime(left_behind, (10, 10))
    assert cache.load("old") is not None  # makes it the newest

    cache.store("newest", Entry(9, {"x": np.zeros(100)}))

    assert {path.name for path in tmp_path.iterdir()} == {"old.npz", "new.npz", "newest.npz"}
    kept = cache.load("newest")
    assert kept is not None
    assert kept.header == 9


def test_a_second_process_reads_what_the_first_wrote(tmp_path: Path) -> None:
    code = (
        "import logging, sys; from accel.evaluator import prepared\n"
        "read = prepared.extract\n"
        "prepared.extract = lambda *a: (print('read'), read(*a))[1]\n"
        "from accel.reference import load_model\n"
        "prepared.PreparedModel(load_model('h2co-small'), radial_error=1e-3)\n"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    said = [
        subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]

    assert said == ["read\n", ""]
