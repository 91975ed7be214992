"""Which backups are kept: each rule by hand, and what must hold whatever the times are."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from grodtd.domain.retention import BackupPolicy, backups_to_keep

START = datetime(2026, 1, 1, 2, 30, tzinfo=UTC)  # a Thursday
NIGHTS = [START + timedelta(days=i) for i in range(90)]


def test_a_quarter_of_nights() -> None:
    kept = backups_to_keep(NIGHTS, BackupPolicy(daily=3, weekly=2, monthly=2))
    # the last night is 2026-03-31, a Tuesday; ISO weeks end on Sundays; months on 02-28 and 03-31
    expected = ["2026-03-31", "2026-03-30", "2026-03-29", "2026-02-28"]
    assert sorted(kept, reverse=True) == [datetime.fromisoformat(f"{day}T02:30:00+00:00") for day in expected]


def test_the_newest_of_a_day_counts() -> None:
    twice = [START, START + timedelta(hours=5)]
    assert backups_to_keep(twice, BackupPolicy(1, 0, 0)) == {twice[1]}


def test_the_newest_verified_one_is_never_given_up() -> None:
    kept = backups_to_keep(NIGHTS, BackupPolicy(1, 0, 0), verified=NIGHTS[:10])
    assert kept == {NIGHTS[-1], NIGHTS[9]}


def test_a_verified_one_stands_for_its_day_and_month() -> None:
    # One more was made by hand in the morning of each day and never proven.
    by_hand = [night + timedelta(hours=7) for night in NIGHTS]
    kept = backups_to_keep([*NIGHTS, *by_hand], BackupPolicy(daily=2, weekly=0, monthly=2), verified=NIGHTS)
    february = datetime(2026, 2, 28, 2, 30, tzinfo=UTC)
    assert kept == {by_hand[-1], NIGHTS[-1], NIGHTS[-2], february}


seconds = st.integers(1_577_836_800, 1_893_456_000)  # 2020 to 2030
times = st.lists(seconds.map(lambda at: datetime.fromtimestamp(at, UTC)), unique=True)
policies = st.builds(BackupPolicy, st.integers(1, 10), st.integers(0, 10), st.integers(0, 10))


@given(times, policies, st.data())
def test_what_holds_always(given_times: list[datetime], policy: BackupPolicy, data: st.DataObject) -> None:
    verified = data.draw(st.sets(st.sampled_from(given_times))) if given_times else set()
    kept = backups_to_keep(given_times, policy, verified)
    assert kept <= set(given_times)
    if verified:
        assert max(verified) in kept
    assert len(kept) <= 2 + policy.daily + policy.weekly + policy.monthly
    if given_times:
        assert max(given_times) in kept
    # pruning twice is pruning once, and one more night never brings an old one back
    assert backups_to_keep(sorted(kept), policy, verified) == kept
