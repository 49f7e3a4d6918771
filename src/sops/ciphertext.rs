//! The text form of an encrypted leaf: `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`.
//!
//! Source: sops 3.11.0 `aes/cipher.go`: a pattern anchored at the start only, each field greedy.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::sops::leaf::Kind;

const HEAD: &str = "ENC[AES256_GCM,data:";

/// A parsed token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The ciphertext, without the tag; as long as the plaintext.
    pub data: Vec<u8>,
    /// 32 bytes in every file that sops writes.
    pub iv: Vec<u8>,
    /// 16 bytes.
    pub tag: Vec<u8>,
    /// The type of the leaf; not authenticated by the tag.
    pub kind: Kind,
    /// How many bytes of the text the token takes; what follows is dropped.
    pub length: usize,
}

/// Why a text is no token.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// It does not look like one: plain text where a token is due.
    #[error("is not encrypted, though the file's selection says that it should be")]
    NotAToken,
    /// A field is no base64.
    #[error("holds a damaged token")]
    Damaged,
    /// The type is none of the format's.
    #[error("holds a token of unknown type")]
    UnknownType,
}

impl Token {
    /// Parses the token at the start of `text`.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let rest = text.strip_prefix(HEAD).ok_or(TokenError::NotAToken)?;
        let line = rest.split('\n').next().unwrap_or(rest);
        // Greedy fields: each one extends as far as the rest still allows.
        let fields = || {
            let line = line.get(..line.rfind(']')?)?;
            let kind_at = line.rfind(",type:")?;
            let tag_at = line[..kind_at].rfind(",tag:")?;
            let iv_at = line[..tag_at].rfind(",iv:")?;
            let data = &line[..iv_at];
            let iv = &line[iv_at + 4..tag_at];
            let tag = &line[tag_at + 5..kind_at];
            let kind = &line[kind_at + 6..];
            let filled = [data, iv, tag, kind].iter().all(|f| !f.is_empty());
            filled.then_some((data, iv, tag, kind, line.len()))
        };
        let (data, iv, tag, kind, end) = fields().ok_or(TokenError::NotAToken)?;
        let decode = |field: &str| STANDARD.decode(field).map_err(|_| TokenError::Damaged);
        Ok(Self {
            data: decode(data)?,
            iv: decode(iv)?,
            tag: decode(tag)?,
            kind: Kind::from_tag(kind).ok_or(TokenError::UnknownType)?,
            length: HEAD.len() + end + 1,
        })
    }

    /// Whether `text` starts like a token.
    pub fn is_likely(text: &[u8]) -> bool {
        text.starts_with(HEAD.as_bytes())
    }
}

/// Spells a token.
pub fn format(data: &[u8], iv: &[u8], tag: &[u8], kind: Kind) -> String {
    let mut out = String::with_capacity(data.len() * 4 / 3 + 140);
    out.push_str(HEAD);
    STANDARD.encode_string(data, &mut out);
    out.push_str(",iv:");
    STANDARD.encode_string(iv, &mut out);
    out.push_str(",tag:");
    STANDARD.encode_string(tag, &mut out);
    out.push_str(",type:");
    out.push_str(kind.tag());
    out.push(']');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_drops_what_follows() {
        let text = format(b"abc", &[1; 32], &[2; 16], Kind::Int);
        let token = Token::parse(&text).unwrap();
        assert_eq!(
            (token.data.as_slice(), token.kind),
            (b"abc".as_slice(), Kind::Int)
        );
        assert_eq!(token.length, text.len());
        let longer = Token::parse(&format!("{text} and more\nENC[]")).unwrap();
        assert_eq!(longer, token);
    }

    #[test]
    fn refuses_what_is_no_token() {
        let text = format(b"abc", &[1; 32], &[2; 16], Kind::Str);
        for bad in [
            "",
            "plain",
            &text[1..],
            &text[..text.len() - 1],
            &format!(" {text}"),
            "ENC[AES256_GCM,data:,iv:YQ==,tag:YQ==,type:str]",
        ] {
            assert_eq!(
                Token::parse(bad).unwrap_err(),
                TokenError::NotAToken,
                "{bad}"
            );
        }
        let unknown = text.replace("type:str", "type:zzz");
        assert_eq!(Token::parse(&unknown).unwrap_err(), TokenError::UnknownType);
        let damaged = text.replace("data:YWJj", "data:YW*j");
        assert_eq!(Token::parse(&damaged).unwrap_err(), TokenError::Damaged);
    }
}
