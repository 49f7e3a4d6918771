//! RFC 3339 times as text: checked and brought to the one spelling that Go prints.

/// The canonical spelling: fraction without trailing zeros, offset as given, `Z` for UTC. None if it is no RFC 3339.
///
/// Source: Go `time.Parse(time.RFC3339, …)` and `Time.MarshalText`.
pub fn canonical(text: &str) -> Option<String> {
    split(text).map(|(base, fraction, offset)| {
        let fraction = fraction.get(..9).unwrap_or(fraction).trim_end_matches('0');
        let dot = if fraction.is_empty() { "" } else { "." };
        format!("{base}{dot}{fraction}{offset}")
    })
}

/// The same in whole seconds, the fraction dropped.
pub fn whole_seconds(text: &str) -> Option<String> {
    split(text).map(|(base, _, offset)| format!("{base}{offset}"))
}

/// Now, as sops writes `lastmodified`: UTC, whole seconds.
pub fn last_modified(now: jiff::Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Date and time, the digits of the fraction, and the offset (`Z` if it is zero).
fn split(text: &str) -> Option<(&str, &str, &str)> {
    let base = text.get(..19)?;
    let shape = base.bytes().enumerate().all(|(i, b)| match i {
        4 | 7 => b == b'-',
        10 => b == b'T',
        13 | 16 => b == b':',
        _ => b.is_ascii_digit(),
    });
    let number = |from: usize, to: usize| base.get(from..to)?.parse::<u32>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    let clock = number(11, 13)? < 24 && number(14, 16)? < 60 && number(17, 19)? < 60;
    if !shape || day == 0 || day > days || !clock {
        return None;
    }
    let rest = &text[19..];
    let (fraction, offset) = match rest.strip_prefix(['.', ',']) {
        Some(tail) => {
            let end = tail.find(|c: char| !c.is_ascii_digit())?;
            if end == 0 {
                return None;
            }
            tail.split_at(end)
        }
        None => ("", rest),
    };
    Some((base, fraction, self::offset(offset)?))
}

fn offset(text: &str) -> Option<&str> {
    match text.as_bytes() {
        [b'Z'] => Some(text),
        [b'+' | b'-', h @ .., b':', m1, m2] if h.len() == 2 => {
            let digits = h.iter().chain([m1, m2]).all(u8::is_ascii_digit);
            let hours: u32 = text.get(1..3)?.parse().ok()?;
            let minutes: u32 = text.get(4..6)?.parse().ok()?;
            if !digits || hours > 23 || minutes > 59 {
                return None;
            }
            Some(if hours == 0 && minutes == 0 {
                "Z"
            } else {
                text
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_times_as_go_does() {
        for (given, canonical_text) in [
            ("2024-01-02T03:04:05Z", Some("2024-01-02T03:04:05Z")),
            (
                "2024-01-02T03:04:05.120+02:00",
                Some("2024-01-02T03:04:05.12+02:00"),
            ),
            (
                "2024-02-29T00:00:00.000+00:00",
                Some("2024-02-29T00:00:00Z"),
            ),
            ("2023-02-29T00:00:00Z", None),
            ("2024-01-02 03:04:05Z", None),
            ("2024-01-02T24:04:05Z", None),
            ("2024-01-02T03:04:05", None),
            ("2024-01-02T03:04:05.Z", None),
            ("2024-01-02T03:04:05+2:00", None),
            ("", None),
            ("ääääääääääääääääääää", None),
        ] {
            assert_eq!(canonical(given).as_deref(), canonical_text, "{given}");
        }
        assert_eq!(
            whole_seconds("2024-01-02T03:04:05.5Z").unwrap(),
            "2024-01-02T03:04:05Z"
        );
        assert_eq!(
            last_modified(jiff::Timestamp::UNIX_EPOCH),
            "1970-01-01T00:00:00Z"
        );
    }
}
