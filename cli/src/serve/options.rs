//! The options of a member and the configuration that results.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use quorate::node::Config;
use quorate::raft::NodeId;

use crate::addresses::{HostPort, http_address};
use crate::demo::{Failure, Size, Span};
use crate::keys::MAX_KEY_BYTES;
use crate::numbers::decimal;
use crate::terms;

/// Bytes of a command besides its key and value: headers and separators.
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
    /// Where to serve HTTP: an address or a host name with a port, such as 127.0.0.1:8001 or
    /// localhost:8001
    #[arg(long, value_name = "HOST:PORT", value_parser = http_address)]
    pub http: HostPort,
    /// Where the other members serve HTTP; unless given, their HTTP port is taken to be as far from their port in --peers
    /// as it is here
    #[arg(long, value_name = "ID=HOST:PORT,..", value_parser = http_addresses)]
    pub http_peers: Option<Addresses>,
    /// Where to listen for the other members; unless given, at this member's address in --peers
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<HostPort>,
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

    /// Checks that the options are consistent.
    pub fn check(&self) -> Result<(), Failure> {
        self.own_address()?;
        let http = &self.http;
        if let Some((id, _)) = self.peers.0.iter().find(|(_, address)| *address == http) {
            let why = "HTTP and the members' own traffic need a port each";
            return Err(Failure(format!("--http {http} is the address of member {id}: {why}")));
        }
        let listed = self.http_peers.iter().flat_map(|given| given.0.keys());
        if let Some(id) = listed.into_iter().find(|id| !self.peers.0.contains_key(*id)) {
            let ids = self.peers.ids();
            return Err(Failure(format!("--http-peers names {id}, but --peers only {ids}")));
        }
        self.config().validate().map_err(|error| Failure(terms::of_the_program(&error)))
    }

    /// This member's address in the list of all.
    pub fn own_address(&self) -> Result<&HostPort, Failure> {
        let own = self.peers.0.get(&self.id);
        own.ok_or_else(|| {
            let (id, ids) = (self.id, self.peers.ids());
            Failure(format!(
                "--id {id} is not in --peers, which names {ids}. A new cluster is begun with one \
                 list on every member, this one in it. A cluster that has begun keeps its list: no \
                 other member can join it"
            ))
        })
    }

    /// The known HTTP addresses of the members.
    pub fn http_addresses(&self) -> BTreeMap<NodeId, HostPort> {
        match &self.http_peers {
            Some(given) => given.0.clone(),
            None => self.derived_addresses(),
        }
    }

    /// Assumes that at every member the HTTP port has the same distance from the other port as
    /// here.
    fn derived_addresses(&self) -> BTreeMap<NodeId, HostPort> {
        let Some(own) = self.peers.0.get(&self.id) else { return BTreeMap::new() };
        let distance = i64::from(self.http.port) - i64::from(own.port);
        let derived = |(id, address): (&NodeId, &HostPort)| {
            let moved = u16::try_from(i64::from(address.port) + distance).ok();
            Some((*id, address.with_port(moved.filter(|&port| port > 0)?)))
        };
        self.peers.0.iter().filter_map(derived).collect()
    }
}

/// Maximum size of a value, so that its command fits.
pub fn value_bytes(config: &Config) -> usize {
    config.command_bytes.saturating_sub(MAX_KEY_BYTES + COMMAND_OVERHEAD)
}

/// Addresses by member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses(pub BTreeMap<NodeId, HostPort>);

impl Addresses {
    /// The ids as text.
    pub fn ids(&self) -> String {
        let ids: Vec<String> = self.0.keys().map(NodeId::to_string).collect();
        ids.join(", ")
    }
}

impl FromStr for Addresses {
    type Err = String;

    fn from_str(list: &str) -> Result<Addresses, String> {
        members(list, str::parse)
    }
}

/// Parses the members' HTTP addresses.
fn http_addresses(list: &str) -> Result<Addresses, String> {
    members(list, http_address)
}

