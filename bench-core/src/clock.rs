//! Wall clock and run ids.
//!
//! Wall time only labels a run and its rows, but for stamps of the kernel, which are turned into moments at once
//! ([`moment_of`]). Every duration comes from `tokio::time::Instant`, which is monotonic and
//! which tests can pause. This is the only place that asks the system for the time of day.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Milliseconds since 1970; 0 on a machine whose clock is set before that.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The moment of a stamp of the wall clock that is just past: now, less its age. `None` for one of the future, or of more
/// than a minute ago: somebody has set the clock meanwhile.
#[must_use]
pub fn moment_of(since_1970: Duration) -> Option<Instant> {
    const OLDEST: Duration = Duration::from_mins(1);
    let age = SystemTime::now().duration_since(UNIX_EPOCH.checked_add(since_1970)?).ok()?;
    Instant::now().checked_sub(age).filter(|_| age < OLDEST)
}

/// A new run id: start time in UTC and 32 random bits, `20261122T205046Z-1f9a03c2`. Sorts by start.
#[must_use]
pub fn new_run_id(started_unix_ms: u64) -> String {
    // The standard library's hasher keys are the system's randomness; an id needs no more than that.
    let random = RandomState::new().build_hasher().finish() >> 32;
    format!("{}-{random:08x}", utc_compact(started_unix_ms))
}

/// Nanoseconds from `start` to `end`; `None` if `end` lies before `start`.
#[must_use]
pub fn elapsed_ns(start: Instant, end: Instant) -> Option<u64> {
    let span = end.checked_duration_since(start)?;
    Some(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}

/// `YYYY-MM-DD` of a moment, UTC.
#[must_use]
pub fn utc_date(unix_ms: u64) -> String {
    let (year, month, day) = civil_date(unix_ms / 86_400_000);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `YYYYMMDDThhmmssZ` of a moment, proleptic Gregorian.
fn utc_compact(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let (year, month, day) = civil_date(seconds / 86_400);
    let in_day = seconds % 86_400;
    let (hour, minute, second) = (in_day / 3600, in_day / 60 % 60, in_day % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Year, month and day of a day counted from 1970-01-01. Walks years and months: a run has one start, so plain
/// code beats fast code.
fn civil_date(mut days: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    while days >= year_days(year) {
        days -= year_days(year);
        year += 1;
    }
    let february = year_days(year) - 337;
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

/// Days from 1970-01-01 to a day of the calendar; `None` for a day that is in none, and for years before 1970 and
/// after 9999.
#[must_use]
pub fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    let before: u64 = (1970..year).map(year_days).sum();
    (before..before + year_days(year)).find(|&days| civil_date(days) == (year, month, day))
}

fn year_days(year: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if leap { 366 } else { 365 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_just_past_is_a_moment_and_one_of_another_time_is_not() {
        let age = Duration::from_millis(20);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let before = Instant::now();
        let moment = moment_of(wall.checked_sub(age).unwrap()).unwrap();
        assert!(moment <= Instant::now().checked_sub(age).unwrap());
        assert!(moment >= before.checked_sub(age + Duration::from_secs(1)).unwrap());
        for other in [wall + Duration::from_hours(1), wall.checked_sub(Duration::from_hours(1)).unwrap()] {
            assert_eq!(moment_of(other), None);
        }
        assert_eq!(moment_of(Duration::MAX), None);
    }

    #[test]
    fn dates_follow_the_calendar() {
        for (unix_s, expected) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (951_868_800, "20000301T000000Z"),
            (1_798_761_599, "20261231T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(utc_compact(unix_s * 1000), expected);
        }
    }

    #[test]
    fn days_are_found_again() {
        for (days, date) in [(0, "1970-01-01"), (11_016, "2000-02-29"), (20_780, "2026-11-23")] {
            assert_eq!(utc_date(days * 86_400_000), date);
            let part = |at: std::ops::Range<usize>| date[at].parse().unwrap();
            assert_eq!(days_since_1970(part(0..4), part(5..7), part(8..10)), Some(days));
        }
        assert_eq!(days_since_1970(2026, 2, 29), None);
        assert_eq!(days_since_1970(2026, 13, 1), None);
        assert_eq!(days_since_1970(u64::MAX, 1, 1), None);
    }

    #[test]
    fn ids_of_one_moment_differ() {
        let ids: std::collections::HashSet<_> = (0..64).map(|_| new_run_id(0)).collect();
        assert!(ids.len() > 60, "only {} different ids", ids.len());
        assert!(ids.iter().all(|id| id.starts_with("19700101T000000Z-") && id.len() == 25));
    }

    #[tokio::test(start_paused = true)]
    async fn elapsed_refuses_to_go_back() {
        let start = Instant::now();
        tokio::time::advance(Duration::from_millis(3)).await;
        assert_eq!(elapsed_ns(start, Instant::now()), Some(3_000_000));
        assert_eq!(elapsed_ns(Instant::now(), start), None);
    }
}
