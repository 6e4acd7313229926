//! What the daemon keeps: pins of other versions, records that cannot be written or read, and a
//! disk that is slow.

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, chown, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    DaemonOptions,
    chaos::{
        arena::{Arena, CONVERGENCE},
        fault::{Fault, Outcome, Size},
        policy::Policy,
        trace::Trace,
    },
    wait::{DEADLINE, wait_for},
};

use super::{docker::hot_plug, host::refuses};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        id: "F10",
        name: "the pins are of an older layout, as after an upgrade, or of a newer one",
        expected: "older ones hold until they are replaced; newer ones are left alone and enforce",
        engine: &[],
        run: layouts,
    },
    Fault {
        id: "F39",
        name: "the records' disk is full, has no inode left, is read-only, or may not be written",
        expected: "enforcement goes on; failures are counted",
        engine: &[],
        run: full_disk,
    },
    Fault {
        id: "F40",
        name: "records are empty, cut, zeroed, newer, links, somebody else's, of 1 GB",
        expected: "they are rebuilt",
        engine: &[],
        run: spoilt_records,
    },
    Fault {
        id: "F52",
        name: "each fsync of a record takes 200 ms and nobody reads the log, while networks are \
               connected",
        expected: "the new veth is policed before its first frame",
        engine: &[],
        run: slow_disk,
    },
];

/// Where the pins are.
const PINS: &str = "/sys/fs/bpf/ebpf-netns";
/// Where the records are.
const RECORDS: &str = "/run/ebpf-netns/state";
/// A file system for records that is as small as is wanted.
const SMALL: &str = "/run/small";

fn layouts(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let root = arena.machine().outside(PINS);
    let current = only_layout(&root)?;
    let number: u32 = current.trim_start_matches('v').parse().context("the layout's number")?;
    let (older, newer) = (root.join(format!("v{}", number - 1)), root.join("v4294967295"));
    let current = root.join(current);
    let rounds = size.of(1, 3, 20);
    let mut said = String::new();
    for _ in 0..rounds {
        arena.take_daemon()?.stop()?;
        fs::rename(&current, &older).context("make the pins older")?;
        arena.start_daemon()?;
        arena.converged(CONVERGENCE).context("over an older layout")?;
        arena.tight("over an older layout")?;
        wait_for(DEADLINE, "the older layout to be gone", || {
            ensure!(!older.exists(), "it is there");
            Ok(())
        })?;
        arena.take_daemon()?.stop()?;
        fs::rename(&current, &newer).context("make the pins newer")?;
        said = refuses(arena, &[])?;
        ensure!(said.contains("newer version"), "the reason is told: {said}");
        arena.tight("under a newer layout")?;
        fs::rename(&newer, &current).context("make the pins current again")?;
        arena.start_daemon()?;
        arena.converged(CONVERGENCE).context("over its own layout")?;
    }
    Ok(Outcome::Passed(format!("{rounds} upgrades and downgrades, 0 forbidden frames; `{said}`")))
}

fn only_layout(root: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root).context("read the pins")? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    ensure!(names.len() == 1, "one layout: {names:?}");
    names.pop().context("a layout")
}

/// What is done to the file system of the records, and what undoes it.
const DISKS: [(&str, &str, &str); 4] = [
    ("no inode left", "i=0; while touch $0/$i 2>/dev/null; do i=$((i+1)); done", "rm -f $0/?"),
    ("full", "head -c 1M /dev/zero 2>/dev/null >$0/filler; :", "rm -f $0/filler"),
    ("read-only", "mount -o remount,ro $0", "mount -o remount,rw $0"),
    ("not ours to write", "chown 65534 $0 && chmod 0500 $0", "chown 0 $0 && chmod 0700 $0"),
];