fn members(
    list: &str,
    address_of: impl Fn(&str) -> Result<HostPort, String>,
) -> Result<Addresses, String> {
    let mut addresses: BTreeMap<NodeId, HostPort> = BTreeMap::new();
    for item in list.split(',').map(str::trim) {
        let example = "write ID=HOST:PORT, such as 1=127.0.0.1:7001";
        let no_member = || format!("{item:?} is no member: {example}");
        let (id, address) = item.split_once('=').ok_or_else(no_member)?;
        let id = decimal(id).filter(|&id| id > 0).ok_or_else(no_member)?;
        let address = address_of(address).map_err(|why| format!("member {id}: {why}"))?;
        if address.port == 0 {
            return Err(format!(
                "member {id}: {address} has port 0, where nothing listens: {example}"
            ));
        }
        if let Some((other, _)) = addresses.iter().find(|(_, known)| **known == address) {
            return Err(format!("members {other} and {id} have the same address, {address}"));
        }
        if addresses.insert(id, address).is_some() {
            return Err(format!("member {id} is there twice"));
        }
    }
    Ok(Addresses(addresses))
}

/// A range of times, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range(pub u64, pub u64);

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Range, String> {
        let bounds = text.split_once("..");
        let range = bounds.and_then(|(min, max)| Some(Range(decimal(min)?, decimal(max)?)));
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
        assert_eq!(given, BTreeMap::from([(1, "a:1".parse().unwrap())]));
        let urls = options(&[&peers[..], &["--http-peers", "1=http://a:1/"]].concat());
        assert_eq!(urls.http_addresses(), given);
        let edge = options(&["--peers", "1=h:65000,2=h:7002"]).http_addresses();
        assert_eq!(edge.keys().collect::<Vec<_>>(), [&2], "a port above 65535 is none");
    }

    #[test]
    fn what_is_wrong_is_refused_with_an_example() {
        for wrong in [
            "",
            "1",
            "1=7001",
            "x=h:1",
            "0=h:1",
            "1=:1",
            "1=h:99999",
            "+1=h:1",
            "1=h:0",
            "1=http://h:1",
        ] {
            assert!(
                wrong.parse::<Addresses>().is_err_and(|error| error.contains("7001")),
                "{wrong}"
            );
        }
        assert!("1=h:1,1=h:2".parse::<Addresses>().is_err_and(|error| error.contains("twice")));
        assert!("9..3".parse::<Range>().is_err_and(|error| error.contains("500..1000")));
        let missing = options(&["--peers", "1=h:1,3=h:3"]).check().unwrap_err().0;
        assert!(missing.contains("names 1, 3") && missing.contains("keeps its list"), "{missing}");
    }

    #[test]
    fn no_two_members_have_one_address() {
        for wrong in ["1=h:1,2=h:1", "1=h:1,2=H:1", "1=[::1]:1,2=[::1]:1"] {
            let said = wrong.parse::<Addresses>().expect_err(wrong);
            assert!(said.contains("members 1 and 2 have the same address"), "{said}");
        }
        let said = http_addresses("1=h:1,2=http://h:1").expect_err("the same twice");
        assert!(said.contains("members 1 and 2 have the same address"), "{said}");
        let peers = "1=127.0.0.1:8002,2=127.0.0.1:7002";
        let said = options(&["--peers", peers]).check().expect_err("HTTP where a member is").0;
        assert!(said.contains("127.0.0.1:8002 is the address of member 1"), "{said}");
        let stranger = options(&["--peers", "2=h:2", "--http-peers", "2=h:1,3=h:3"]).check();
        assert!(stranger.is_err_and(|error| error.0.contains("--http-peers names 3")));
    }

    /// A message about options names options, not fields of the library.
    #[test]
    fn what_does_not_go_together_is_said_in_terms_of_the_options() {
        for (wrong, named) in [
            (&["--heartbeat-ms", "0"][..], "--heartbeat-ms"),
            (&["--heartbeat-ms", "600"], "--election-ms"),
            (&["--election-ms", "50..60"], "--heartbeat-ms"),
            (&["--timeout", "0s"], "--timeout"),
        ] {
            let all = options(&[&["--peers", "2=h:7"], wrong].concat());
            let said = all.check().expect_err(named).0;
            assert!(said.contains(named), "{wrong:?}: {said}");
            assert!(!said.contains('_') && !said.contains("::"), "{wrong:?}: {said}");
        }
        assert!(options(&["--peers", "2=h:7"]).check().is_ok());
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
