//! Addresses on the command line, and the messages for malformed ones.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::numbers::decimal;

/// A host and a port: `127.0.0.1:7001`, `node-1.example:7001`, `[::1]:7001`. Host names are
/// compared in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    host: String,
    pub port: u16,
}

impl HostPort {
    /// The same host with another port.
    pub fn with_port(&self, port: u16) -> HostPort {
        HostPort { host: self.host.clone(), port }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<HostPort, String> {
        let refused = |why: &str| {
            Err(format!(
                "{text:?} {why}: write HOST:PORT, such as 127.0.0.1:7001 or localhost:7001"
            ))
        };
        if text.contains("://") {
            return refused("is a URL");
        }
        let Some((host, port)) = text.rsplit_once(':') else { return refused("has no port") };
        let Some(port) = decimal(port).and_then(|port| u16::try_from(port).ok()) else {
            return refused("has no port from 0 to 65535 at its end");
        };
        match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(inner) if inner.is_none_or(|inner| inner.parse::<Ipv6Addr>().is_err()) => {
                refused("has brackets, but no IPv6 address in them")
            }
            None if host.is_empty() => refused("has no host"),
            None if host.contains(':') => {
                refused("has an IPv6 address without its brackets, [::1]:7001")
            }
            None if !host.bytes().all(is_of_a_name) => refused("has no host before its port"),
            _ => Ok(HostPort { host: host.to_ascii_lowercase(), port }),
        }
    }
}

fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._".contains(&byte)
}

/// The base URL of an HTTP service: `HOST:PORT`, `http://HOST:PORT`, or a URL with a path under
/// which the service is mounted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Base {
    at: HostPort,
    /// Empty, or with a leading slash and no trailing one.
    path: String,
}

impl Base {
    /// The URL of `path`, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{self}{path}")
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.at, self.path)
    }
}

impl FromStr for Base {
    type Err = String;

    fn from_str(text: &str) -> Result<Base, String> {
        let example = "write HOST:PORT or http://HOST:PORT/PATH, such as 127.0.0.1:8001";
        let (scheme, rest) = text.split_once("://").map_or((None, text), |(s, r)| (Some(s), r));
        if let Some(other) = scheme.filter(|scheme| !scheme.eq_ignore_ascii_case("http")) {
            return Err(format!("{text:?}: {other} is not spoken here, only http: {example}"));
        }
        if rest.contains(['?', '#']) {
            return Err(format!("{text:?} has a query or a fragment: {example}"));
        }
        let (at, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        // Port 80 is the default of a URL without a port.
        let has_port = at.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        let at = if scheme.is_some() && !has_port { format!("{at}:80") } else { at.to_owned() };
        let at = at.parse().map_err(|_| format!("{text:?} is no address: {example}"))?;
        Ok(Base { at, path: path.trim_end_matches('/').to_owned() })
    }
}

/// Parses the HTTP address of a member: like [`Base`], but without a path.
pub fn http_address(text: &str) -> Result<HostPort, String> {
    let base: Base = text.parse()?;
    if base.path.is_empty() {
        return Ok(base.at);
    }
    Err(format!("{text:?} has a path: write HOST:PORT, such as 127.0.0.1:8001 or localhost:8001"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses() {
        for good in ["127.0.0.1:7001", "localhost:0", "node-1.example:65535", "[::1]:7001"] {
            assert_eq!(good.parse::<HostPort>().map(|at| at.to_string()), Ok(good.to_owned()));
        }
        let same: [HostPort; 2] = ["Node:1", "node:1"].map(|text| text.parse().unwrap());
        assert_eq!(same[0], same[1]);
        for wrong in [
            "",
            "7001",
            "h",
            ":1",
            "h:",
            "h:+1",
            "h:65536",
            "::1:7001",
            "[::1]",
            "[x]:1",
            "a b:1",
            "h/p:1",
            "http://h:1",
            "u@h:1",
        ] {
            let said = wrong.parse::<HostPort>().expect_err(wrong);
            assert!(said.contains("HOST:PORT") && said.contains(wrong), "{said}");
        }
    }

    #[test]
    fn urls_are_taken_where_http_is_meant() {
        let url = |text: &str| text.parse::<Base>().map(|base| base.url("/status"));
        for (given, expected) in [
            ("localhost:8001", "http://localhost:8001/status"),
            ("http://localhost:8001", "http://localhost:8001/status"),
            ("HTTP://h:8001/", "http://h:8001/status"),
            ("http://h/raft", "http://h:80/raft/status"),
            ("h:8001/a/raft/", "http://h:8001/a/raft/status"),
            ("http://[::1]/raft", "http://[::1]:80/raft/status"),
        ] {
            assert_eq!(url(given).as_deref(), Ok(expected), "{given}");
        }
        for wrong in
            ["h", "https://h:1", "ftp://h:1", "http://", "h:1?x", "http://h:1/a#b", "/raft"]
        {
            assert!(url(wrong).is_err_and(|said| said.contains("HOST:PORT")), "{wrong}");
        }
        assert_eq!(http_address("http://h:1/").map(|at| at.to_string()), Ok("h:1".to_owned()));
        assert!(http_address("http://h:1/raft").is_err_and(|said| said.contains("path")));
    }
}
