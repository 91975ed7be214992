"""Laws of the fill engine on random markets (Hypothesis over the seeds of tests/reference/paths.py)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from grodtd.domain.bars import COLUMNS, Bars
from grodtd.domain.kernel import JIT_DISABLED
from grodtd.domain.run import ExitReason
from grodtd.execution.fills import fill_orders
from tests.reference.paths import random_path

EXAMPLES = settings(max_examples=20 if JIT_DISABLED else 200, deadline=None, derandomize=True)
seeds = st.integers(min_value=0, max_value=10**6)


@EXAMPLES
@given(seeds)
def test_money_is_conserved(seed: int) -> None:
    bars, side, bracket, account = random_path(seed, n_bars=120)
    result = fill_orders(bars, side, bracket, account)
    t = result.trades
    explained = account.initial_capital + t.pnl.sum()
    scale = max(account.initial_capital, float(t.notional.sum()))
    if result.stopped is not None and result.stopped[1] == "ruin":
        assert explained <= 1e-9 * scale  # lost all, perhaps more; the account is floored at 0
        assert result.equity[-1] == 0
    else:
        assert abs(result.equity[-1] - explained) <= 1e-9 * scale
    # Net is gross less costs, trade by trade.
    np.testing.assert_allclose(t.pnl, t.gross_pnl - t.slippage - t.fees, rtol=0, atol=1e-9 * scale)


@EXAMPLES
@given(seeds)
def test_equity_moves_only_by_the_position_and_by_fills(seed: int) -> None:
    bars, side, bracket, account = random_path(seed, n_bars=120)
    result = fill_orders(bars, side, bracket, account)
    t = result.trades
    is_quiet = np.ones(len(bars), dtype=bool)
    is_quiet[t.entry_bar] = is_quiet[t.exit_bar] = False
    if result.stopped is not None and result.stopped[1] == "ruin":
        is_quiet[result.stopped[0] :] = False
    at = np.flatnonzero(is_quiet[1:]) + 1
    change = result.qty[at - 1] * (bars.close[at] - bars.close[at - 1])
    np.testing.assert_allclose(np.diff(result.equity)[at - 1], change, rtol=1e-9, atol=1e-9 * account.initial_capital)
    assert not result.qty[~result.held].any()


@EXAMPLES
@given(seeds, st.integers(min_value=2, max_value=118))
def test_the_future_changes_nothing_before_it(seed: int, at: int) -> None:
    bars, side, bracket, account = random_path(seed, n_bars=120)
    other, other_side, other_bracket, _ = random_path(seed + 1, n_bars=120)
    ratio = bars.close[at - 1] / other.close[at - 1]
    tail = {c: getattr(other, c)[at:] * (1 if c == "volume" else ratio) for c in COLUMNS}
    mixed = Bars(bars.time, *(np.append(getattr(bars, c)[:at], tail[c]) for c in COLUMNS))
    changed = fill_orders(
        mixed,
        np.append(side[:at], other_side[at:]),
        np.concatenate((bracket[:, :at], other_bracket[:, at:]), axis=1),
        account,
    )
    base = fill_orders(bars, side, bracket, account)
    np.testing.assert_array_equal(changed.equity[:at], base.equity[:at])
    np.testing.assert_array_equal(changed.qty[:at], base.qty[:at])
    for (name, a), (_, b) in zip(changed.trades.columns(), base.trades.columns(), strict=True):
        before_a, before_b = (x[r.trades.exit_bar < at] for x, r in ((a, changed), (b, base)))
        np.testing.assert_array_equal(before_a, before_b, err_msg=name)


@EXAMPLES
@given(seeds)
def test_a_market_quoted_in_other_units_gives_the_same_trades(seed: int) -> None:
    bars, side, bracket, account = random_path(seed, n_bars=120)
    instrument = replace(account.instrument, tick=None, lot=None)
    small = replace(account, instrument=instrument)
    factor = 2.0**10  # exact in binary
    large = replace(
        small,
        instrument=replace(instrument, min_notional=instrument.min_notional * factor),
        initial_capital=small.initial_capital * factor,
    )
    scaled = Bars(bars.time, *(getattr(bars, c) * (1 if c == "volume" else factor) for c in COLUMNS))
    a = fill_orders(bars, side, bracket, small)
    b = fill_orders(scaled, side, bracket * factor, large)
    np.testing.assert_array_equal(a.equity * factor, b.equity)
    np.testing.assert_array_equal(a.trades.qty, b.trades.qty)
    np.testing.assert_array_equal(a.trades.exit_bar, b.trades.exit_bar)


@EXAMPLES
@given(seeds)
def test_no_fill_is_better_than_its_rule_allows(seed: int) -> None:
    bars, side, bracket, account = random_path(seed, n_bars=120)
    t = fill_orders(bars, side, bracket, account).trades
    low, high = bars.low[t.exit_bar], bars.high[t.exit_bar]
    is_limit = t.exit_reason == int(ExitReason.TAKE_PROFIT)
    assert (t.slippage[~is_limit] >= -1e-9 * t.notional[~is_limit]).all()  # never a gain
    inside = (low <= t.exit_ref) & (t.exit_ref <= high)
    assert inside[~is_limit].all()
    # A limit may lie outside its bar only on our bad side: it was gapped through.
    assert np.where(t.side > 0, t.exit_ref <= high, t.exit_ref >= low)[is_limit].all()
    assert (bars.volume[t.entry_bar] > 0).all()
    is_forced = np.isin(t.exit_reason, [int(ExitReason.END_OF_DATA), int(ExitReason.LIQUIDATION)])
    assert (bars.volume[t.exit_bar][~is_forced] > 0).all()
    assert (t.entry_bar > t.decision_bar + account.rules.latency_bars).all()
