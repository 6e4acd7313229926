//! `capture`: captures for tests, and what tshark says of them.

mod contents;
mod ending;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::{DEADLINE, Daemon, Process, command::stdout_of, wait_for};
use nix::sys::signal::Signal;

use crate::scene::Scene;

/// What tshark is to tell of each packet.
const FIELDS: [&str; 9] = [
    "frame.interface_name",
    "frame.packet_flags_direction",
    "frame.len",
    "frame.cap_len",
    "frame.comment",
    "ip.src",
    "ip.dst",
    "ip.proto",
    "frame.time_epoch",
];
/// A capture that goes on.
struct Capture {
    process: Process,
    file: PathBuf,
    log: PathBuf,
}

impl Capture {
    /// Begins one; every frame from then on is in it.
    fn begin(scene: &Scene, daemon: &Daemon<'_>, name: &str, options: &[&str]) -> Result<Self> {
        let file = scene.machine().directory().join(format!("{name}.pcapng"));
        let mut command = daemon.plugin()?;
        command.args(["capture", name, "-w"]).arg(&file).args(options);
        let (process, log) = scene.machine().spawn(&mut command, &format!("capture-{name}.log"))?;
        let capture = Self { process, file, log };
        capture.wait_said("capturing on ")?;
        Ok(capture)
    }

    /// Waits until it says something.
    fn wait_said(&self, words: &str) -> Result<()> {
        wait_for(DEADLINE, &format!("the capture to say {words:?}"), || {
            let said = self.said()?;
            ensure!(said.contains(words), "it says {said:?}");
            Ok(())
        })
    }

    fn said(&self) -> Result<String> {
        fs::read_to_string(&self.log).context("read what a capture says")
    }

    /// Ends it as Ctrl-C does; the file, and what it says at the end.
    fn end(mut self) -> Result<(PathBuf, String)> {
        self.process.signal(Signal::SIGINT)?;
        self.ended()
    }

    /// Waits until it ends by itself.
    fn ended(&mut self) -> Result<(PathBuf, String)> {
        let ended = self.process.wait(DEADLINE)?;
        let said = self.said()?;
        ensure!(ended.success(), "it ended with {ended} and said {said:?}");
        Ok((self.file.clone(), said))
    }
}

/// A packet, as tshark tells of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Packet {
    interface: String,
    outbound: bool,
    length: u32,
    captured: u32,
    comment: String,
    source: String,
    destination: String,
    protocol: String,
    time: String,
}

/// The packets of a capture, with a display filter.
fn packets(scene: &Scene, file: &Path, filter: &str) -> Result<Vec<Packet>> {
    let rows = fields(scene, file, filter, &FIELDS)?;
    rows.into_iter()
        .map(|row| {
            let [
                interface,
                direction,
                length,
                captured,
                comment,
                source,
                destination,
                protocol,
                time,
            ] = <[String; 9]>::try_from(row).map_err(|row| anyhow::anyhow!("fields {row:?}"))?;
            let number = |text: &str| text.parse::<u32>().with_context(|| format!("{text:?}"));
            // In one version a number, in another the bits of one.
            let outbound = match direction.trim_start_matches("0x0000000") {
                "1" => false,
                "2" => true,
                other => anyhow::bail!("a direction {other:?}"),
            };
            let (length, captured) = (number(&length)?, number(&captured)?);
            Ok(Packet {
                interface,
                outbound,
                length,
                captured,
                comment,
                source,
                destination,
                protocol,
                time,
            })
        })
        .collect()
}

/// These fields of each packet that a display filter matches.
fn fields(scene: &Scene, file: &Path, filter: &str, fields: &[&str]) -> Result<Vec<Vec<String>>> {
    let mut tshark = scene.machine().command("tshark");
    tshark.args(["-n", "-r"]).arg(file).args(["-T", "fields", "-Y", filter]);
    tshark.args(fields.iter().flat_map(|field| ["-e", field]));
    let text = stdout_of(&mut tshark)?;
    let rows = text.lines().map(|line| line.split('\t').map(str::to_owned).collect());
    Ok(rows.filter(|row: &Vec<String>| row.iter().any(|field| !field.is_empty())).collect())
}
