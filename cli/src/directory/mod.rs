//! `quorate inspect | verify`: the content of a node's directory, and whether all of it is valid.
//! Neither changes anything, and both work while the node runs.
//!
//! | status | `inspect` | `verify` |
//! |---|---|---|
//! | 0 | shown, including damage | no problem |
//! | 1 | | a problem was found and named |
//! | 2 | not a node's directory, unreadable, wrong use | likewise |

mod progress;
mod text;

use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;

use quorate::storage::StorageError;
use quorate::storage::file::inspection::{Inspection, Inspector, SegmentReport};

use crate::demo::Failure;
use progress::Progress;

/// The exit status if the directory has a problem.
const WRONG: u8 = 1;
/// Bytes shown of each entry.
const SHOWN_BYTES: usize = 48;

/// Options of `quorate inspect`.
#[derive(clap::Args)]
pub struct Inspect {
    /// A node's directory
    dir: PathBuf,
    /// Every frame and every record, too
    #[arg(long)]
    records: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Options of `quorate verify`.
#[derive(clap::Args)]
pub struct Verify {
    /// A node's directory
    dir: PathBuf,
}

/// Shows the content of a directory.
pub fn inspect(options: Inspect) -> Result<u8, Failure> {
    let (inspector, inspection) = read(&options.dir).map_err(|error| failure(&error))?;
    let mut out = BufWriter::new(io::stdout().lock());
    let shown = if options.json {
        json(&mut out, &inspector, &inspection, options.records)
    } else {
        text::inspection(&mut out, &inspection).and_then(|()| {
            let records = options.records.then_some(&inspection.segments);
            records.into_iter().flatten().try_for_each(|of| records_of(&mut out, &inspector, of))
        })
    };
    printed(shown.and_then(|()| out.flush())).map(|()| 0)
}

/// Verifies a directory.
pub fn verify(options: Verify) -> Result<u8, Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let (is_sound, said) = match read(&options.dir) {
        Ok((_, inspection)) => {
            (inspection.findings.is_empty(), text::verdict(&mut out, &inspection))
        }
        // The damaged file names the node and the cluster.
        Err(error @ StorageError::Damaged { .. }) => (false, writeln!(out, "{error}")),
        Err(error) => return Err(failure(&error)),
    };
    printed(said.and_then(|()| out.flush())).map(|()| if is_sound { 0 } else { WRONG })
}

fn read(dir: &PathBuf) -> Result<(Inspector, Inspection), StorageError> {
    let progress = Progress::new();
    let inspector = Inspector::watched(dir, progress.on_read())?;
    progress.of(inspector.total_bytes()?);
    let inspection = inspector.inspect();
    progress.close();
    inspection.map(|inspection| (inspector, inspection))
}

fn failure(error: &StorageError) -> Failure {
    let hint = match error {
        StorageError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            ": run this as the user that the node runs as"
        }
        _ => "",
    };
    Failure(format!("{error}{hint}"))
}

/// Ignores a closed pipe: the reader of the output may have seen enough.
fn printed(outcome: io::Result<()>) -> Result<(), Failure> {
    match outcome {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

fn records_of(
    out: &mut impl Write,
    inspector: &Inspector,
    segment: &SegmentReport,
) -> io::Result<()> {
    writeln!(out, "\nsegment {}", segment.number)?;
    let stretches = match inspector.stretches(segment, SHOWN_BYTES) {
        Ok(stretches) => stretches,
        Err(error) => return writeln!(out, "  {error}"),
    };
    for stretch in stretches {
        match stretch {
            Ok(stretch) => text::stretch(out, segment, &stretch)?,
            Err(error) => writeln!(out, "  {error}")?,
        }
    }
    Ok(())
}

/// Writes the inspection, followed by `records`: the regions of each segment, and the error that
/// ended them early, if any.
fn json(
    out: &mut impl Write,
    inspector: &Inspector,
    inspection: &Inspection,
    records: bool,
) -> io::Result<()> {
    let object = serde_json::to_string(inspection)?;
    if !records {
        return writeln!(out, "{object}");
    }
    write!(out, "{},\"records\":[", object.strip_suffix('}').unwrap_or(&object))?;
    for (place, segment) in inspection.segments.iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        write!(out, "{comma}{{\"segment\":{},\"stretches\":[", segment.number)?;
        let mut failed = None;
        match inspector.stretches(segment, SHOWN_BYTES) {
            Ok(stretches) => {
                for (place, stretch) in stretches.enumerate() {
                    match stretch {
                        Ok(stretch) => {
                            let comma = if place == 0 { "" } else { "," };
                            write!(out, "{comma}{}", serde_json::to_string(&stretch)?)?;
                        }
                        Err(error) => failed = Some(error.to_string()),
                    }
                }
            }
            Err(error) => failed = Some(error.to_string()),
        }
        write!(out, "],\"error\":{}}}", serde_json::to_string(&failed)?)?;
    }
    writeln!(out, "]}}")
}
