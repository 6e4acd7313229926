//! `cargo xtask kernels`: the attach tests on other kernels, so that what the README says of
//! kernels is measured.
//!
//! Takes Debian's kernels, and boots each with the tests in an initial file system under qemu: no
//! disk, no network. Changes nothing on this machine but installing what is missing, and keeps
//! what it downloads in target/kernels. Not part of `cargo xtask test`: emulation is slow.

mod archive;
mod checks;
mod debian;
mod guest;
mod image;
mod needs;
mod release;
mod report;
mod unpacked;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

pub(crate) use self::debian::{apt, source};
use self::{
    checks::{Check, Plan},
    guest::Boot,
    release::{Release, Wanted},
    report::Report,
    unpacked::Unpacked,
};
use crate::ui;

/// Run the attach tests on other kernels, emulated.
///
/// Takes the newest kernel that Debian has of each version (its cloud flavour), and boots it in
/// qemu with the tests of tests/tests/attach.rs and the objects of plugin/bytecode, which bpftool
/// loads there with the capabilities that they say they take. Takes a minute or two a kernel and is therefore no part of `cargo xtask
/// test`: run it after a change to the kernel programs or to how they are attached. What it
/// downloads stays in target/kernels. Installs qemu when run as root; it needs no privilege
/// otherwise, and no KVM.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The versions: MAJOR.MINOR, or `newest` for the newest that Debian has
    #[arg(value_name = "VERSION", default_values = ["5.10", "6.1", "6.12", "newest"])]
    versions: Vec<Wanted>,
    /// The longest that a kernel may take, from its boot to its last test
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    timeout: u64,
}

/// How it went on a kernel.
struct Outcome {
    release: Release,
    took: Duration,
    result: Result<Report>,
}

/// Runs the tests on each kernel.
pub(crate) fn run(args: &Args, root: &Path) -> Result<()> {
    let Args { versions, timeout } = args;
    needs::install_missing()?;
    let cache = root.join("target/kernels");
    fs::create_dir_all(&cache).with_context(|| format!("make {}", cache.display()))?;

    ui::heading("The kernels that Debian has");
    let archive = debian::Archive::open(&cache)?;
    let releases = archive.choose(versions)?;
    ui::heading("The tests");
    let plan = Plan::build(root)?;
    let tests = plan.checks.iter().filter(|check| is_test(check)).count();
    ui::line(format_args!("{tests} tests and {} objects", plan.checks.len() - tests));

    let mut outcomes = Vec::new();
    for release in releases {
        ui::heading(format_args!("Linux {release}"));
        let start = Instant::now();
        let result = measure(&archive, &plan, &release, Duration::from_secs(*timeout));
        if let Err(error) = &result {
            ui::failure(error);
        }
        outcomes.push(Outcome { release, took: start.elapsed(), result });
    }
    summary(&plan, &outcomes)
}

/// Boots a kernel and lets it do all that is planned.
fn measure(
    archive: &debian::Archive,
    plan: &Plan,
    release: &Release,
    timeout: Duration,
) -> Result<Report> {
    let packages = archive.download(release)?;
    let work = tempfile::tempdir_in(archive.dir()).context("make a directory for the image")?;
    let kernel = Unpacked::from_packages(&packages, release, work.path())?;
    let initrd = work.path().join("initrd");
    let image = image::build(plan, release, &kernel)?;
    fs::write(&initrd, image).with_context(|| format!("write {}", initrd.display()))?;
    let console = work.path().join("console");
    guest::run(&Boot { kernel: &kernel.image, initrd: &initrd, console: &console, timeout })
}

/// Prints the table; an error when something failed.
fn summary(plan: &Plan, outcomes: &[Outcome]) -> Result<()> {
    ui::heading("Summary");
    let header = ["", "kernel", "tests", "objects", "TCX", "took"];
    let mut failed = 0;
    let mut rows = vec![header.map(str::to_owned)];
    for Outcome { release, took, result } in outcomes {
        let passed = |kind: fn(&Check) -> bool| match result {
            Ok(report) => {
                let passed = plan.passed(release, report, kind);
                format!("{passed} of {}", plan.count(release, kind))
            }
            Err(_) => "-".to_owned(),
        };
        let report = result.as_ref().ok();
        let all = plan.count(release, |_| true);
        let ok = report.is_some_and(|report| plan.passed(release, report, |_| true) == all);
        failed += usize::from(!ok);
        rows.push([
            if ok { "ok" } else { "FAILED" }.to_owned(),
            release.to_string(),
            passed(is_test),
            passed(is_object),
            report.and_then(Report::tcx).unwrap_or("-").to_owned(),
            format!("{:.0} s", took.as_secs_f64()),
        ]);
    }
    for [word, kernel, tests, objects, tcx, took] in rows {
        ui::line(format_args!("{word:<7} {kernel:<30} {tests:<8} {objects:<8} {tcx:<9} {took}"));
    }
    if failed > 0 {
        bail!("{failed} of {} kernels failed", outcomes.len());
    }
    Ok(())
}

fn is_test(check: &Check) -> bool {
    matches!(check, Check::Test { .. })
}

fn is_object(check: &Check) -> bool {
    matches!(check, Check::Object { .. })
}
