//! The headers of requests: a version that the key must have, and a number that makes a retry safe.

use actix_web::http::header::{self, HeaderMap};
use quorate::machine::SessionId;

use super::answers::Problem;
use crate::numbers::decimal;

/// The session of a command.
pub const SESSION: &str = "Quorate-Session";
/// The command's number in its session.
pub const SEQUENCE: &str = "Quorate-Sequence";
/// The lowest number whose answer the client may still request.
pub const LOW_WATER: &str = "Quorate-Low-Water";

/// The condition for executing a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// No condition.
    None,
    /// The key must have this version; 0: it must be absent.
    Version(u64),
}

/// Parses `If-Match` and `If-None-Match`.
pub fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    let matches = text(headers, header::IF_MATCH.as_str())?;
    let matches_none = text(headers, header::IF_NONE_MATCH.as_str())?;
    match (matches, matches_none) {
        (None, None) => Ok(Condition::None),
        (None, Some("*")) => Ok(Condition::Version(0)),
        (Some(tag), None) => version(tag).map(Condition::Version),
        _ => Err(Problem::Bad("either If-Match: \"VERSION\" or If-None-Match: *".into())),
    }
}

fn version(tag: &str) -> Result<u64, Problem> {
    let digits = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(tag);
    decimal(digits).filter(|&version| version > 0).ok_or_else(|| {
        Problem::Bad(format!(
            "If-Match: {tag} is not one version: send the ETag of an earlier answer, \"17\""
        ))
    })
}

/// A command's position in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub session: SessionId,
    pub sequence: u64,
    pub low_water: u64,
}

/// Parses the session headers. Without a low-water mark only the latest command's answer is
/// retained.
pub fn place(headers: &HeaderMap) -> Result<Option<Place>, Problem> {
    let (session, sequence) = (number(headers, SESSION)?, number(headers, SEQUENCE)?);
    let low_water = number(headers, LOW_WATER)?;
    match (session, sequence, low_water) {
        (None, None, None) => Ok(None),
        (Some(session), Some(sequence), low_water) => {
            let low_water = low_water.unwrap_or(sequence);
            if low_water > sequence {
                return Err(Problem::Bad(format!("{LOW_WATER} is above {SEQUENCE}")));
            }
            Ok(Some(Place { session, sequence, low_water }))
        }
        _ => Err(Problem::Bad(format!(
            "{SESSION} and {SEQUENCE} go together; a session is opened with POST /sessions"
        ))),
    }
}

fn number(headers: &HeaderMap, name: &str) -> Result<Option<u64>, Problem> {
    let Some(text) = text(headers, name)? else { return Ok(None) };
    let number = decimal(text).filter(|&number| number > 0);
    number
        .map(Some)
        .ok_or_else(|| Problem::Bad(format!("{name}: {text} is not a number from 1 on")))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::Bad(format!("{name} is there twice")));
    }
    value.to_str().map(Some).map_err(|_| Problem::Bad(format!("{name} is not readable")))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(given: &[(&str, &str)]) -> HeaderMap {
        let pairs = given.iter().map(|&(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        });
        let mut map = HeaderMap::new();
        pairs.for_each(|(name, value)| map.append(name, value));
        map
    }

    fn wanted(given: &[(&str, &str)]) -> Option<Condition> {
        condition(&headers(given)).ok()
    }

    fn placed(given: &[(&str, &str)]) -> Option<Option<Place>> {
        place(&headers(given)).ok()
    }

    #[test]
    fn conditions_are_versions_or_refused() {
        assert_eq!(wanted(&[]), Some(Condition::None));
        assert_eq!(wanted(&[("if-match", "\"17\"")]), Some(Condition::Version(17)));
        assert_eq!(wanted(&[("If-Match", "17")]), Some(Condition::Version(17)));
        assert_eq!(wanted(&[("If-None-Match", "*")]), Some(Condition::Version(0)));
        for wrong in [
            &[("If-Match", "*")][..],
            &[("If-Match", "\"0\"")],
            &[("If-Match", "\"1\", \"2\"")],
            &[("If-None-Match", "\"1\"")],
            &[("If-Match", "1"), ("If-Match", "2")],
            &[("If-Match", "1"), ("If-None-Match", "*")],
            &[("If-Match", "\"+2\"")],
            &[("If-Match", "+2")],
            &[("If-Match", "\"02\"")],
            &[("If-Match", "\" 2\"")],
            &[("If-Match", "W/\"2\"")],
        ] {
            assert_eq!(wanted(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn sessions_have_all_their_numbers_or_none() {
        assert_eq!(placed(&[]), Some(None));
        let alone = Place { session: 3, sequence: 9, low_water: 9 };
        assert_eq!(placed(&[(SESSION, "3"), (SEQUENCE, "9")]), Some(Some(alone)));
        let marked = Place { low_water: 7, ..alone };
        let given = [(SESSION, "3"), (SEQUENCE, "9"), (LOW_WATER, "7")];
        assert_eq!(placed(&given), Some(Some(marked)));
        for wrong in [
            &[(SESSION, "3")][..],
            &[(SEQUENCE, "3")],
            &[(SESSION, "0"), (SEQUENCE, "1")],
            &[(SESSION, "1"), (SEQUENCE, "x")],
            &[(SESSION, "1"), (SEQUENCE, "+1")],
            &[(SESSION, "+1"), (SEQUENCE, "1")],
            &[(SESSION, "1"), (SEQUENCE, "2"), (LOW_WATER, "+1")],
            &[(SESSION, "1"), (SEQUENCE, "01")],
            &[(SESSION, "1"), (SEQUENCE, "2"), (LOW_WATER, "3")],
        ] {
            assert_eq!(placed(wrong), None, "{wrong:?}");
        }
    }
}
