//! What starting a container costs with us in the way: `cargo xtask bench run`.
//!
//! On one engine in a private machine, without a daemon and then with it, containers are started
//! with runc and with our runtime, in turns, and each round in another order, so that what changes
//! on the machine meanwhile meets all alike. What is timed is `POST /containers/ID/start`, which
//! Docker answers when the container's process runs.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use ebpf_netns_tests::{
    Daemon, Engine, EngineOptions,
    binaries::{self, Binary},
    images::Image,
};
use serde_json::json;

/// The name of our runtime in the engine.
const RUNTIME: &str = "ebpf-netns";
const ROUNDS: usize = 50;
/// The first containers of an engine are slower.
const WARM_UP: usize = 3;
const LABELLED: Option<&str> = Some("tc.policy=drop-icmp");

/// A way to start a container.
struct Way {
    what: &'static str,
    runtime: &'static str,
    label: Option<&'static str>,
}

const fn way(what: &'static str, runtime: &'static str, label: Option<&'static str>) -> Way {
    Way { what, runtime, label }
}

fn main() -> Result<()> {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let rounds = match arguments.as_slice() {
        [] => ROUNDS,
        [rounds] => rounds.parse().with_context(|| format!("{rounds:?} rounds"))?,
        more => bail!("expected a number of rounds, not {more:?}"),
    };
    ensure!(rounds > 0, "there is nothing to measure in no rounds");
    verbs(rounds * 4)?;
    let engine = Engine::start_with(EngineOptions {
        images: vec![Image::Noshell],
        ..EngineOptions::default()
    })?;
    engine.add_runtime(RUNTIME, &json!({ "path": binaries::path(Binary::Runtime)? }))?;
    say(&format!("start of a container, {rounds} rounds, {}", noise()?));
    let bare = [way("runc, no daemon", "runc", None)];
    starts(&engine, &bare, rounds)?;
    let daemon = Daemon::start(engine.machine())?;
    let ways = [
        way("runc, daemon, no label", "runc", None),
        way("runc, daemon, label", "runc", LABELLED),
        way("gate, daemon, no label", RUNTIME, None),
        way("gate, daemon, label", RUNTIME, LABELLED),
    ];
    starts(&engine, &ways, rounds)?;
    daemon.stop()?;
    // Once more: the difference to the first time is what the machine adds by itself.
    starts(&engine, &bare, rounds)?;
    say(&format!("at the end, {}", noise()?));
    Ok(())
}

/// A verb that is passed on, against the real runtime alone.
fn verbs(rounds: usize) -> Result<()> {
    let ours = binaries::path(Binary::Runtime)?;
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..rounds + WARM_UP {
        for turn in 0..2 {
            let which = (round + turn) % 2;
            let program = [Path::new("runc"), ours.as_path()].into_iter().nth(which);
            let mut version = Command::new(program.context("one of two")?);
            let begun = Instant::now();
            let output = version.arg("--version").output()?;
            let took = begun.elapsed();
            ensure!(output.status.success(), "--version: {output:?}");
            if round >= WARM_UP {
                times.get_mut(which).context("one of two")?.push(took);
            }
        }
    }
    say(&format!("--version, {rounds} rounds, {}", noise()?));
    for (what, times) in ["runc", "ebpf-netns-runtime, then runc"].iter().zip(times) {
        row(what, times);
    }
    Ok(())
}

fn starts(engine: &Engine, ways: &[Way], rounds: usize) -> Result<()> {
    let mut times: Vec<Vec<Duration>> = ways.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds + WARM_UP {
        for turn in 0..ways.len() {
            let which = (round + turn) % ways.len();
            let took = start(engine, ways.get(which).context("a way")?)?;
            if round >= WARM_UP {
                times.get_mut(which).context("a way")?.push(took);
            }
        }
    }
    for (way, times) in ways.iter().zip(times) {
        row(way.what, times);
    }
    Ok(())
}

/// Makes a container, starts it, removes it; how long the start took.
fn start(engine: &Engine, way: &Way) -> Result<Duration> {
    let label = way.label.map(|label| format!("--label={label}"));
    let mut words = vec!["create", "--runtime", way.runtime];
    words.extend(label.as_deref());
    words.push(Image::Noshell.name());
    let id = engine.docker(words)?;
    let took = post_start(&engine.socket(), &id)?;
    engine.docker(["rm", "--force", &id])?;
    Ok(took)
}

fn post_start(socket: &PathBuf, id: &str) -> Result<Duration> {
    let mut stream = UnixStream::connect(socket)?;
    let begun = Instant::now();
    write!(stream, "POST /containers/{id}/start HTTP/1.0\r\nContent-Length: 0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let took = begun.elapsed();
    ensure!(answer.contains(" 204 "), "the engine answered {answer:?}");
    Ok(took)
}

/// What else the machine does.
fn noise() -> Result<String> {
    let load = fs::read_to_string("/proc/loadavg")?;
    let load: Vec<&str> = load.split(' ').take(2).collect();
    Ok(format!("load {} ({} CPUs)", load.join(" "), std::thread::available_parallelism()?))
}

fn row(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let last = times.len().saturating_sub(1);
    let at = |percent: usize| {
        let time = times.get(last * percent / 100).copied().unwrap_or_default();
        time.as_secs_f64() * 1e3
    };
    say(&format!(
        "  {what:<32} p50 {:>8.2} ms  p95 {:>8.2}  p99 {:>8.2}  [{:.2} .. {:.2}]",
        at(50),
        at(95),
        at(99),
        at(0),
        at(100)
    ));
}

#[expect(clippy::print_stdout, reason = "a benchmark's output")]
fn say(text: &str) {
    println!("{text}");
}
