//! Moments as a person writes them.

use anyhow::{Context, Result, bail};
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A moment in Unix milliseconds: a date or time (UTC where it names no offset), `yesterday`,
/// `today`, or so long before now: `36h`, `7d`, `2w`.
pub fn moment(text: &str, now: Timestamp) -> Result<i64> {
    let text = text.trim();
    let midnight = |date: Date| -> Result<Timestamp> {
        Ok(date.to_datetime(jiff::civil::Time::midnight()).to_zoned(TimeZone::UTC)?.timestamp())
    };
    let today = now.to_zoned(TimeZone::UTC).date();
    if text == "today" || text == "yesterday" {
        let date = if text == "today" { today } else { today.yesterday()? };
        return Ok(midnight(date)?.as_millisecond());
    }
    if let Some((number, hours)) = ['h', 'd', 'w']
        .into_iter()
        .zip([1, 24, 24 * 7])
        .find_map(|(unit, hours)| Some((text.strip_suffix(unit)?.parse::<i64>().ok()?, hours)))
    {
        let long = number.checked_mul(hours).filter(|h| (0..=24 * 36_600).contains(h));
        let long = long.with_context(|| format!("`{text}` is longer than a century"))?;
        return Ok((now - SignedDuration::from_hours(long)).as_millisecond());
    }
    if let Ok(date) = text.parse::<Date>()
        && text.len() <= 10
    {
        return Ok(midnight(date)?.as_millisecond());
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment.as_millisecond());
    }
    match text.parse::<DateTime>() {
        Ok(civil) => Ok(civil.to_zoned(TimeZone::UTC)?.timestamp().as_millisecond()),
        Err(_) => bail!(
            "`{text}` is no moment; write a date (2026-11-22), a time (2026-11-22T08:00:00Z), \
             `yesterday`, or how long ago (36h, 7d, 2w)"
        ),
    }
}
