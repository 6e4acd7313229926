//! What each container of `compose/demo.yaml` may reach: measured, as the table that README.md shows.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    thread,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::{
    command::output_of,
    compose::Compose,
    daemon::Daemon,
    engine::{Engine, EngineOptions},
    images::Image,
    newer::Newer,
    outside::{METADATA, Outside, PRIVATE, PUBLIC},
    traffic::{EchoServer, PATIENCE, Vantage},
    wait::{DEADLINE, wait_for},
};

/// The section of the document that has the table.
pub const SECTION: &str = "reach";

const SERVICES: [&str; 3] = ["web", "db", "client"];
const NETWORK: &str = "ebpf-netns-demo_default";
/// A port that nobody's rules name.
const UNNAMED: u16 = 9000;
const REDIS: u16 = 6379;

/// Whom somebody tries to reach by TCP: the words for it, its addresses, the port.
type Target = (&'static str, [IpAddr; 2], u16);

/// Starts the services of the file on an engine without a way out, and measures who reaches whom.
///
/// # Errors
///
/// When something does not start, or IPv4 and IPv6 differ.
pub fn measure(newer: &Newer) -> Result<String> {
    let images = vec![Image::Nginx, Image::Redis, Image::Alpine];
    let options = EngineOptions { images, ..EngineOptions::default() };
    let engine = Engine::start_newer(newer.clone(), options)?;
    let outside = Outside::new(engine.machine())?;
    let daemon = Daemon::start(engine.machine())?;
    let compose = Compose::new(&engine, newer, "demo.yaml")?;
    compose.up(&[])?;
    for service in SERVICES {
        daemon.wait_state(&container(service), "enforced")?;
    }
    let table = who_reaches_whom(&engine)?;
    from_within(&compose)?;
    drop(outside);
    daemon.stop()?;
    Ok(table)
}

/// What Compose calls it.
fn container(service: &str) -> String {
    format!("ebpf-netns-demo-{service}-1")
}

fn who_reaches_whom(engine: &Engine) -> Result<String> {
    let addresses = |service| engine.addresses_on(&container(service), NETWORK)?.both();
    let [web, db, client] = [addresses("web")?, addresses("db")?, addresses("client")?];
    let _servers = servers(engine)?;
    let targets = [
        ("web:80", web, 80),
        ("web:9000", web, UNNAMED),
        ("db:6379", db, REDIS),
        ("client:9000", client, UNNAMED),
        ("the LAN", PRIVATE, 443),
        ("metadata service", METADATA, 80),
        ("internet:443", PUBLIC, 443),
        ("internet:80", PUBLIC, 80),
    ];
    let mut table = String::from("| from \\ to |");
    for (words, ..) in targets {
        write!(table, " {words} |")?;
    }
    write!(table, "\n|---|{}", "---|".repeat(targets.len()))?;
    for service in SERVICES {
        write!(table, "\n| {service} |{}", row(engine, Some(service), &targets)?)?;
    }
    write!(table, "\n| the host |{}", row(engine, None, &targets)?)?;
    Ok(table)
}

/// What the file's head says, by the names that Docker's resolver knows.
fn from_within(compose: &Compose<'_>) -> Result<()> {
    let client = |url: &str| {
        let wget = ["exec", "-T", "client", "wget", "-qO-", "-T", "2", "-t", "1", url];
        output_of(compose.command().args(wget))
    };
    let page = client("http://web")?;
    ensure!(page.status.success() && !page.stdout.is_empty(), "client gets web's page: {page:?}");
    let stopped = client("http://db:6379")?;
    ensure!(!stopped.status.success(), "client does not get at db: {stopped:?}");
    Ok(())
}

/// Something that answers behind each port that is tried, as far as the services do not.
fn servers(engine: &Engine) -> Result<Vec<EchoServer>> {
    for (service, port) in [("web", 80), ("db", REDIS)] {
        let inside = engine.from_container(&container(service))?;
        wait_for(DEADLINE, &format!("{service} to listen"), || {
            ensure!(answers(&inside, SocketAddr::from(([127, 0, 0, 1], port)))?, "not yet");
            Ok(())
        })?;
    }
    let echo = |service| engine.from_container(&container(service))?.echo_server(UNNAMED);
    Ok(vec![echo("web")?, echo("client")?])
}

/// The cells of one who tries; a container does not try itself.
fn row(engine: &Engine, service: Option<&str>, targets: &[Target]) -> Result<String> {
    let at = match service {
        Some(service) => engine.from_container(&container(service))?,
        None => engine.from_host(),
    };
    let cells = thread::scope(|scope| {
        let tries: Vec<_> = targets
            .iter()
            .map(|target| {
                let own = service.is_some_and(|own| target.0.starts_with(&format!("{own}:")));
                (!own).then(|| scope.spawn(|| reaches(&at, target)))
            })
            .collect();
        let mut cells = String::new();
        for tried in tries {
            let cell = match tried {
                Some(thread) => thread.join().map_err(|_panic| anyhow!("a try panicked"))??,
                None => "",
            };
            write!(cells, " {cell} |")?;
        }
        anyhow::Ok(cells)
    })?;
    Ok(cells)
}

/// Whether both versions of IP get an answer, or neither does.
fn reaches(at: &Vantage<'_>, (words, addresses, port): &Target) -> Result<&'static str> {
    let mut answered = Vec::new();
    for address in addresses {
        answered.push(answers(at, SocketAddr::new(*address, *port)).context(*words)?);
    }
    match answered.as_slice() {
        [true, true] => Ok("yes"),
        [false, false] => Ok("**no**"),
        other => bail!("{words}: IPv4 and IPv6 differ: {other:?}"),
    }
}

/// Whether a TCP server answers there, in whatever it speaks. No answer is how a dropped packet looks;
/// what is neither is an error.
fn answers(at: &Vantage<'_>, to: SocketAddr) -> Result<bool> {
    let patience = PATIENCE.as_secs_f64().to_string();
    let mut curl = at.command("curl");
    curl.args(["--silent", "--show-error", "--output", "/dev/null", "--noproxy", "*"]);
    let output = output_of(curl.args(["--max-time", &patience]).arg(format!("http://{to}/")))?;
    match output.status.code() {
        // HTTP; another protocol; nothing, or the end, of one that is.
        Some(0 | 1 | 52 | 56) => Ok(true),
        Some(28) => Ok(false),
        _ => bail!("curl {to}, {}: {}", output.status, String::from_utf8_lossy(&output.stderr)),
    }
}
