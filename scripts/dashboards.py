"""Makes configs/grafana/dashboards/*.json: `python scripts/dashboards.py` (`--check`: are they what this would make?)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "configs" / "grafana" / "dashboards"
DATASOURCE = {"type": "prometheus", "uid": "prometheus"}
COLUMNS = 24

# A panel: kind, title, unit, what it tells, width in columns, and (query, legend) pairs.
Panel = tuple[str, str, str, str, int, list[tuple[str, str]]]

SERIES = "{{strategy}} {{symbol}} {{timeframe}}"
BARS = "{{venue}} {{symbol}} {{timeframe}}"

SYSTEM: list[Panel] = [
    ("stat", "Ready replicas", "none", "Replicas that take requests.", 4, [("sum(grodt_ready)", "ready")]),
    ("stat", "Halted", "none", "Replicas halted after a crash loop.", 4, [("sum(grodt_start_guard_halted)", "halted")]),
    (
        "stat",
        "Alerts firing",
        "none",
        "Without the one that always fires.",
        4,
        [('count(ALERTS{alertstate="firing", alertname!="Watchdog"}) or vector(0)', "firing")],
    ),
    (
        "stat",
        "Version",
        "none",
        "What runs.",
        4,
        [("max by (version, revision) (grodt_build_info)", "{{version}} {{revision}}")],
    ),
    (
        "stat",
        "Since the last backup",
        "s",
        "Age of the newest backup.",
        4,
        [("time() - max(grodt_backup_last_success_timestamp_seconds)", "age")],
    ),
    (
        "stat",
        "Since the last proof",
        "s",
        "Since a backup was last restored and compared.",
        4,
        [("time() - max(grodt_backup_last_verified_timestamp_seconds)", "age")],
    ),
    (
        "state-timeline",
        "Health checks",
        "none",
        "1 pass, 0.5 warn, 0 fail; the worst replica.",
        24,
        [("min by (check) (grodt_health_status)", "{{check}}")],
    ),
    (
        "timeseries",
        "Requests",
        "reqps",
        "By answer.",
        8,
        [("sum by (status) (rate(grodt_http_requests_total[5m]))", "{{status}}")],
    ),
    (
        "timeseries",
        "Time to answer, 95 %",
        "s",
        "By route.",
        8,
        [
            (
                "histogram_quantile(0.95, sum by (le, route) (rate(grodt_http_request_duration_seconds_bucket[5m])))",
                "{{route}}",
            )
        ],
    ),
    (
        "timeseries",
        "In work",
        "none",
        "Requests being answered.",
        8,
        [("sum(grodt_http_requests_in_progress)", "requests")],
    ),
    (
        "timeseries",
        "Event loop lag",
        "s",
        "How late each replica's loop comes round.",
        8,
        [("grodt_event_loop_lag_seconds", "{{instance}}")],
    ),
    (
        "timeseries",
        "Memory",
        "bytes",
        "Resident, by process.",
        8,
        [('process_resident_memory_bytes{job=~"grodt|backup|prometheus|alertmanager|proxy"}', "{{job}} {{instance}}")],
    ),
    (
        "timeseries",
        "Processor time",
        "percentunit",
        "Share of one processor.",
        8,
        [
            (
                'rate(process_cpu_seconds_total{job=~"grodt|backup|prometheus|alertmanager|proxy"}[5m])',
                "{{job}} {{instance}}",
            )
        ],
    ),
    (
        "timeseries",
        "Log lines",
        "none",
        "A minute, by level.",
        8,
        [("sum by (level) (rate(grodt_log_messages_total[5m])) * 60", "{{level}}")],
    ),
    (
        "timeseries",
        "Checks",
        "s",
        "How long each takes.",
        8,
        [("max by (check) (grodt_health_check_duration_seconds)", "{{check}}")],
    ),
    (
        "timeseries",
        "Unclean starts",
        "none",
        "Within the guard's window; four more than one halt.",
        8,
        [("grodt_starts_recent", "{{instance}}")],
    ),
    ("timeseries", "Backup size", "bytes", "Of the newest.", 8, [("max(grodt_backup_last_size_bytes)", "bytes")]),
    (
        "timeseries",
        "Backups",
        "none",
        "There are; and failures.",
        8,
        [("max(grodt_backup_stored)", "stored"), ("max(grodt_backup_failures_total)", "failures")],
    ),
    (
        "timeseries",
        "Retention",
        "none",
        "Records and backups deleted, by kind.",
        8,
        [("max by (kind) (grodt_retention_deleted_total)", "{{kind}}")],
    ),
]

RESEARCH: list[Panel] = [
    (
        "stat",
        "Backtests stored",
        "none",
        "All strategies.",
        6,
        [("sum(max by (strategy) (grodt_backtests_stored))", "backtests")],
    ),
    (
        "stat",
        "Searches stored",
        "none",
        "All strategies.",
        6,
        [("sum(max by (strategy, state) (grodt_studies_stored))", "searches")],
    ),
    (
        "stat",
        "Trials in the ledger",
        "none",
        "What every result is deflated by.",
        6,
        [("sum(max by (strategy) (grodt_trials_stored))", "trials")],
    ),
    (
        "stat",
        "Bars stored",
        "none",
        "All series.",
        6,
        [("sum(max by (venue, symbol, timeframe) (grodt_data_bars_stored))", "bars")],
    ),
    (
        "timeseries",
        "Search: trials a second",
        "none",
        "Of the search that runs.",
        12,
        [("grodt_search_trials_per_second", "{{study}}")],
    ),
    (
        "timeseries",
        "Search: best objective",
        "none",
        "So far, in the search range only.",
        12,
        [("grodt_search_best_objective", "{{study}} {{strategy}}")],
    ),
    (
        "timeseries",
        "Search: progress",
        "percentunit",
        "Trials done of those planned.",
        12,
        [("grodt_search_trials_done / grodt_search_trials_planned", "{{study}}")],
    ),
    (
        "timeseries",
        "Search: undefined",
        "percentunit",
        "Trials without an objective.",
        12,
        [("grodt_search_trials_undefined / grodt_search_trials_done", "{{study}}")],
    ),
    (
        "bargauge",
        "Backtests by strategy",
        "none",
        "Stored.",
        12,
        [("max by (strategy) (grodt_backtests_stored)", "{{strategy}}")],
    ),
    (
        "bargauge",
        "Searches by state",
        "none",
        "Stored.",
        12,
        [("max by (strategy, state) (grodt_studies_stored)", "{{strategy}} {{state}}")],
    ),
    (
        "timeseries",
        "Age of the last bar",
        "s",
        "By series.",
        24,
        [("time() - max by (venue, symbol, timeframe) (grodt_data_last_bar_timestamp_seconds)", BARS)],
    ),
]

REGIMES: list[Panel] = [
    (
        "state-timeline",
        "Regime now",
        "none",
        "1 for the regime after the last bar, by the classifier's defaults.",
        24,
        [("max by (venue, symbol, timeframe, regime) (grodt_data_regime_now)", "{{symbol}} {{regime}}")],
    ),
    (
        "bargauge",
        "Share of the last 7 days",
        "percentunit",
        "Of 1-minute bars, by regime.",
        24,
        [("max by (venue, symbol, timeframe, regime) (grodt_data_regime_share)", "{{symbol}} {{regime}}")],
    ),
    (
        "timeseries",
        "Share over time",
        "percentunit",
        "How the mix of regimes moves.",
        24,
        [("max by (venue, symbol, timeframe, regime) (grodt_data_regime_share)", "{{symbol}} {{regime}}")],
    ),
]


def _metric(name: str) -> list[tuple[str, str]]:
    return [(f'max by (strategy, symbol, timeframe) (grodt_backtest_last_metric{{metric="{name}"}})', SERIES)]


STRATEGIES: list[Panel] = [
    (
        "bargauge",
        "Total return",
        "percentunit",
        "Of the newest backtest, after costs; not evidence, a glance.",
        12,
        _metric("total"),
    ),
    ("bargauge", "Maximum drawdown", "percentunit", "Of the newest backtest.", 12, _metric("max_drawdown")),
    ("bargauge", "Sharpe ratio", "none", "Daily returns, annual; absent where undefined.", 12, _metric("sharpe")),
    ("bargauge", "Sortino ratio", "none", "Daily returns, annual; absent where undefined.", 12, _metric("sortino")),
    ("bargauge", "Profit factor", "none", "Gross wins over gross losses, after costs.", 8, _metric("profit_factor")),
    ("bargauge", "Win rate", "percentunit", "Share of trades that earned something.", 8, _metric("win_rate")),
    ("bargauge", "Trades", "none", "Too few say nothing.", 8, _metric("trade_count")),
    (
        "timeseries",
        "Since the newest backtest",
        "s",
        "By strategy and series.",
        24,
        [("time() - max by (strategy, symbol, timeframe) (grodt_backtest_last_timestamp_seconds)", SERIES)],
    ),
]

DASHBOARDS = {
    "system": ("System", SYSTEM),
    "backtests-and-optimisation": ("Backtests and optimisation", RESEARCH),
    "regimes": ("Regimes", REGIMES),
    "strategies": ("Strategies", STRATEGIES),
}


def dashboard(uid: str, title: str, panels: list[Panel]) -> dict[str, Any]:
    """Return a dashboard; panels fill rows from left to right."""
    drawn, x, y, row_height = [], 0, 0, 0
    for number, (kind, name, unit, description, width, queries) in enumerate(panels, start=1):
        height = 4 if kind == "stat" else 8
        if x + width > COLUMNS:
            x, y = 0, y + row_height
        row_height = height
        drawn.append(
            {
                "id": number,
                "type": kind,
                "title": name,
                "description": description,
                "datasource": DATASOURCE,
                "gridPos": {"x": x, "y": y, "w": width, "h": height},
                "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
                "targets": [
                    {"refId": chr(ord("A") + i), "expr": query, "legendFormat": legend, "datasource": DATASOURCE}
                    for i, (query, legend) in enumerate(queries)
                ],
            }
        )
        x += width
    return {
        "uid": f"grodt-{uid}",
        "title": f"GRODT: {title}",
        "tags": ["grodt"],
        "schemaVersion": 41,
        "editable": False,
        "timezone": "utc",
        "refresh": "15s",
        "time": {"from": "now-6h", "to": "now"},
        "panels": drawn,
    }


def main() -> int:
    """Write the dashboards, or say which differ."""
    stale = []
    for uid, (title, panels) in DASHBOARDS.items():
        file = FOLDER / f"{uid}.json"
        text = json.dumps(dashboard(uid, title, panels), indent=2) + "\n"
        if "--check" not in sys.argv:
            file.write_text(text)
        elif not file.is_file() or file.read_text() != text:
            stale.append(file.name)
    if stale:
        sys.stderr.write(f"{', '.join(stale)}: not what scripts/dashboards.py makes; run it\n")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
