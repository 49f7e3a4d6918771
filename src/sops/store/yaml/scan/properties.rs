//! Anchors, aliases, tags and directives.

use super::super::chars::{is_blank, is_blank_or_end, is_break_or_end, is_word, width};
use super::{Fault, Mark, RawTag, Scanner, TokenKind};

impl Scanner<'_> {
    pub(super) fn scan_anchor(&mut self, alias: bool) -> Result<(), Fault> {
        let start = self.mark;
        self.skip();
        let name = self.take_word();
        let ended = is_blank_or_end(self.source, self.pos)
            || matches!(
                self.at(0),
                b'?' | b':' | b',' | b']' | b'}' | b'%' | b'@' | b'`'
            );
        if name.is_empty() || !ended {
            return Err(self.fault(
                start,
                "an anchor or alias has a character that does not belong",
            ));
        }
        let kind = if alias {
            TokenKind::Alias(name)
        } else {
            TokenKind::Anchor(name)
        };
        self.push(kind, start, self.mark);
        Ok(())
    }

    fn take_word(&mut self) -> Vec<u8> {
        let start = self.pos;
        while is_word(self.at(0)) {
            self.skip();
        }
        self.source[start..self.pos].to_vec()
    }

    pub(super) fn scan_tag(&mut self) -> Result<(), Fault> {
        let start = self.mark;
        let tag = if self.at(1) == b'<' {
            self.skip();
            self.skip();
            let suffix = self.scan_tag_uri(None, start)?;
            if self.at(0) != b'>' {
                return Err(self.fault(start, "a tag lacks its '>'"));
            }
            self.skip();
            RawTag {
                handle: Vec::new(),
                suffix,
            }
        } else {
            let handle = self.scan_tag_handle(false, start)?;
            if handle.len() > 1 && handle.ends_with(b"!") {
                RawTag {
                    suffix: self.scan_tag_uri(None, start)?,
                    handle,
                }
            } else {
                let suffix = self.scan_tag_uri(Some(&handle), start)?;
                if suffix.is_empty() {
                    RawTag {
                        handle: Vec::new(),
                        suffix: handle,
                    }
                } else {
                    RawTag {
                        handle: b"!".to_vec(),
                        suffix,
                    }
                }
            }
        };
        if !is_blank_or_end(self.source, self.pos) {
            return Err(self.fault(start, "a tag has a character that does not belong"));
        }
        self.push(TokenKind::Tag(tag), start, self.mark);
        Ok(())
    }

    fn scan_tag_handle(&mut self, directive: bool, start: Mark) -> Result<Vec<u8>, Fault> {
        if self.at(0) != b'!' {
            return Err(self.fault(start, "a tag lacks its '!'"));
        }
        self.skip();
        let mut handle = vec![b'!'];
        handle.extend(self.take_word());
        if self.at(0) == b'!' {
            self.skip();
            handle.push(b'!');
        } else if directive && handle != b"!" {
            return Err(self.fault(start, "a tag directive lacks its '!'"));
        }
        Ok(handle)
    }

    /// Scans the rest of a tag behind `head`, whose `!` is left out.
    fn scan_tag_uri(&mut self, head: Option<&[u8]>, start: Mark) -> Result<Vec<u8>, Fault> {
        let mut uri = head.map_or_else(Vec::new, |head| head[1..].to_vec());
        let mut found = head.is_some();
        loop {
            match self.at(0) {
                b'%' => self.scan_uri_escape(start, &mut uri)?,
                octet if is_word(octet) || b";/?:@&=+$,.!~*'()[]".contains(&octet) => {
                    uri.push(octet);
                    self.skip();
                }
                _ => break,
            }
            found = true;
        }
        if found {
            Ok(uri)
        } else {
            Err(self.fault(start, "a tag has no name"))
        }
    }

    /// Decodes the `%xx` octets of one character.
    fn scan_uri_escape(&mut self, start: Mark, uri: &mut Vec<u8>) -> Result<(), Fault> {
        let mut left = None;
        loop {
            let digits = (self.at(0) == b'%')
                .then(|| Some((hex(self.at(1))?, hex(self.at(2))?)))
                .flatten();
            let Some((high, low)) = digits else {
                return Err(self.fault(start, "a tag has a broken '%' escape"));
            };
            let octet = high << 4 | low;
            let remaining = match left {
                None if matches!(octet, 0x80..=0xBF | 0xF8..) => {
                    return Err(self.fault(start, "a tag has an escape that is not UTF-8"));
                }
                None => width(octet),
                Some(_) if octet & 0xC0 != 0x80 => {
                    return Err(self.fault(start, "a tag has an escape that is not UTF-8"));
                }
                Some(left) => left,
            };
            uri.push(octet);
            for _ in 0..3 {
                self.skip();
            }
            if remaining == 1 {
                return Ok(());
            }
            left = Some(remaining - 1);
        }
    }

    pub(super) fn scan_directive(&mut self) -> Result<(), Fault> {
        let start = self.mark;
        self.skip();
        let name = self.take_word();
        if name.is_empty() || !is_blank_or_end(self.source, self.pos) {
            return Err(self.fault(start, "a directive has no proper name"));
        }
        let kind = match name.as_slice() {
            b"YAML" => {
                self.skip_blanks();
                let major = self.scan_version_number(start)?;
                if self.at(0) != b'.' {
                    return Err(self.fault(start, "a %YAML directive lacks its '.'"));
                }
                self.skip();
                TokenKind::VersionDirective {
                    major,
                    minor: self.scan_version_number(start)?,
                }
            }
            b"TAG" => {
                self.skip_blanks();
                let handle = self.scan_tag_handle(true, start)?;
                if !is_blank(self.source, self.pos) {
                    return Err(self.fault(start, "a %TAG directive lacks a blank"));
                }
                self.skip_blanks();
                let prefix = self.scan_tag_uri(None, start)?;
                if !is_blank_or_end(self.source, self.pos) {
                    return Err(self.fault(
                        start,
                        "a %TAG directive has a character that does not belong",
                    ));
                }
                TokenKind::TagDirective { handle, prefix }
            }
            _ => return Err(self.fault(start, "unknown directive")),
        };
        let end = self.mark;
        self.skip_blanks();
        if self.at(0) == b'#' {
            while !is_break_or_end(self.source, self.pos) {
                self.skip();
            }
        }
        if !is_break_or_end(self.source, self.pos) {
            return Err(self.fault(start, "a directive has text behind it"));
        }
        self.skip_line();
        self.push(kind, start, end);
        Ok(())
    }

    fn scan_version_number(&mut self, start: Mark) -> Result<u8, Fault> {
        let mut value = None;
        for _ in 0..3 {
            if !self.at(0).is_ascii_digit() {
                break;
            }
            value = Some(value.unwrap_or(0) * 10 + u16::from(self.at(0) - b'0'));
            self.skip();
        }
        value
            .filter(|value| *value < 100)
            .and_then(|value| u8::try_from(value).ok())
            .ok_or_else(|| self.fault(start, "a %YAML directive has no proper version"))
    }

    pub(super) fn skip_blanks(&mut self) {
        while is_blank(self.source, self.pos) {
            self.skip();
        }
    }
}

/// Value of a hexadecimal digit.
pub(super) fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}
