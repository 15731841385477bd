//! What a member can be told, and what it makes of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use quorate::node::Config;
use quorate::raft::NodeId;

use crate::demo::{Failure, Size, Span};
use crate::keys::MAX_KEY_BYTES;

/// What a command needs beside its key and value: headers and the marks between.
const COMMAND_OVERHEAD: usize = 256;

/// Options of `quorate serve`.
#[derive(clap::Args, Clone)]
pub struct Options {
    /// This member's id
    #[arg(long)]
    pub id: NodeId,
    /// All members, this one too, with the addresses at which they reach each other: 1=127.0.0.1:7001,2=127.0.0.1:7002,..
    #[arg(long, value_name = "ID=HOST:PORT,..")]
    pub peers: Addresses,
    /// Where this member keeps its log and its snapshots. An id that took part before must find its directory again
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Where to serve HTTP
    #[arg(long, value_name = "HOST:PORT")]
    pub http: SocketAddr,
    /// Where the other members serve HTTP; unless given, their HTTP port is taken to be as far from their port in --peers
    /// as it is here
    #[arg(long, value_name = "ID=HOST:PORT,..")]
    pub http_peers: Option<Addresses>,
    /// Where to listen for the other members; unless given, at this member's address in --peers
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Pass requests on to the leader instead of redirecting the client there
    #[arg(long)]
    pub forward: bool,
    /// The cluster's id: members of different clusters refuse each other
    #[arg(long, default_value_t = 0)]
    pub cluster: u64,
    /// Take a snapshot when so much log has been applied since the last. Below 4MiB the largest value gets smaller, too
    #[arg(long, default_value = "64MiB", value_name = "SIZE")]
    pub snapshot_bytes: Size,
    /// A leader lets the others hear of it this often
    #[arg(long, default_value_t = 100, value_name = "MS")]
    pub heartbeat_ms: u64,
    /// A member without a leader for so long asks for votes; each time another length of this range
    #[arg(long, default_value = "500..1000", value_name = "MIN..MAX")]
    pub election_ms: Range,
    /// A command that is not committed for so long is answered "unknown"
    #[arg(long, default_value = "10s", value_name = "TIME")]
    pub timeout: Span,
}

impl Options {
    /// The node's configuration.
    pub fn config(&self) -> Config {
        let config = Config {
            heartbeat_interval: Duration::from_millis(self.heartbeat_ms),
            election_timeout_min: Duration::from_millis(self.election_ms.0),
            election_timeout_max: Duration::from_millis(self.election_ms.1),
            proposal_timeout: self.timeout.0,
            ..Config::default()
        };
        config.with_snapshot_bytes(self.snapshot_bytes.0)
    }

    /// This member's address in the table of all.
    pub fn own_address(&self) -> Result<&str, Failure> {
        let own = self.peers.0.get(&self.id).map(String::as_str);
        own.ok_or_else(|| {
            let (id, ids) = (self.id, self.peers.ids());
            Failure(format!("--peers names {ids}, not {id}: all members stand there, this one too"))
        })
    }

    /// Where members serve HTTP, as far as can be told.
    pub fn http_addresses(&self) -> BTreeMap<NodeId, String> {
        match &self.http_peers {
            Some(given) => given.0.clone(),
            None => self.derived_addresses(),
        }
    }

    /// At every member the HTTP port is as far from the other as here.
    fn derived_addresses(&self) -> BTreeMap<NodeId, String> {
        let port = |address: &str| address.rsplit_once(':')?.1.parse::<i64>().ok();
        let Some(own) = self.peers.0.get(&self.id).and_then(|own| port(own)) else {
            return BTreeMap::new();
        };
        let distance = i64::from(self.http.port()) - own;
        let derived = |(id, address): (&NodeId, &String)| {
            let moved = u16::try_from(port(address)? + distance).ok().filter(|&port| port > 0)?;
            Some((*id, format!("{}:{moved}", address.rsplit_once(':')?.0)))
        };
        self.peers.0.iter().filter_map(derived).collect()
    }
}

