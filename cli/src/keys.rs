//! Keys in paths: any bytes, percent-encoded (RFC 3986 §2.1), slashes as they are.
//!
//! It is stricter than browsers are: an escape that is none is refused, not taken literally. Otherwise two spellings that
//! look alike could name two keys.

/// A key has at most so many bytes.
pub const MAX_KEY_BYTES: usize = 1024;

/// Under this path the keys are.
pub const PREFIX: &str = "/kv/";

/// Why a path names no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// Nothing stands behind the prefix.
    Empty,
    /// A `%` without two hexadecimal digits.
    Escape,
    /// More than [`MAX_KEY_BYTES`].
    TooLong,
}

/// The key that a path names, as it stands in the request.
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

/// The byte that the next two digits say.
fn escaped(rest: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let mut digit = || char::from(rest.next()?).to_digit(16);
    let (high, low) = (digit()?, digit()?);
    u8::try_from(high * 16 + low).ok()
}

/// The path of a key. Dots are escaped too: clients and proxies shorten `/../`.
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
