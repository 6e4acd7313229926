//! What the datapath costs: `cargo xtask bench datapath [SECTION…]`.
//!
//! Each section runs in processes that have what they need and no more, and hand what they found back
//! as JSON; this one prints it, and puts it into a document. Nothing leaves the machine.

mod bulk;
mod capture;
mod conditions;
mod document;
mod empty;
mod figures;
mod firewall;
mod forward;
mod frames;
mod loaded;
mod memory;
mod plot;
mod policy;
mod report;
mod round;
mod scale;
mod topology;
mod traffic;
mod verdict;
mod watch;

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;

use self::{loaded::Rights, report::Section};

/// How long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// As long as figures need.
    Full,
    /// Just to see that it works.
    Quick,
}

impl Extent {
    fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Quick => "quick",
        }
    }

    fn from_name(name: &str) -> Self {
        if name == "quick" { Self::Quick } else { Self::Full }
    }
}

/// What was asked for.
struct Asked {
    sections: Vec<String>,
    extent: Extent,
    /// Whether programs are loaded with as few rights as the daemon can load them with.
    least: bool,
    /// The document to put what was found into.
    write: Option<PathBuf>,
}

const SECTIONS: [&str; 8] =
    ["verdict", "watch", "forward", "drop", "capture", "bulk", "scale", "memory"];

fn main() -> Result<()> {
    let words: Vec<_> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    // The first words are of processes that this program starts of itself.
    match words.as_slice() {
        ["verdict-inside", rights, extent] => {
            let rights = if *rights == "least" { Rights::Least } else { Rights::Usual };
            tell(&verdict::measure(Extent::from_name(extent), rights)?)
        }
        ["watch-inside", extent] => tell(&watch::measure(Extent::from_name(extent))?),
        ["round", "forward", extent] => tell(&forward::round(Extent::from_name(extent), false)?),
        ["round", "drop", extent] => tell(&forward::round(Extent::from_name(extent), true)?),
        ["round", "capture", extent] => tell(&capture::round(Extent::from_name(extent))?),
        ["round", "bulk", extent] => tell(&bulk::round(Extent::from_name(extent))?),
        ["scale-inside", count, extent] => {
            tell(&scale::inside(count.parse()?, Extent::from_name(extent))?)
        }
        ["memory-inside"] => tell(&memory::inside()?),
        ["send", to, milliseconds] => traffic::send(to, milliseconds),
        ["sink"] => traffic::sink(),
        [how @ ("give" | "take" | "give-out" | "take-in"), seconds] => {
            traffic::end_of_bulk(how, seconds)
        }
        asked => measure(&Asked::parse(asked)?),
    }
}

/// Measures what was asked for.
fn measure(asked: &Asked) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "loading programs needs root");
    for name in &asked.sections {
        let before = conditions::describe();
        let section = run(name, asked)?;
        let after = conditions::load();
        let conditions = format!("{before}; after it {after}");
        say(&format!("{}\n{conditions}.\n", section.markdown()?));
        if let Some(path) = &asked.write {
            document::put(path, &section, &conditions)?;
        }
    }
    Ok(())
}

impl Asked {
    fn parse(words: &[&str]) -> Result<Self> {
        let (mut sections, mut write) = (Vec::new(), None);
        let (mut extent, mut least) = (Extent::Full, false);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--quick" => extent = Extent::Quick,
                "--least" => least = true,
                "--write" => write = Some(words.next().context("--write takes a file")?.into()),
                section if SECTIONS.contains(&section) => sections.push(section.to_owned()),
                other => bail!("{other:?}: the sections are {}", SECTIONS.join(", ")),
            }
        }
        if sections.is_empty() {
            sections = SECTIONS.map(str::to_owned).to_vec();
        }
        Ok(Self { sections, extent, least, write })
    }
}

/// Measures one section.
fn run(name: &str, asked: &Asked) -> Result<Section> {
    let extent = asked.extent;
    match name {
        "verdict" => {
            let mut command = apart()?;
            let rights = if asked.least { "least" } else { "usual" };
            command.args(["verdict-inside", rights, extent.name()]);
            let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
            ensure!(output.status.success(), "verdict: {}", output.status);
            serde_json::from_slice(&output.stdout).context("what verdict found")
        }
        "watch" => {
            let mut command = apart()?;
            command.args(["watch-inside", extent.name()]);
            let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
            ensure!(output.status.success(), "watch: {}", output.status);
            serde_json::from_slice(&output.stdout).context("what watch found")
        }
        "forward" => forward::forward(extent),
        "drop" => forward::drop_rate(extent),
        "capture" => capture::measure(extent),
        "bulk" => bulk::measure(extent),
        "scale" => scale::measure(extent),
        "memory" => memory::measure(extent),
        other => bail!("no section {other:?}"),
    }
}

/// This program in a process with a BPF file system of its own.
fn apart() -> Result<Command> {
    const MOUNT: &str = "mount -t bpf bpf /sys/fs/bpf && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--", "sh", "-c", MOUNT, "sh"]);
    command.arg(std::env::current_exe()?);
    Ok(command)
}

/// Hands over what was found.
fn tell<T: Serialize>(found: &T) -> Result<()> {
    say(&serde_json::to_string(found)?);
    Ok(())
}

/// Tells a person who waits.
#[expect(clippy::print_stderr, reason = "how far it is, beside the output")]
pub(crate) fn progress(text: &str) {
    eprintln!("{text}");
}

#[expect(clippy::print_stdout, reason = "a benchmark's output")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}
