"""Laws of the reference simulator on random markets: checked on its own before anything is checked against it."""

from __future__ import annotations

from functools import cache

import numpy as np

from grodtd.domain.bars import Bars
from grodtd.domain.market import Account
from grodtd.domain.run import COUNTERS, ExitReason, Fills, RunResult, Trades
from tests.reference.paths import Path, random_path, random_portfolio
from tests.reference.simulator import Leg, LegResult, PortfolioSimulation, simulate, simulate_portfolio

N_PATHS = 2_000
N_PORTFOLIOS = 300
NEVER_CUT = (ExitReason.END_OF_DATA, ExitReason.LIQUIDATION)


@cache
def runs() -> list[tuple[Path, RunResult]]:
    paths = [random_path(seed) for seed in range(N_PATHS)]
    return [(p, simulate(*p[:4], gate=p.gate, funding=p.funding, fine=p.fine)) for p in paths]


@cache
def portfolios() -> list[tuple[list[Leg], PortfolioSimulation]]:
    drawn = [random_portfolio(seed) for seed in range(N_PORTFOLIOS)]
    return [(legs, simulate_portfolio(legs)) for legs in drawn]


def is_ruined(result: RunResult | PortfolioSimulation) -> bool:
    return result.stopped is not None and result.stopped[1] == "ruin"


def scale_of(account: Account, *fills: Fills) -> float:
    return account.initial_capital + sum(float((f.qty * f.price).sum()) for f in fills)


def test_the_ledger_explains_every_change_of_equity() -> None:
    for seed, (path, result) in enumerate(runs()):
        change = np.diff(result.equity, prepend=path.account.initial_capital)
        last = result.stopped[0] if is_ruined(result) else len(change)
        noise = 1e-9 * scale_of(path.account, result.fills)
        np.testing.assert_allclose(result.ledger.net[:last], change[:last], rtol=0, atol=noise, err_msg=f"seed {seed}")


def test_trades_explain_the_final_equity() -> None:
    for seed, (path, result) in enumerate(runs()):
        explained = path.account.initial_capital + float(result.trades.pnl.sum())
        noise = 1e-9 * scale_of(path.account, result.fills)
        if is_ruined(result):
            assert explained <= noise, seed
            assert not result.equity[result.stopped[0] :].any(), seed
        else:
            assert abs(result.equity[-1] - explained) <= noise, seed


def test_the_ledger_and_the_trades_tell_the_same_story() -> None:
    for seed, (path, result) in enumerate(runs()):
        noise = 1e-9 * scale_of(path.account, result.fills)
        totals, trades = result.ledger.totals(), result.trades
        slipped = totals["spread"] + totals["slippage"] + totals["impact"]
        pairs = (
            (totals["gross"], trades.gross_pnl),
            (slipped, trades.slippage),
            (totals["fees"], trades.fees),
            (totals["funding"], trades.funding),
            (totals["borrow"], trades.borrow),
        )
        for of_ledger, of_trades in pairs:
            assert abs(of_ledger - of_trades.sum()) <= noise, seed


def assert_fills_make_the_trades(trades: Trades, fills: Fills, label: str) -> None:
    assert set(fills.trade.tolist()) == set(range(len(trades))), label
    for i in range(len(trades)):
        for is_entry in (True, False):
            chosen = (fills.trade == i) & ((fills.reason == 0) == is_entry)
            bought = trades.side[i] if is_entry else -trades.side[i]
            assert chosen.any(), label
            assert (fills.side[chosen] == bought).all(), label
            np.testing.assert_allclose(fills.qty[chosen].sum(), trades.qty[i], rtol=1e-9, err_msg=label)
            bar = fills.bar[chosen]
            assert (bar[0] == trades.entry_bar[i]) if is_entry else (bar[-1] == trades.exit_bar[i]), label
    assert (fills.qty > 0).all(), label
    assert (np.diff(fills.bar) >= 0).all(), label


def test_every_trade_is_the_sum_of_its_fills() -> None:
    for seed, (_, result) in enumerate(runs()):
        assert_fills_make_the_trades(result.trades, result.fills, f"seed {seed}")
    for seed, (_, result) in enumerate(portfolios()):
        for leg in result.legs:
            assert_fills_make_the_trades(leg.trades, leg.fills, f"portfolio {seed}")


