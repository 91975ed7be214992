"""The catalogue loses nothing, repairs nothing and says what it has."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grodtd.adapters.market_data import catalogue as module
from grodtd.adapters.market_data.catalogue import Catalogue, last_complete_us
from grodtd.adapters.market_data.resample import resample
from grodtd.adapters.market_data.synthetic import GENERATORS, regime_returns, synthetic_bars
from grodtd.domain.bars import Bars
from grodtd.domain.errors import DataError

MINUTE_US = 60_000_000
START_US = 1_675_207_800_000_000  # 2023-01-31 23:30: thirty minutes before a new month


def some_bars(first: int = 0, end: int = 60, *, shift: float = 0.0) -> Bars:
    at = np.arange(first, end)
    price = 100.0 + at * 0.25 + shift
    return Bars(START_US + at * MINUTE_US, price, price + 1, price - 1, price, at + 1.0, venue="v", symbol="S")


def assert_equal(a: Bars, b: Bars) -> None:
    assert a.content_hash() == b.content_hash()


def test_what_goes_in_comes_out_across_months(tmp_path: Path) -> None:
    store = Catalogue(tmp_path)
    written = store.write(some_bars())
    assert (written.added, written.unchanged, written.replaced) == (60, 0, 0)
    assert_equal(store.load("v", "S", "1m"), some_bars())
    assert {f.stem for f in tmp_path.rglob("*.parquet")} == {"2023-01", "2023-02"}
    part = store.load("v", "S", "1m", start_us=START_US + 10 * MINUTE_US, end_us=START_US + 40 * MINUTE_US)
    assert_equal(part, some_bars(10, 40))
    assert store.last_time_us("v", "S", "1m") == START_US + 59 * MINUTE_US
    assert store.last_time_us("v", "X", "1m") is None


def test_the_same_again_changes_no_file(tmp_path: Path) -> None:
    store = Catalogue(tmp_path)
    store.write(some_bars())
    before = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*.parquet")}
    again = store.write(some_bars(20, 50))
    assert (again.added, again.unchanged, again.replaced) == (0, 30, 0)
    assert {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*.parquet")} == before


def test_contradictions_are_refused_by_bar_and_change_nothing(tmp_path: Path) -> None:
    store = Catalogue(tmp_path)
    store.write(some_bars(0, 40))
    message = r"bar 2023-01-31 23:50:00 is stored with open 105.0 and would become 105.5 \(10 such bars"
    with pytest.raises(DataError, match=message):
        store.write(some_bars(20, 60, shift=0.5))
    assert_equal(store.load("v", "S", "1m"), some_bars(0, 40))
    written = store.write(some_bars(20, 60, shift=0.5), overwrite=True)
    assert (written.added, written.replaced) == (20, 20)
    assert store.load("v", "S", "1m").close[20] == 105.5


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 59), st.integers(1, 30)), min_size=1, max_size=8))
def test_increments_in_any_order_lose_nothing(pieces: list[tuple[int, int]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        store = Catalogue(Path(folder))
        wanted: set[int] = set()
        for first, length in pieces:
            end = min(60, first + length)
            store.write(some_bars(first, end))
            wanted |= set(range(first, end))
        found = store.load("v", "S", "1m")
        assert ((found.time - START_US) // MINUTE_US).tolist() == sorted(wanted)


def test_a_crash_while_writing_leaves_the_old_month(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Catalogue(tmp_path)
    store.write(some_bars(0, 20))

    def power_cut(_: int) -> None:
        raise OSError("no power")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "fsync", power_cut)
        with pytest.raises(OSError, match="no power"):
            store.write(some_bars(10, 30))
    assert_equal(store.load("v", "S", "1m"), some_bars(0, 20))
    assert not list(tmp_path.rglob("*.part"))
    store.write(some_bars(10, 30))
    assert_equal(store.load("v", "S", "1m"), some_bars(0, 30))


def _write_piece(root: str, first: int) -> None:
    Catalogue(Path(root)).write(some_bars(first, first + 10))


def test_imports_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write_piece, args=(str(tmp_path), 10 * i)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert_equal(Catalogue(tmp_path).load("v", "S", "1m"), some_bars(0, 30))


def test_what_is_not_there_is_said_with_what_is(tmp_path: Path) -> None:
    store = Catalogue(tmp_path)
    with pytest.raises(DataError, match="there is: nothing yet. Bring them with `grodt data import FILE --venue v"):
        store.load("v", "S", "1m")
    store.write(some_bars())
    with pytest.raises(DataError, match="there is: v:S 1m"):
        store.load("v", "T", "1m")
    with pytest.raises(DataError, match="no bars from any time to 2020-.* stored are 2023-01-31 23:30:00 to 2023"):
        store.load("v", "S", "1m", end_us=1_577_836_800_000_000 + 10**13)
    with pytest.raises(DataError, match="may hold only letters"):
        store.load("../v", "S", "1m")
    damaged = next(tmp_path.rglob("2023-01.parquet"))
    damaged.write_bytes(b"nonsense")
    with pytest.raises(DataError, match="cannot be read"):
        store.load("v", "S", "1m")


def test_listing(tmp_path: Path) -> None:
    store = Catalogue(tmp_path)
    store.write(some_bars())
    (series,) = store.list()
    assert (series.venue, series.symbol, series.timeframe, series.n_bars) == ("v", "S", "1m", 60)
    assert (series.first_us, series.last_us) == (START_US, START_US + 59 * MINUTE_US)


def test_resampling_by_hand() -> None:
    # 23:30 .. 00:29 in 20-minute bars on the UTC grid: 23:20 has 10 bars, then 20, 20 and 10.
    made = resample(some_bars(), "20m")
    assert ((made.time - START_US) // MINUTE_US).tolist() == [-10, 10, 30, 50]
    assert made.open.tolist() == [100.0, 102.5, 107.5, 112.5]
    assert made.close.tolist() == [102.25, 107.25, 112.25, 114.75]
    assert made.high.tolist() == [103.25, 108.25, 113.25, 115.75]
    assert made.low.tolist() == [99.0, 101.5, 106.5, 111.5]
    assert made.volume.tolist() == [55.0, 410.0, 810.0, 555.0]
    week = resample(some_bars(), "1w")
    assert np.datetime64(int(week.time[0]), "us").astype("datetime64[D]") == np.datetime64("2023-01-30")  # a Monday
    for bad in ("90s", "1m", "30s"):
        with pytest.raises(DataError, match="whole multiple"):
            resample(some_bars(), bad)
    with pytest.raises(DataError, match="no bars to resample"):
        resample(some_bars()[:0], "1h")


def test_an_open_bar_is_not_complete() -> None:
    assert last_complete_us(10 * MINUTE_US, "1m") == 9 * MINUTE_US
    assert last_complete_us(10 * MINUTE_US - 1, "1m") == 8 * MINUTE_US


def test_synthetic_bars_are_seeded_labelled_and_sound(tmp_path: Path) -> None:
    bars, labels = synthetic_bars("G1", 5_000, 7)
    again, _ = synthetic_bars("G1", 5_000, 7)
    other, _ = synthetic_bars("G1", 5_000, 8)
    assert bars.content_hash() == again.content_hash() != other.content_hash()
    assert set(labels) == {"trending", "ranging", "high_volatility"}
    store = Catalogue(tmp_path)
    store.write(bars)
    store.write_labels(bars, labels)
    stored = store.labels("synthetic", "G1", "1m")
    assert stored is not None
    assert stored["regime"].to_list() == labels
    store.remove("synthetic", "G1", "1m")
    assert store.list() == []
    with pytest.raises(DataError, match="no generator named 'G9'"):
        synthetic_bars("G9", 10, 1)
    with pytest.raises(DataError, match="above zero"):
        synthetic_bars("G1", 0, 1)


def test_the_generator_has_the_moments_of_the_specification() -> None:
    # G1: dwell 500, drift .2, reversion -.3, high volatility 3; tolerances are about four standard errors.
    returns, states = regime_returns(GENERATORS["G1"], 400_000, np.random.default_rng(5))
    switches = int((np.diff(states) != 0).sum())
    assert 400_000 / switches == pytest.approx(500, rel=0.15)
    for state, mean, deviation in ((0, 0.2, 1.0), (1, -0.2, 1.0), (3, 0.0, 3.0)):
        sample = returns[states == state]
        assert sample.mean() == pytest.approx(mean, abs=0.05)
        assert sample.std() == pytest.approx(deviation, rel=0.02)
    both = (states[1:] == 2) & (states[:-1] == 2)
    a, b = returns[:-1][both], returns[1:][both]
    assert np.corrcoef(a, b)[0, 1] == pytest.approx(-0.3, abs=0.02)
    assert len(set(np.bincount(states).tolist())) == 4
    assert replace(GENERATORS["G2"], drift=0.2).drift == 0.2


def test_a_damaged_month_is_named_when_series_are_listed(tmp_path: Path) -> None:
    store = Catalogue(tmp_path)
    bars, _ = synthetic_bars("G1", 2_000, 7)
    store.write(bars)
    month = next(tmp_path.rglob("2*.parquet"))
    month.write_bytes(month.read_bytes()[:-50])
    with pytest.raises(DataError, match=rf"{month.name} cannot be read: .*import its month again"):
        store.list()
