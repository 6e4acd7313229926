//! Metrics are asked for without end: whoever does so takes nothing from enforcement.

use std::{fs, path::PathBuf, time::Instant};

use anyhow::{Context as _, Result, ensure};

use crate::{
    DaemonOptions, Process,
    chaos::{
        arena::Arena,
        fault::{Fault, Outcome, Size},
    },
    machine::Machine,
    wait::{DEADLINE, wait_for},
};

use super::starting::start_and_go;

pub(super) const FAULTS: &[Fault] = &[Fault {
    id: "F53",
    name: "metrics are asked for hundreds of times a second, and connections hang there, while \
           containers start",
    expected: "no forbidden frame",
    engine: &[],
    run: asked_without_end,
}];

/// Containers at once, in turn.
const BATCHES: [usize; 2] = [1, 6];

/// Asks again as soon as it was answered, and says how often it was each hundredth time.
const ASK: &str = r#"
asked=0
while exec 3<>/dev/tcp/127.0.0.1/9464; do
    printf 'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n' >&3
    while read -r -u 3 line; do :; done
    asked=$((asked + 1))
    [ $((asked % 100)) -ne 0 ] || echo "$asked"
done
"#;

/// Connects and says nothing, again whenever the daemon gave all of them up.
const HANG: &str = r#"
while :; do
    for number in {10..40}; do eval "exec $number<>/dev/tcp/127.0.0.1/9464"; done
    echo 100
    read -r -u 40
done
"#;

/// A script that runs meanwhile, and its log.
struct Asker {
    _process: Process,
    log: PathBuf,
}

impl Asker {
    fn start(machine: &Machine, name: &str, script: &str) -> Result<Self> {
        let mut bash = machine.command("bash");
        let (process, log) = machine.spawn(bash.args(["-c", script]), name)?;
        let asker = Self { _process: process, log };
        wait_for(DEADLINE, &format!("{name} to have begun"), || {
            ensure!(asker.count()? > 0, "it says nothing");
            Ok(())
        })?;
        Ok(asker)
    }

    /// How often it was answered, to the hundred.
    fn count(&self) -> Result<u64> {
        let said = fs::read_to_string(&self.log)?;
        let last = said.lines().last().unwrap_or("0");
        last.parse().with_context(|| format!("it said {last:?}"))
    }
}

fn asked_without_end(arena: &mut Arena<'_>, size: Size) -> Result<Outcome> {
    let count = size.of(7, 70, 700);
    let arguments = ["--metrics".to_owned(), "127.0.0.1:9464".to_owned()].into();
    arena.restart_daemon(DaemonOptions { arguments, ..DaemonOptions::default() })?;
    let client = Asker::start(arena.machine(), "asking.log", ASK)?;
    let hanging = Asker::start(arena.machine(), "hanging.log", HANG)?;
    let (began, before) = (Instant::now(), client.count()?);
    let mut started = 0;
    for batch in BATCHES.into_iter().cycle() {
        if started >= count {
            break;
        }
        start_and_go(arena, started, batch, false)?;
        started += batch;
    }
    let (asked, seconds) = (client.count()? - before, began.elapsed().as_secs().max(1));
    let rate = asked / seconds;
    ensure!(rate >= 100, "it was asked {asked} times in {seconds} s, which is no load");
    drop((client, hanging));
    arena.restart_daemon(DaemonOptions::default())?;
    Ok(Outcome::Passed(format!("{started} starts, {rate} answers a second, 0 forbidden frames")))
}