/// How large a value may be, so that its command fits.
pub fn value_bytes(config: &Config) -> usize {
    config.command_bytes.saturating_sub(MAX_KEY_BYTES + COMMAND_OVERHEAD)
}

/// Members and where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses(pub BTreeMap<NodeId, String>);

impl Addresses {
    /// The ids, to be read.
    pub fn ids(&self) -> String {
        let ids: Vec<String> = self.0.keys().map(NodeId::to_string).collect();
        ids.join(", ")
    }
}

impl FromStr for Addresses {
    type Err = String;

    fn from_str(list: &str) -> Result<Addresses, String> {
        let mut addresses = BTreeMap::new();
        for item in list.split(',').map(str::trim) {
            let (id, address) = member(item)
                .ok_or_else(|| format!("{item:?} is no member: write 1=127.0.0.1:7001"))?;
            if addresses.insert(id, address.to_owned()).is_some() {
                return Err(format!("member {id} is there twice"));
            }
        }
        Ok(Addresses(addresses))
    }
}

fn member(item: &str) -> Option<(NodeId, &str)> {
    let (id, address) = item.split_once('=')?;
    let (host, port) = address.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    let id = id.parse().ok().filter(|&id| id > 0)?;
    (!host.is_empty()).then_some((id, address))
}

/// From and to, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range(pub u64, pub u64);

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Range, String> {
        let bounds = text.split_once("..");
        let range = bounds.and_then(|(min, max)| Some(Range(min.parse().ok()?, max.parse().ok()?)));
        range
            .filter(|range| range.0 < range.1)
            .ok_or_else(|| format!("{text:?} is not a range: write 500..1000"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(more: &[&str]) -> Options {
        let given = ["serve", "--id", "2", "--data-dir", "d", "--http", "127.0.0.1:8002"];
        let line = given.into_iter().chain(more.iter().copied());
        <Line as clap::Parser>::parse_from(line).options
    }

    #[test]
    fn http_addresses_are_derived_unless_given() {
        let peers = ["--peers", "1=127.0.0.1:7001,2=127.0.0.1:7002,3=far.example:7003"];
        let derived = options(&peers).http_addresses();
        let expected = "1=127.0.0.1:8001,2=127.0.0.1:8002,3=far.example:8003".parse();
        assert_eq!(Ok(Addresses(derived)), expected);
        let given = options(&[&peers[..], &["--http-peers", "1=a:1"]].concat()).http_addresses();
        assert_eq!(given, BTreeMap::from([(1, "a:1".to_owned())]));
        let edge = options(&["--peers", "1=h:65000,2=h:7002"]).http_addresses();
        assert_eq!(edge.keys().collect::<Vec<_>>(), [&2], "a port above 65535 is none");
    }

    #[test]
    fn what_is_wrong_is_refused_with_an_example() {
        for wrong in ["", "1", "1=7001", "x=h:1", "0=h:1", "1=:1", "1=h:99999"] {
            assert!(wrong.parse::<Addresses>().is_err_and(|error| error.contains("7001")));
        }
        assert!("1=h:1,1=h:2".parse::<Addresses>().is_err_and(|error| error.contains("twice")));
        assert!("9..3".parse::<Range>().is_err_and(|error| error.contains("500..1000")));
        let missing = options(&["--peers", "1=h:1,3=h:3"]).own_address().unwrap_err();
        assert!(missing.0.contains("1, 3, not 2"), "{missing}");
    }

    #[test]
    fn the_defaults_and_small_snapshots_make_a_valid_configuration() {
        for size in ["64MiB", "64KiB", "16KiB"] {
            let config = options(&["--peers", "2=h:1", "--snapshot-bytes", size]).config();
            assert_eq!(config.validate(), Ok(()));
            assert!(value_bytes(&config) >= 2048, "{size}");
        }
    }
}
