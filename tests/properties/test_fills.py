"""Laws of the fill engine on random markets (Hypothesis over the seeds of tests/reference/paths.py)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from grodtd.domain.bars import COLUMNS, Bars
from grodtd.domain.kernel import JIT_DISABLED
from grodtd.domain.run import ExitReason, RunResult
from grodtd.execution.fill_kernel import MAX_BARS
from grodtd.execution.fills import fill_orders
from tests.reference.paths import Path, random_path

EXAMPLES = settings(max_examples=20 if JIT_DISABLED else 200, deadline=None, derandomize=True)
seeds = st.integers(min_value=0, max_value=10**6)


def run(path: Path) -> RunResult:
    bars, side, bracket, account, gate, funding, fine = path
    return fill_orders(bars, side, bracket, account, gate=gate, funding=funding, fine=fine)


@EXAMPLES
@given(seeds)
def test_money_is_conserved(seed: int) -> None:
    path = random_path(seed, n_bars=120)
    result, account = run(path), path.account
    t = result.trades
    explained = account.initial_capital + t.pnl.sum()
    scale = max(account.initial_capital, float(t.notional.sum()))
    if result.stopped is not None and result.stopped[1] == "ruin":
        assert explained <= 1e-9 * scale  # lost all, perhaps more; the account is floored at 0
        assert result.equity[-1] == 0
    else:
        assert abs(result.equity[-1] - explained) <= 1e-9 * scale
    # Net is gross less costs, trade by trade.
    np.testing.assert_allclose(
        t.pnl, t.gross_pnl - t.slippage - t.fees - t.funding - t.borrow, rtol=0, atol=1e-9 * scale
    )


@EXAMPLES
@given(seeds)
def test_equity_moves_only_by_the_position_and_by_fills(seed: int) -> None:
    path = random_path(seed, n_bars=120)
    result, bars, account = run(path), path.bars, path.account
    is_quiet = np.ones(len(bars), dtype=bool)
    is_quiet[result.fills.bar] = False
    if result.stopped is not None and result.stopped[1] == "ruin":
        is_quiet[result.stopped[0] :] = False
    at = np.flatnonzero(is_quiet[1:]) + 1
    change = result.qty[at - 1] * (bars.close[at] - bars.close[at - 1])
    change -= result.ledger.funding[at] + result.ledger.borrow[at]
    np.testing.assert_allclose(np.diff(result.equity)[at - 1], change, rtol=1e-9, atol=1e-9 * account.initial_capital)
    assert not result.qty[~result.held].any()


@EXAMPLES
@given(seeds, st.integers(min_value=2, max_value=118))
def test_the_future_changes_nothing_before_it(seed: int, at: int) -> None:
    path, other_path = random_path(seed, n_bars=120), random_path(seed + 1, n_bars=120)
    bars, side, bracket, account, gate, funding, _ = path
    other, other_side, other_bracket = other_path[:3]
    account = replace(account, rules=replace(account.rules, same_bar="stop_first"))  # finer bars would not fit
    ratio = bars.close[at - 1] / other.close[at - 1]
    tail = {c: getattr(other, c)[at:] * (1 if c == "volume" else ratio) for c in COLUMNS}
    columns = (np.append(getattr(bars, c)[:at], tail[c]) for c in COLUMNS)
    mixed = Bars(bars.time, *columns, timeframe=bars.timeframe)
    changed = fill_orders(
        mixed,
        np.append(side[:at], other_side[at:]),
        np.concatenate((bracket[:, :at], other_bracket[:, at:]), axis=1),
        account,
        gate=gate,
        funding=funding,
    )
    base = fill_orders(bars, side, bracket, account, gate=gate, funding=funding)
    # The costs of the first 30 bars come from all of them (cost_rows): nothing is decided in those.
    if account.costs.c_vol or account.costs.impact_y:
        return
    np.testing.assert_array_equal(changed.equity[:at], base.equity[:at])
    np.testing.assert_array_equal(changed.qty[:at], base.qty[:at])
    for (name, a), (_, b) in zip(changed.trades.columns(), base.trades.columns(), strict=True):
        before_a, before_b = (x[r.trades.exit_bar < at] for x, r in ((a, changed), (b, base)))
        np.testing.assert_array_equal(before_a, before_b, err_msg=name)


@EXAMPLES
@given(seeds)
def test_a_market_quoted_in_other_units_gives_the_same_trades(seed: int) -> None:
    bars, side, bracket, account, gate, funding, _ = random_path(seed, n_bars=120)
    account = replace(account, rules=replace(account.rules, same_bar="ohlc_path"))
    instrument = replace(account.instrument, tick=None, lot=None)
    small = replace(account, instrument=instrument)
    factor = 2.0**10  # exact in binary
    large = replace(
        small,
        instrument=replace(instrument, min_notional=instrument.min_notional * factor),
        initial_capital=small.initial_capital * factor,
    )
    columns = (getattr(bars, c) * (1 if c == "volume" else factor) for c in COLUMNS)
    scaled = Bars(bars.time, *columns, timeframe=bars.timeframe)
    wider = bracket * factor
    wider[MAX_BARS] = bracket[MAX_BARS]
    a = fill_orders(bars, side, bracket, small, gate=gate, funding=funding)
    b = fill_orders(scaled, side, wider, large, gate=gate, funding=funding)
    np.testing.assert_allclose(a.equity * factor, b.equity, rtol=1e-12)
    np.testing.assert_allclose(a.trades.qty, b.trades.qty, rtol=1e-12)
    np.testing.assert_array_equal(a.trades.exit_bar, b.trades.exit_bar)


@EXAMPLES
@given(seeds)
def test_no_fill_is_better_than_its_rule_allows(seed: int) -> None:
    path = random_path(seed, n_bars=120)
    bars, account = path.bars, path.account
    result = run(path)
    t, f = result.trades, result.fills
    low, high = bars.low[f.bar], bars.high[f.bar]
    is_limit = f.price == f.ref
    assert (f.side * (f.price - f.ref) >= -1e-8 * f.ref).all()  # slippage is never a gain
    inside = (low <= f.ref) & (f.ref <= high)
    is_exit_limit = f.reason == int(ExitReason.TAKE_PROFIT)
    assert inside[~is_limit].all()
    # A limit may lie outside its bar only on our bad side: it was gapped through.
    assert np.where(f.side > 0, f.ref >= low, f.ref <= high)[is_exit_limit].all()
    is_forced = np.isin(f.reason, [int(ExitReason.END_OF_DATA), int(ExitReason.LIQUIDATION)])
    assert (bars.volume[f.bar][~is_forced] > 0).all()
    assert (t.entry_bar > t.decision_bar + account.rules.latency_bars).all()
