//! Points in time as go-yaml v3 reads them (by Go's `time.Parse`) and prints them.
//!
//! Source: go-yaml v3 `resolve.go` (`allowedTimestampFormats`), Go `time/format.go`.

use zeroize::Zeroizing;

/// RFC 3339 text with nanoseconds as needed and the offset as written, or none if `text` is no time.
pub(super) fn canonical(text: &str) -> Option<String> {
    // Every form starts with four digits and a dash.
    if text.len() < 8
        || !text.as_bytes()[..4].iter().all(u8::is_ascii_digit)
        || text.as_bytes()[4] != b'-'
    {
        return None;
    }
    let year: u16 = text[..4].parse().ok()?;
    let mut rest = &text[5..];
    let month = number(&mut rest)?;
    rest = rest.strip_prefix('-')?;
    let day = number(&mut rest)?;
    if !(1..=12).contains(&month) || day < 1 || day > days(year, month) {
        return None;
    }
    let date = Zeroizing::new(format!("{year:04}-{month:02}-{day:02}"));
    if rest.is_empty() {
        return Some(format!("{}T00:00:00Z", *date));
    }
    let zoned = rest.starts_with(['T', 't']);
    if zoned {
        rest = &rest[1..];
    } else {
        rest = rest.strip_prefix(' ')?.trim_start_matches(' ');
    }
    let hour = number(&mut rest)?;
    rest = rest.strip_prefix(':')?;
    let minute = number(&mut rest)?;
    rest = rest.strip_prefix(':')?;
    let second = number(&mut rest)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let fraction = fraction(&mut rest);
    let zone = if zoned {
        zone(&mut rest)?
    } else {
        "Z".to_owned()
    };
    rest.is_empty().then(|| {
        format!(
            "{}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}",
            *date
        )
    })
}

/// One or two digits.
fn number(rest: &mut &str) -> Option<u8> {
    let length = rest.bytes().take(2).take_while(u8::is_ascii_digit).count();
    let (digits, after) = rest.split_at(length);
    *rest = after;
    digits.parse().ok()
}

/// `.123` or `,123`, cut at nanoseconds and printed without final zeros; empty if there is none.
fn fraction(rest: &mut &str) -> String {
    let Some(digits) = rest.strip_prefix(['.', ',']) else {
        return String::new();
    };
    let length = digits.bytes().take_while(u8::is_ascii_digit).count();
    if length == 0 {
        return String::new();
    }
    let nanos = digits[..length.min(9)].trim_end_matches('0');
    *rest = &digits[length..];
    if nanos.is_empty() {
        String::new()
    } else {
        format!(".{nanos}")
    }
}

/// `Z` or `±hh:mm`; a zero offset is `Z`.
fn zone(rest: &mut &str) -> Option<String> {
    if let Some(after) = rest.strip_prefix('Z') {
        *rest = after;
        return Some("Z".to_owned());
    }
    let octets = rest.as_bytes();
    if octets.len() < 6 || octets[3] != b':' || !matches!(octets[0], b'+' | b'-') {
        return None;
    }
    let two = |at: usize| -> Option<u16> {
        let digits = octets.get(at..at + 2)?;
        digits
            .iter()
            .all(u8::is_ascii_digit)
            .then(|| u16::from(digits[0] - b'0') * 10 + u16::from(digits[1] - b'0'))
    };
    let (hours, minutes) = (two(1)?, two(4)?);
    if hours > 24 || minutes > 60 {
        return None;
    }
    let sign = char::from(octets[0]);
    *rest = &rest[6..];
    let total = hours * 60 + minutes;
    Some(if total == 0 {
        "Z".to_owned()
    } else {
        format!("{sign}{:02}:{:02}", total / 60, total % 60)
    })
}

fn days(year: u16, month: u8) -> u8 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}