def assert_room_is_kept(bars: Bars, account: Account, fills: Fills, label: str) -> None:
    phi = account.rules.max_participation
    is_free = np.isin(fills.reason, [int(r) for r in NEVER_CUT])
    assert (bars.volume[fills.bar[~is_free]] > 0).all(), label
    if phi > 0:
        used = np.bincount(fills.bar[~is_free], fills.qty[~is_free], minlength=len(bars))
        assert (used <= phi * bars.volume * (1 + 1e-8)).all(), label


def test_fills_stay_within_the_room_of_a_bar() -> None:
    for seed, (path, result) in enumerate(runs()):
        assert_room_is_kept(path.bars, path.account, result.fills, f"seed {seed}")
    for seed, (legs, result) in enumerate(portfolios()):
        for given, leg in zip(legs, result.legs, strict=True):
            assert_room_is_kept(given.bars, given.account, leg.fills, f"portfolio {seed}")


def test_a_portfolio_of_one_is_a_run() -> None:
    for seed, (path, result) in enumerate(runs()[:200]):
        whole = simulate_portfolio([Leg(*path)])
        assert whole.equity.tobytes() == result.equity.tobytes(), seed
        assert whole.counters == result.counters, seed


def test_the_future_changes_nothing_before_it() -> None:
    for seed, (path, result) in enumerate(runs()[:600]):
        n = len(path.bars)
        costs = path.account.costs
        if n < 4 or costs.c_vol or costs.impact_y:  # the first bars take their volatility from a few later ones
            continue
        k = 2 + seed % (n - 2)
        gate, funding = (None if a is None else a[:k] for a in (path.gate, path.funding))
        part = simulate(
            path.bars[:k], path.side[:k], path.bracket[:, :k], path.account, gate=gate, funding=funding, fine=path.fine
        )
        assert part.equity[: k - 1].tobytes() == result.equity[: k - 1].tobytes(), seed
        assert part.qty[: k - 1].tobytes() == result.qty[: k - 1].tobytes(), seed
        assert part.held[:k].tobytes() == result.held[:k].tobytes(), seed


def test_finer_bars_make_the_bars() -> None:
    checked = 0
    for path, _ in runs():
        if path.fine is None:
            continue
        owner = np.searchsorted(path.bars.time, path.fine.time, side="right") - 1
        for t in range(len(path.bars)):
            at = np.flatnonzero(owner == t)
            if at.size * path.fine.interval_s < path.bars.interval_s:
                continue  # some are missing
            assert path.fine.open[at[0]] == path.bars.open[t]
            assert path.fine.close[at[-1]] == path.bars.close[t]
            assert path.fine.high[at].max() == path.bars.high[t]
            assert path.fine.low[at].min() == path.bars.low[t]
            checked += 1
    assert checked > 1_000


def test_the_legs_explain_the_equity_of_a_portfolio() -> None:
    for seed, (legs, result) in enumerate(portfolios()):
        account = legs[0].account
        noise = 1e-9 * scale_of(account, *(leg.fills for leg in result.legs))
        explained = account.initial_capital + sum(float(leg.trades.pnl.sum()) for leg in result.legs)
        if is_ruined(result):
            assert explained <= noise, seed
            continue
        assert abs(result.equity[-1] - explained) <= noise, seed
        change = np.zeros(result.time.size)
        for leg in result.legs:
            change[np.searchsorted(result.time, leg.bars.time)] += leg.ledger.net
        np.testing.assert_allclose(
            np.diff(result.equity, prepend=account.initial_capital), change, rtol=0, atol=noise, err_msg=str(seed)
        )


def test_the_paths_reach_every_counter_and_every_reason() -> None:
    for results in ([r for _, r in runs()], [r for _, r in portfolios()]):
        seen = dict.fromkeys([*COUNTERS, *(r.name for r in ExitReason), "ruin", "min_notional", "ambiguous"], 0)
        for result in results:
            for name, count in result.counters.items():
                seen[name] += count
            parts: list[RunResult] | list[LegResult] = [result] if isinstance(result, RunResult) else result.legs
            for part in parts:
                seen["ambiguous"] += int(part.trades.ambiguous.sum())
                for code in part.trades.exit_reason.tolist():
                    seen[ExitReason(code).name] += 1
            if result.stopped is not None:
                seen[result.stopped[1]] += 1
        assert all(seen.values()), {name for name, count in seen.items() if not count}
