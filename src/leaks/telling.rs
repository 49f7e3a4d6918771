//! Whether a text is evidence by itself. Documents hold host names, time zones and user names as well as passwords; those
//! stand in every other log without having been leaked.

use crate::exec::patterns::SHORTEST;

/// From how many bytes on a line of a longer value is looked for.
pub const SHORTEST_LINE: usize = 16;

/// Whether nobody writes this by chance: no word, number, name with a number, path, host name, or address without a password.
pub fn is_telling(text: &[u8]) -> bool {
    if text.len() < SHORTEST {
        return false;
    }
    let count = |is: fn(&u8) -> bool| text.iter().filter(|b| is(b)).count();
    let upper = count(u8::is_ascii_uppercase);
    let lower = count(|b| b.is_ascii_lowercase() || !b.is_ascii());
    let digits = count(u8::is_ascii_digit);
    if digits == 0 {
        let signs = text
            .iter()
            .filter(|b| b.is_ascii() && !b.is_ascii_alphanumeric())
            .any(|b| !b"./:-_@, \t\r\n".contains(b));
        return upper > 0 && lower > 0 && signs;
    }
    upper + lower >= 2 && !is_address(text) && !is_numbered_name(text)
}

/// Whether a line of a longer value is evidence without its neighbours: one word, as in an armoured key.
pub fn is_telling_line(line: &[u8]) -> bool {
    line.len() >= SHORTEST_LINE && !line.iter().any(u8::is_ascii_whitespace) && is_telling(line)
}

/// `registry.example.com:5000/app`, `/var/lib/app2`, `redis:6379`; not `postgres://user:pass@host`.
fn is_address(text: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"./:_-@,".contains(b);
    if !text.iter().all(plain) {
        return false;
    }
    let has = |sign: u8| text.contains(&sign);
    let with_user = has(b'@') && text.windows(3).any(|three| three == b"://");
    let port = text.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let ends_in_port = port > 0 && text.len() > port && text[text.len() - port - 1] == b':';
    !with_user && (has(b'.') || has(b'/') || has(b'@') || ends_in_port)
}

/// `server04`, `postgres-16`.
fn is_numbered_name(text: &[u8]) -> bool {
    let digits = text.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let name = &text[..text.len() - digits];
    let capital = name.first().is_some_and(u8::is_ascii_uppercase);
    digits <= 4
        && name[usize::from(capital)..]
            .iter()
            .all(|b| b.is_ascii_lowercase() || b"-_".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_told_from_names() {
        for text in [
            "hunter2-hunter2",
            "Tr0ub4dor&3",
            "3f8a9b2c4d5e6f70",
            "SuperSecretPass!",
            "xoxb-12345-abcdef",
            "postgres://app:pa55@db:5432/app",
            "eyJhbGciOiJIUzI1NiJ9.e30.Zm9v",
            "pässw0rt-lang",
        ] {
            assert!(is_telling(text.as_bytes()), "{text}");
        }
        for text in [
            "postgres",
            "Administrator",
            "America/New_York",
            "smtp.gmail.com",
            "server04",
            "postgres-16",
            "/var/lib/app2/data",
            "https://vault.example4.com:8443/ui",
            "redis-cache:6379",
            "172.16.0.0/12",
            "20261125",
            "2026-11-25",
            "me2@example.com",
            "short1",
        ] {
            assert!(!is_telling(text.as_bytes()), "{text}");
        }
    }
}
