//! What the commands show of real containers and real packets, as the documents have it.

use anyhow::{Context as _, Result, ensure};

use crate::{
    binaries::{self, Binary},
    command::output_of,
    daemon::Daemon,
    engine::{Engine, EngineOptions},
    images::Image,
    process::Process,
    terminal::Terminal,
    wait::{DEADLINE, wait_for},
};

/// A terminal as wide as documents show it without scrolling.
const COLUMNS: u16 = 92;
const LINES: u16 = 9;

/// For so many seconds packets are traced, and so many of them are shown.
const TRACED: &str = "6";
const EVENTS: usize = 6;

const NETWORK: &str = "shop";

/// Containers, each with its image and its labels.
const CONTAINERS: [(&str, &str, &[&str]); 3] = [
    (
        "web",
        "nginx",
        &[
            "tc.ingress=allow tcp 80",
            "tc.egress=allow dns; allow tcp 6379 to container:db; deny log to lan, metadata; \
             allow tcp 443",
        ],
    ),
    ("db", "redis", &["tc.ingress=allow tcp 6379 from container:web", "tc.egress=deny"]),
    ("job", "busybox", &["xdp.policy=drop-udp"]),
];

/// What they send to each other, over and over; `job` has no business with `db`.
const TRAFFIC: [(&str, &str); 3] = [
    ("job", "curl -s -o /dev/null -m 1 http://web/"),
    ("job", "curl -s -o /dev/null -m 0.4 telnet://db:6379"),
    ("web", "printf 'PING\\nQUIT\\n' | busybox nc -w 1 db 6379"),
];

/// What is on a screen, by the name of its section.
pub type Screen = (&'static str, String);

/// All of them.
///
/// # Errors
///
/// When something does not start, or a screen does not show what it should.
pub fn take() -> Result<Vec<Screen>> {
    let images = vec![Image::Nginx, Image::Redis, Image::Busybox];
    let engine = Engine::start_with(EngineOptions { images, ..EngineOptions::default() })?;
    engine.docker(["network", "create", NETWORK])?;
    let daemon = Daemon::start(engine.machine())?;
    for (name, image, labels) in CONTAINERS {
        let labels = labels.iter().flat_map(|label| ["--label", label]);
        let run = ["run", "--detach", "--name", name, "--network", NETWORK];
        engine.docker(run.into_iter().chain(labels).chain([image]))?;
        daemon.wait_state(name, "enforced")?;
    }
    let traffic = traffic(&engine)?;
    let (top, trace) = (top(&engine)?, trace(&engine)?);
    drop(traffic);
    let doctor = doctor(&daemon)?;
    daemon.stop()?;
    Ok(vec![("screen-top", top), ("screen-trace", trace), ("screen-doctor", doctor)])
}

/// Starts it; it ends with what is returned.
fn traffic(engine: &Engine) -> Result<Vec<Process>> {
    let start = |(from, once): (&str, &str)| {
        let mut line = once.to_owned();
        for name in ["web", "db"] {
            let address = engine.addresses_on(name, NETWORK)?.v4()?.to_string();
            line = line.replace(&format!("/{name}"), &format!("/{address}"));
            line = line.replace(&format!(" {name} "), &format!(" {address} "));
        }
        let mut shell = engine.from_container(from)?.command("sh");
        // It is a shell that is told to end, and so what it runs has an end of its own.
        shell.args(["-c", &format!("while :; do {line} >/dev/null 2>&1; done")]);
        let (process, _log) = engine.machine().spawn(&mut shell, &format!("traffic-{from}.log"))?;
        Ok(process)
    };
    TRAFFIC.into_iter().map(start).collect()
}

/// The live view, once there are rates and drops to be seen.
fn top(engine: &Engine) -> Result<String> {
    let program = binaries::path(Binary::Plugin)?;
    let program = program.to_str().context("its path is text")?;
    let words = [program, "top", "--interval=2"];
    let mut terminal = Terminal::start(engine.machine(), &words, COLUMNS, LINES)?;
    let is = |screen: &str| {
        let row = |name: &str| screen.lines().find(|line| line.starts_with(name));
        let moves = |name| row(name).is_some_and(|row| !row.contains(" - "));
        let drops = row("db ").is_some_and(|row| !row.trim_end().ends_with(" 0"));
        moves("web ") && moves("db ") && drops
    };
    let screen = terminal.wait_screen("rates and drops", is)?;
    terminal.type_keys("q")?;
    ensure!(terminal.wait_restored()?.success(), "q ends it well");
    Ok(screen.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"))
}

/// What is dropped, a line each, for some seconds.
fn trace(engine: &Engine) -> Result<String> {
    let mut command = engine.machine().command("timeout");
    command.args(["--signal=INT", TRACED]).arg(binaries::path(Binary::Plugin)?);
    let output = output_of(command.args(["trace", "--drops"]))?;
    let text = String::from_utf8(output.stdout)?;
    let lines: Vec<&str> = text.lines().take(EVENTS).collect();
    let drops = lines.iter().filter(|line| line.contains(" DROP ")).count();
    ensure!(drops == EVENTS, "{EVENTS} packets of a container are dropped: {text}");
    Ok(lines.join("\n"))
}

/// What `doctor` finds of such a machine.
fn doctor(daemon: &Daemon<'_>) -> Result<String> {
    wait_for(DEADLINE, "a machine that is fit", || {
        let output = output_of(daemon.plugin()?.arg("doctor"))?;
        let text = String::from_utf8(output.stdout)?;
        ensure!(output.status.success(), "{}: {text}", output.status);
        Ok(text)
    })
}
