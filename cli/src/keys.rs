//! Keys in paths: arbitrary bytes, percent-encoded (RFC 3986 §2.1), with literal slashes.
//!
//! Parsing is stricter than in browsers: a malformed escape is refused, not taken literally.
//! Otherwise two similar spellings could name two keys.

/// Maximum length of a key, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;

/// The path prefix of the keys.
pub const PREFIX: &str = "/kv/";

/// The reason why a path names no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The path ends after the prefix.
    Empty,
    /// A `%` without two hexadecimal digits.
    Escape,
    /// The key is longer than [`MAX_KEY_BYTES`].
    TooLong,
}

/// Decodes the key that a request's path names. The path is as it was sent.
pub fn from_path(path: &str) -> Result<Vec<u8>, KeyError> {
    let mut rest = path.strip_prefix(PREFIX).unwrap_or_default().bytes();
    let mut key = Vec::new();
    while let Some(byte) = rest.next() {
        let byte = if byte == b'%' { escaped(&mut rest).ok_or(KeyError::Escape)? } else { byte };
        if key.len() == MAX_KEY_BYTES {
            return Err(KeyError::TooLong);
        }
        key.push(byte);
    }
    if key.is_empty() { Err(KeyError::Empty) } else { Ok(key) }
}

/// The byte that the next two hexadecimal digits encode.
fn escaped(rest: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let mut digit = || char::from(rest.next()?).to_digit(16);
    let (high, low) = (digit()?, digit()?);
    u8::try_from(high * 16 + low).ok()
}

/// The path of a key. Dots are escaped too, because clients and proxies normalize `/../`.
pub fn to_path(key: &[u8]) -> String {
    let mut path = PREFIX.to_owned();
    for &byte in key {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => path.push(byte.into()),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_comes_back_from_its_path() {
        for byte in 0..=u8::MAX {
            let key = [b'a', byte, byte];
            assert_eq!(from_path(&to_path(&key)).as_deref(), Ok(&key[..]), "{byte}");
        }
        assert_eq!(from_path("/kv/a/b%2fc").as_deref(), Ok(&b"a/b/c"[..]));
    }

    #[test]
    fn what_names_no_key_is_refused() {
        assert_eq!(from_path("/kv/"), Err(KeyError::Empty));
        for path in ["/kv/%", "/kv/%1", "/kv/%zz", "/kv/%+1"] {
            assert_eq!(from_path(path), Err(KeyError::Escape), "{path}");
        }
        let longest = "x".repeat(MAX_KEY_BYTES);
        assert!(from_path(&format!("/kv/{longest}")).is_ok());
        assert_eq!(from_path(&format!("/kv/{longest}x")), Err(KeyError::TooLong));
    }
}
