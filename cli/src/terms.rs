//! The library's errors in the program's terms: options instead of fields, no types of Rust.

/// The library's terms and the program's terms for the same.
const TERMS: [(&str, &str); 12] = [
    ("this configuration does not work: ", "these options do not go together: "),
    ("heartbeat_interval", "--heartbeat-ms"),
    ("election_timeout_min", "the lower end of --election-ms"),
    ("election_timeout_max", "the upper end of --election-ms"),
    ("proposal_timeout", "--timeout"),
    ("tick_interval", "10 ms"),
    ("snapshot_bytes", "--snapshot-bytes"),
    ("snapshot_entries", "--snapshot-entries"),
    (
        "start with the first list, or with Start::Open",
        "the list of members is fixed at the first start, so give that list",
    ),
    ("was bootstrapped with", "was begun with the members"),
    ("Config::command_bytes is", "the most is"),
    ("begin a cluster with Start::Bootstrap", "begin a cluster"),
];

/// Formats `error` in the program's terms.
pub fn of_the_program(error: &dyn std::fmt::Display) -> String {
    let mut text = error.to_string();
    for (theirs, ours) in TERMS {
        text = text.replace(theirs, ours);
    }
    text
}