fn full_disk(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let machine = arena.machine();
    machine.run("mkdir", [SMALL])?;
    machine
        .run("mount", ["-t", "tmpfs", "-o", "size=64k,nr_inodes=8,mode=0700", "small", SMALL])?;
    let arguments = vec![format!("--state={SMALL}")];
    arena.restart_daemon(DaemonOptions { arguments, ..DaemonOptions::default() })?;
    let mut figures = Vec::new();
    for (what, does, undoes) in DISKS {
        machine.run("sh", ["-c", does, SMALL])?;
        let before = failures(arena)?;
        let count = size.of(2, 4, 20);
        let names: Vec<String> = (0..count).map(|index| format!("unwritten-{index}")).collect();
        for name in &names {
            arena.run(name, Policy::XdpDropUdp)?;
            arena.converged(CONVERGENCE).with_context(|| format!("where the disk is {what}"))?;
        }
        arena.kill_daemon()?;
        arena.start_daemon()?;
        arena.converged(CONVERGENCE).with_context(|| format!("a start with a disk: {what}"))?;
        arena.tight(what)?;
        arena.remove(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
        // They are written in the daemon's own time.
        wait_for(DEADLINE, &format!("a failure to be counted where the disk is {what}"), || {
            let failed = failures(arena)?;
            ensure!(before + failed > 0, "{before}, {failed}");
            Ok(())
        })?;
        figures.push(what);
        machine.run("sh", ["-c", undoes, SMALL])?;
    }
    arena.restart_daemon(DaemonOptions::default())?;
    machine.run("umount", [SMALL])?;
    Ok(Outcome::Passed(format!("0 forbidden frames with a disk that is {}", figures.join(", "))))
}

/// What a slow disk does to whoever waits for it.
const SLOW: [&str; 2] = ["-e", "inject=fsync,fdatasync:delay_enter=200000"];

fn slow_disk(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    arena.restart_daemon(DaemonOptions::default().with_unread_log(arena.machine()))?;
    let trace = Trace::of_thread(arena.machine(), arena.daemon()?, "records", &SLOW)?;
    let plugged = hot_plug(arena, size)?;
    let slow = trace.end()?.get("fsync").copied().context("records were synced")?;
    arena.restart_daemon(DaemonOptions::default())?;
    let Outcome::Passed(plugged) = plugged else { return Ok(plugged) };
    Ok(Outcome::Passed(format!("{plugged}; the disk was waited for {slow} times")))
}

/// How often the daemon could not write a record.
fn failures(arena: &Arena<'_>) -> Result<u64> {
    let status = arena.daemon()?.status()?;
    let counted = status.pointer("/counts/record_failures").and_then(Value::as_u64);
    counted.with_context(|| format!("failures are counted in {status}"))
}

/// Something that happens to a record.
type Spoiler = (&'static str, fn(&Path) -> Result<()>);

const SPOILERS: [Spoiler; 7] = [
    ("empty", |record| Ok(File::create(record).map(drop)?)),
    ("cut", |record| Ok(File::options().write(true).open(record)?.set_len(9)?)),
    ("zeroed", |record| Ok(File::create(record)?.set_len(100)?)),
    ("newer", |record| {
        let text = fs::read_to_string(record)?;
        let newer = text.replace("\"version\":", "\"version\":9");
        ensure!(newer != text, "a record has its version: {text}");
        Ok(fs::write(record, newer)?)
    }),
    ("a link", |record| {
        let aside = record.with_file_name("aside");
        fs::rename(record, &aside)?;
        Ok(symlink("aside", record)?)
    }),
    ("somebody else's", |record| Ok(chown(record, Some(65534), Some(65534))?)),
    ("1 GB", |record| Ok(File::options().write(true).open(record)?.set_len(1 << 30)?)),
];

fn spoilt_records(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let directory = arena.machine().outside(RECORDS);
    arena.run("beside", Policy::TcDropUdp)?;
    arena.converged(CONVERGENCE)?;
    let rounds = size.of(1, 1, 10);
    for _ in 0..rounds {
        for (what, spoil) in SPOILERS {
            arena.kill_daemon()?;
            let there = records(&directory)?;
            ensure!(!there.is_empty(), "there are records in {}", directory.display());
            for record in &there {
                spoil(record).with_context(|| format!("{}: {what}", record.display()))?;
            }
            arena.start_daemon()?;
            arena.converged(CONVERGENCE).with_context(|| format!("over records: {what}"))?;
            arena.tight(&format!("over records that are {what}"))?;
            wait_for(DEADLINE, &format!("records that were {what} to be rebuilt"), || {
                there.iter().try_for_each(|record| check_record(record))
            })?;
            fs::remove_file(directory.join("aside")).ok();
        }
    }
    arena.remove(&["beside"])?;
    let ways = SPOILERS.map(|(what, _)| what).join(", ");
    Ok(Outcome::Passed(format!("{rounds} times each ({ways}): rebuilt, 0 forbidden frames")))
}

fn records(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).context("list the records")? {
        found.push(entry?.path());
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    Ok(found)
}

/// It is a file of root's that says what a record says.
fn check_record(record: &Path) -> Result<()> {
    let shown = record.display();
    let there = fs::symlink_metadata(record).with_context(|| format!("look at {shown}"))?;
    ensure!(there.is_file() && there.uid() == 0, "{shown}: {there:?}");
    ensure!(there.len() < 1 << 16, "{shown} has {} bytes", there.len());
    let said: Value = serde_json::from_slice(&fs::read(record)?)?;
    ensure!(said.get("version").is_some_and(|version| version == 1), "{shown}: {said}");
    Ok(())
}
