//! Durations as people write them: `90 days`, `24 hours`.

use jiff::SignedDuration;

/// Why a text is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not a whole number followed by a unit.
    #[error("not a duration such as \"90 days\" or \"24 hours\"")]
    Malformed,
    /// A month or a year has no fixed length.
    #[error("months and years have no fixed length, write it in days")]
    Calendar,
    /// Zero, or more than ten thousand days.
    #[error("a duration lies between one second and 10000 days")]
    Range,
}

/// Parses a whole number and a unit from seconds to weeks; several such pairs add up.
///
/// # Errors
/// See [`DurationError`].
pub fn parse_duration(text: &str) -> Result<SignedDuration, DurationError> {
    let mut rest = text.trim();
    let mut seconds: i64 = 0;
    if rest.is_empty() {
        return Err(DurationError::Malformed);
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: i64 = match rest[..digits].parse() {
            Ok(number) => number,
            Err(_) if digits > 0 => return Err(DurationError::Range),
            Err(_) => return Err(DurationError::Malformed),
        };
        rest = rest[digits..].trim_start();
        let letters = rest.len()
            - rest
                .trim_start_matches(|c: char| c.is_ascii_alphabetic())
                .len();
        let unit = match &rest[..letters] {
            "s" | "sec" | "secs" | "second" | "seconds" => 1,
            "m" | "min" | "mins" | "minute" | "minutes" => 60,
            "h" | "hour" | "hours" => 3600,
            "d" | "day" | "days" => 86_400,
            "w" | "week" | "weeks" => 7 * 86_400,
            "month" | "months" | "year" | "years" | "y" => return Err(DurationError::Calendar),
            _ => return Err(DurationError::Malformed),
        };
        seconds = number
            .checked_mul(unit)
            .and_then(|more| seconds.checked_add(more))
            .ok_or(DurationError::Range)?;
        rest = rest[letters..].trim_start_matches([' ', ',']);
    }
    if !(1..=10_000 * 86_400).contains(&seconds) {
        return Err(DurationError::Range);
    }
    Ok(SignedDuration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let seconds = |text| parse_duration(text).map(|d| d.as_secs());
        assert_eq!(seconds("90 days"), Ok(90 * 86_400));
        assert_eq!(seconds("24 hours"), Ok(86_400));
        assert_eq!(seconds("1 day 12h"), Ok(129_600));
        assert_eq!(seconds("30s"), Ok(30));
        assert_eq!(seconds("90"), Err(DurationError::Malformed));
        assert_eq!(seconds(""), Err(DurationError::Malformed));
        assert_eq!(seconds("-1 day"), Err(DurationError::Malformed));
        assert_eq!(seconds("3 months"), Err(DurationError::Calendar));
        assert_eq!(seconds("0 days"), Err(DurationError::Range));
        assert_eq!(
            seconds("99999999999999999999 days"),
            Err(DurationError::Range)
        );
    }
}
