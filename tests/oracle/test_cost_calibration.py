"""Costs measured in recorded books against an independent sweep of the same books, and modelled against measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from grodtd.adapters.market_data.recordings import read_depth, read_sweeps
from grodtd.execution.calibration import CostCalibration, sweep_cost_bps
from grodtd.workflows.calibrate import calibrate_costs

SYMBOLS = ("btcusdt", "ethusdt")
SIZES = (10_000.0, 100_000.0, 1_000_000.0)
# The README of the recorded data: mean cost of a buy against mid, basis points, half-spread included.
README_BPS = {"btcusdt": ("0.02", "0.18", "1.9"), "ethusdt": ("0.09", "0.64", "3.2")}


def recording(folder: Path, symbol: str, kind: str) -> Path:
    file = folder / f"binance_spot_{symbol}_{kind}_20240808.parquet"
    if not file.is_file():
        pytest.skip(f"{file.name} is not among the recorded data")
    return file


@pytest.fixture(scope="module", name="calibrated")
def _calibrated(real_data: Path) -> dict[str, CostCalibration]:
    return {
        symbol: calibrate_costs(
            bbo=recording(real_data, symbol, "bbo"),
            depth=recording(real_data, symbol, "depth100_1s"),
            trades=recording(real_data, symbol, "trades"),
            impact=recording(real_data, symbol, "impact_1s"),
        )
        for symbol in SYMBOLS
    }


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_our_sweep_of_the_depth_is_that_of_the_recorder(real_data: Path, symbol: str) -> None:
    book = read_depth(recording(real_data, symbol, "depth100_1s"))
    sweeps = read_sweeps(recording(real_data, symbol, "impact_1s"))
    np.testing.assert_array_equal(book.time, sweeps.time)
    np.testing.assert_allclose(book.mid, sweeps.mid, rtol=1e-15)
    compared, thin = 0, {}
    for side, price, size, costs in (
        ("buy", book.ask_price, book.ask_size, sweeps.buy_bps),
        ("sell", book.bid_price, book.bid_size, sweeps.sell_bps),
    ):
        for notional, recorded in costs.items():
            own = sweep_cost_bps(price, size, book.mid, notional)
            known = np.isfinite(own)
            # The recorder kept more than the 100 levels of the depth file and is never nan.
            assert np.isfinite(recorded).all()
            np.testing.assert_allclose(own[known], recorded[known], rtol=0, atol=1e-10)
            compared += int(known.sum())
            thin[side, notional] = int((~known).sum())
    assert compared > 5_000
    for side in ("buy", "sell"):
        assert [thin[side, n] for n in (1e3, 1e4, 1e5)] == [0, 0, 0]
        assert thin[side, 5e6] == 651  # 100 levels never hold 5 million
    assert (thin["buy", 1e6], thin["sell", 1e6]) == {"btcusdt": (26, 149), "ethusdt": (23, 115)}[symbol]


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_mean_costs_are_the_published_ones(calibrated: dict[str, CostCalibration], symbol: str) -> None:
    measured = {row.notional: row.measured_bps for row in calibrated[symbol].rows if row.side == "buy"}
    for size, text in zip(SIZES, README_BPS[symbol], strict=True):
        decimals = len(text.partition(".")[2])
        assert round(measured[size], decimals) == float(text), size


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_modelled_costs_are_within_a_factor_of_two(calibrated: dict[str, CostCalibration], symbol: str) -> None:
    found = calibrated[symbol]
    judged = [row for row in found.rows if row.is_fitted]
    assert [(row.side, row.notional) for row in judged] == [(side, size) for side in ("buy", "sell") for size in SIZES]
    for row in judged:
        assert 0.5 <= row.ratio <= 2.0, row
    assert found.worst_factor == pytest.approx(max(max(r.ratio, 1 / r.ratio) for r in judged))


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_the_law_holds_between_and_above_the_fitted_sizes(calibrated: dict[str, CostCalibration], symbol: str) -> None:
    tested = [row for row in calibrated[symbol].rows if row.notional in (30_000, 300_000, 5_000_000)]
    assert len(tested) == 6
    for row in tested:
        assert not row.is_fitted
        assert 0.5 <= row.ratio <= 2.0, row


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_the_law_of_the_first_half_holds_in_the_second(calibrated: dict[str, CostCalibration], symbol: str) -> None:
    found = calibrated[symbol]
    assert len(found.later_rows) == len(found.rows)
    for row in found.later_rows:
        if row.is_fitted:
            assert row.n_measured == 326
            assert 0.5 <= row.ratio <= 2.0, row
    # With the state of the first half too, ETH sells of 100k miss the factor by a hair: the bids thinned out by half.
    assert found.frozen_worst_factor < {"btcusdt": 2.0, "ethusdt": 2.05}[symbol]


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_no_square_root_fits_all_sizes_but_one_covers_them(calibrated: dict[str, CostCalibration], symbol: str) -> None:
    found = calibrated[symbol]
    # The cost of one sweep grows almost in proportion to size, so no coefficient of the root is within a factor of two.
    assert found.square_root.worst_factor > 2
    assert found.delta - 3 * found.delta_se > 0.5
    # The default of the specification, Y 1, lies above every mean measured, up to 5 million.
    assert 0 < found.y_covering < 1
    for row in found.rows:
        y_one = found.half_spread_bps + 1e4 * found.sigma_d * (row.notional / found.adv_notional) ** 0.5
        assert y_one > row.measured_bps, row


def test_the_record_says_where_its_numbers_come_from(calibrated: dict[str, CostCalibration]) -> None:
    found = calibrated["btcusdt"]
    assert found.symbol == "BTCUSDT"
    assert found.n_snapshots == 651
    assert found.c_vol is None
    assert found.impact_difference_bps is not None
    assert found.impact_difference_bps < 1e-10
    assert "binance_spot_btcusdt_depth100_1s_20240808.parquet" in found.source
    assert any("sigma_d" in note and "scaled to a day" in note for note in found.notes)
    assert any("V_d" in note and "scaled to a day" in note for note in found.notes)
    # One tick of 0.01 at 61,700 is a half-spread of 0.0008 bp, the floor of any average.
    assert 0.0008 < found.half_spread_bps < 0.01
