//! TCP between two containers on a network of the driver, against Docker's own bridge:
//! `cargo xtask bench network`.
//!
//! On one engine there are three networks with two containers each: two of Docker's own, and one of
//! the driver. In each round one connection after the other runs on each of them, and each round
//! begins with another one. What is compared is within a round, so that what changes on the machine
//! meanwhile meets all alike; how far Docker's two networks differ from each other is the noise.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use ebpf_netns_tests::{
    Daemon, DaemonOptions, Engine, EngineOptions, bulk, command::stdout_of, images::Image,
};

const ROUNDS: usize = 30;
/// The first connections of a machine are slower.
const WARM_UP: usize = 2;
/// How long a connection is measured.
const LENGTH: Duration = Duration::from_secs(1);
const PORT: u16 = 5201;

/// The networks, and the driver of each; the first two differ by noise alone.
const NETWORKS: [(&str, &str); 3] =
    [("docker-one", "bridge"), ("docker-two", "bridge"), ("ours", "ebpf-netns")];

fn main() -> Result<()> {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => measure(ROUNDS),
        ["take", at] => take(at.parse()?),
        ["give", to] => give(to.parse()?),
        [rounds] => measure(rounds.parse().with_context(|| format!("{rounds:?} rounds"))?),
        more => bail!("expected a number of rounds, not {more:?}"),
    }
}

fn measure(rounds: usize) -> Result<()> {
    ensure!(rounds > 0, "there is nothing to measure in no rounds");
    let images = vec![Image::Noshell];
    let engine = Engine::start_with(EngineOptions { images, ..EngineOptions::default() })?;
    let arguments = vec!["--driver".to_owned()];
    let options = DaemonOptions { arguments, ..DaemonOptions::default() };
    let daemon = Daemon::start_with(engine.machine(), &options)?;
    for (network, driver) in NETWORKS {
        engine.docker(["network", "create", "--driver", driver, network])?;
        for end in ["from", "to"] {
            let name = format!("{network}-{end}");
            let image = Image::Noshell.name();
            engine.docker(["run", "--detach", "--name", &name, "--network", network, image])?;
        }
    }
    say(&format!("TCP between two containers, {rounds} rounds, {}", noise()?));
    let mut rates: Vec<[f64; NETWORKS.len()]> = Vec::new();
    for round in 0..rounds + WARM_UP {
        let mut row = [0.0; NETWORKS.len()];
        for turn in 0..NETWORKS.len() {
            let which = (round + turn) % NETWORKS.len();
            let (network, _) = NETWORKS.get(which).context("a network")?;
            *row.get_mut(which).context("a network")? = connection(&engine, network)?;
        }
        if round >= WARM_UP {
            rates.push(row);
        }
    }
    daemon.stop()?;
    report(&rates);
    say(&format!("at the end, {}", noise()?));
    Ok(())
}

/// Bits a second of one connection.
fn connection(engine: &Engine, network: &str) -> Result<f64> {
    let own = std::env::current_exe()?.display().to_string();
    let to = format!("{network}-to");
    let at = SocketAddr::new(engine.addresses_on(&to, network)?.v4()?, PORT).to_string();
    let mut taker = engine.from_container(&to)?.command(&own);
    let taker = bulk::Listener::start(taker.args(["take", &at]))?;
    let mut giver = engine.from_container(&format!("{network}-from"))?.command(&own);
    stdout_of(giver.args(["give", &at]))?;
    let said = taker.end()?;
    said.parse().with_context(|| format!("bits a second: {said:?}"))
}

fn take(at: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(at)?;
    say(bulk::READY);
    let rate = bulk::take(listener.accept()?.0)?;
    say(&rate.to_string());
    Ok(())
}

fn give(to: SocketAddr) -> Result<()> {
    bulk::give(TcpStream::connect(to)?, LENGTH)
}

fn report(rates: &[[f64; NETWORKS.len()]]) {
    for (which, (network, driver)) in NETWORKS.iter().enumerate() {
        let own = rates.iter().filter_map(|row| row.get(which)).map(|rate| rate / 1e9).collect();
        row(&format!("{network} ({driver}), Gbit/s"), own);
    }
    let ratios = |which: usize| {
        let ratio = |row: &[f64; NETWORKS.len()]| Some(row.get(which)? / row.first()?);
        rates.iter().filter_map(ratio).collect()
    };
    row("noise: docker-two / docker-one", ratios(1));
    row("ours / docker-one", ratios(2));
}

fn row(what: &str, mut values: Vec<f64>) {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    let at = |percent: usize| values.get(last * percent / 100).copied().unwrap_or_default();
    say(&format!(
        "  {what:<34} median {:>7.3}  quartiles [{:.3} .. {:.3}]  all [{:.3} .. {:.3}]",
        at(50),
        at(25),
        at(75),
        at(0),
        at(100)
    ));
}

/// What else the machine does.
fn noise() -> Result<String> {
    let load = fs::read_to_string(PathBuf::from("/proc/loadavg"))?;
    let load: Vec<&str> = load.split(' ').take(2).collect();
    Ok(format!("load {} ({} CPUs)", load.join(" "), std::thread::available_parallelism()?))
}

#[expect(clippy::print_stdout, reason = "a benchmark's output")]
fn say(text: &str) {
    println!("{text}");
}
