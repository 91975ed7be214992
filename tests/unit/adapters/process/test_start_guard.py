"""The crash-loop guard: 3 unclean restarts in 10 minutes are carried out, the 4th starts halted (PLATFORM 4)."""

import json
import os
from pathlib import Path

import pytest

from grodtd.adapters.process.start_guard import StartGuard, halted


def guard(folder: Path, host: str = "one") -> StartGuard:
    return StartGuard(folder, "grodt", max_restarts=3, window_s=600, host=host)


def test_the_fourth_restart_in_the_window_is_halted(tmp_path: Path) -> None:
    found = [guard(tmp_path).started(at) for at in (0, 10, 20, 30, 40)]
    assert [one.is_halted for one in found] == [False, False, False, False, True]
    assert [one.recent for one in found] == [1, 2, 3, 4, 5]


def test_restarts_outside_the_window_do_not_count(tmp_path: Path) -> None:
    assert not any(guard(tmp_path).started(200.0 * i).is_halted for i in range(20))


def test_a_clean_stop_forgets_the_starts_before_it(tmp_path: Path) -> None:
    for at in range(10):
        assert not guard(tmp_path).started(float(at)).is_halted
        guard(tmp_path).stopped()


def test_a_halt_outlives_clean_stops_and_the_window_until_somebody_resumes(tmp_path: Path) -> None:
    for at in range(5):
        last = guard(tmp_path).started(float(at))
    assert last.is_halted
    guard(tmp_path).stopped()
    assert guard(tmp_path).started(10_000.0).is_halted
    for file in halted(tmp_path):
        file.unlink()
    assert not guard(tmp_path).started(10_001.0).is_halted


def test_records_of_others_are_forgotten_after_a_week_unless_they_are_halted(tmp_path: Path) -> None:
    for at in range(5):
        guard(tmp_path, host="halted").started(float(at))
    guard(tmp_path, host="gone").started(0.0)
    for file in tmp_path.glob("starts.*.json"):
        os.utime(file, (0, 0))
    guard(tmp_path, host="new").started(30 * 86_400.0)
    names = sorted(file.name for file in tmp_path.glob("starts.*.json"))
    assert names == ["starts.grodt.halted.json", "starts.grodt.new.json"]
    assert guard(tmp_path, host="halted").started(30 * 86_400.0).is_halted


def test_replicas_do_not_count_each_other(tmp_path: Path) -> None:
    assert not any(guard(tmp_path, host=f"replica{i}").started(float(i)).is_halted for i in range(10))


def test_a_clock_that_went_back_counts_nothing_twice(tmp_path: Path) -> None:
    guard(tmp_path).started(1_000.0)
    assert guard(tmp_path).started(500.0).recent == 1


@pytest.mark.parametrize("content", ["", "[]", '{"starts": 1}', "not json"])
def test_a_record_that_cannot_be_read_halts(tmp_path: Path, content: str) -> None:
    (tmp_path / "starts.grodt.one.json").write_text(content)
    found = guard(tmp_path).started(0.0)
    assert found.is_halted
    assert "cannot be read" in found.problem
    assert halted(tmp_path) == [tmp_path / "starts.grodt.one.json"]


def test_a_place_that_cannot_be_written_is_said_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where the folder should be")
    found = guard(tmp_path / "run" / "below").started(0.0)
    # NotADirectoryError on reading, too: nobody knows what was before, so it halts rather than loops
    assert found.is_halted
    assert "cannot be read" in found.problem


def test_a_full_disk_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dump", full)
    found = guard(tmp_path).started(0.0)
    assert (found.is_halted, found.recent) == (False, 1)
    assert "No space left on device" in found.problem
    for at in range(20):
        guard(tmp_path).started(float(at))
    assert len(list(tmp_path.iterdir())) <= 1  # attempts that failed do not pile up
