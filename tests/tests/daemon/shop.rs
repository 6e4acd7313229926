//! The example of the manual, `compose/policy.yaml`, on the real engine: what it allows works, and what
//! it forbids does not, over IPv4 and IPv6, inside of the machine and beyond it.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, bail, ensure};
use ebpf_netns_plugin::status::State;
use ebpf_netns_tests::{
    DEADLINE, Daemon, EngineOptions,
    command::output_of,
    images::Image,
    outside::{HOST, METADATA, OTHER_RESOLVER, Outside, PRIVATE, SERVER},
    privilege,
    traffic::{EchoServer, Reply, Vantage},
    wait_for,
};

use crate::{
    compose::Compose,
    scene::{Scene, at_once, container, http_works, udp_works, wait_state},
};

/// A port that nobody's rules name.
const UNNAMED: u16 = 7777;
const DATABASE: u16 = 5432;

/// The file's services, running, with something behind each port that is tried.
struct Shop<'a> {
    scene: &'a Scene,
    compose: Compose,
    servers: Vec<EchoServer>,
}

/// Whom somebody tries to reach, and whether that is allowed.
type Try<'a> = (&'a str, [IpAddr; 2], u16, bool);

impl<'a> Shop<'a> {
    fn open(scene: &'a Scene, daemon: &Daemon<'_>) -> Result<Self> {
        let compose = Compose::read("policy.yaml")?;
        compose.up(scene)?;
        for service in ["web", "db"] {
            wait_state(daemon, compose.container(service)?, State::Enforced)?;
        }
        let mut shop = Self { scene, compose, servers: Vec::new() };
        for (service, ports) in [
            ("web", &[443, UNNAMED][..]),
            ("db", &[DATABASE, UNNAMED]),
            ("job", &[80, 443, DATABASE, UNNAMED]),
        ] {
            for port in ports {
                shop.servers.push(shop.at(service)?.echo_server(*port)?);
            }
        }
        for port in [443, UNNAMED] {
            shop.servers.push(scene.engine().from_host().echo_server(port)?);
        }
        scene.wait_listening(shop.compose.container("web")?)?;
        Ok(shop)
    }

    fn at(&self, service: &str) -> Result<Vantage<'a>> {
        self.scene.engine().from_container(self.compose.container(service)?)
    }

    fn addresses(&self, service: &str, network: &str) -> Result<[IpAddr; 2]> {
        let container = self.compose.container(service)?;
        self.scene.engine().addresses_on(container, &self.compose.network(network))?.both()
    }

    /// The host's own addresses on a network.
    fn gateways(&self, network: &str) -> Result<[IpAddr; 2]> {
        let network = self.compose.network(network);
        let template = "{{range .IPAM.Config}}{{.Gateway}} {{end}}";
        let said = self.scene.engine().docker(["network", "inspect", "-f", template, &network])?;
        let gateways: Vec<IpAddr> =
            said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let v4 = gateways.iter().find(|one| one.is_ipv4()).context("a gateway of IPv4")?;
        // Older engines do not tell the one of IPv6, which is the first address.
        let v6 = gateways.iter().find(|one| one.is_ipv6()).copied();
        let [_, own] = self.addresses("job", network.trim_start_matches("shop_"))?;
        let IpAddr::V6(own) = own else { bail!("{own} is of IPv6") };
        let mut first = own.segments();
        first[7] = 1;
        Ok([*v4, v6.unwrap_or(IpAddr::from(first))])
    }
}

/// Tries all of these at once by TCP, over both versions of IP.
fn check(from: &str, at: &Vantage<'_>, tries: &[Try<'_>]) -> Result<()> {
    let each = tries.iter().flat_map(|(whom, to, port, allowed)| {
        to.map(|to| {
            move || {
                let to = SocketAddr::new(to, *port);
                let reply = at.tcp(to)?;
                let expected = if *allowed { Reply::Echoed } else { Reply::TimedOut };
                let wrong = format!("{from} to {whom} at {to}: {reply:?}, expected {expected:?}");
                Ok((reply != expected).then_some(wrong))
            }
        })
    });
    let wrong: Vec<String> = at_once(each)?.into_iter().flatten().collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn the_example_of_the_manual_allows_and_forbids_what_it_says() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let scene = Scene::with(EngineOptions {
        images: vec![Image::Busybox, Image::Nginx],
        ..EngineOptions::default()
    })?;
    // In the place of a database, something that sleeps: the servers are the test's own.
    scene.engine().import(Image::Busybox, "postgres")?;
    let outside = Outside::new(scene.machine())?;
    let daemon = scene.daemon()?;
    let shop = Shop::open(&scene, &daemon)?;
    check_web(&shop, &outside)?;
    check_others(&shop)?;
    check_names(&shop)?;
    check_published(&shop, outside.vantage())?;
    check_reports(&shop, &daemon)?;
    scene.end(daemon)
}

/// What `web` begins.
fn check_web(shop: &Shop<'_>, outside: &Outside<'_>) -> Result<()> {
    let web = shop.at("web")?;
    let (db, job) = (shop.addresses("db", "back")?, shop.addresses("job", "back")?);
    let job_in_front = shop.addresses("job", "front")?;
    let gateways = [shop.gateways("front")?, shop.gateways("back")?];
    check(
        "web",
        &web,
        &[
            ("db", db, DATABASE, true),
            ("another port of db", db, UNNAMED, false),
            ("job on the bridge of db", job, DATABASE, false),
            ("job on the bridge of db", job, 443, false),
            ("job on the other bridge", job_in_front, 443, false),
            ("job on the other bridge", job_in_front, 80, false),
            ("the host", gateways[0], 443, false),
            ("the host", gateways[1], 443, false),
            ("a private network", PRIVATE, 443, false),
            ("the metadata service", METADATA, 80, false),
            ("the metadata service, by TLS", METADATA, 443, false),
            ("the internet by TLS", SERVER, 443, true),
            ("the internet", SERVER, 80, false),
        ],
    )?;
    for to in SERVER {
        let https = SocketAddr::new(to, 443);
        let before = outside.received()?;
        web.udp(https)?;
        ensure!(outside.received()? == before, "UDP to {https} is no TCP");
        shop.at("job")?.udp(https)?;
        ensure!(outside.received()? > before, "job's UDP to {https} does not arrive");
        ensure!(!web.ping(to, 1)?.is_complete(), "nor are pings");
    }
    for to in db {
        ensure!(!udp_works(&web, SocketAddr::new(to, DATABASE))?, "UDP to {to} is no TCP");
    }
    Ok(())
}

/// What others begin, to each other and to `web`.
fn check_others(shop: &Shop<'_>) -> Result<()> {
    let (job, db) = (shop.at("job")?, shop.at("db")?);
    let (front, back) = (shop.addresses("web", "front")?, shop.addresses("web", "back")?);
    let to_db = shop.addresses("db", "back")?;
    check(
        "job",
        &job,
        &[
            ("web in front", front, 443, true),
            ("web behind", back, 443, true),
            ("a port of web's that is not named", front, UNNAMED, false),
            ("a port of web's that is not named", back, UNNAMED, false),
            ("db, which answers web alone", to_db, DATABASE, false),
            ("db", to_db, UNNAMED, false),
            ("the internet", SERVER, 80, true),
            ("a private network", PRIVATE, 443, true),
            ("the metadata service", METADATA, 80, true),
            ("the host", shop.gateways("front")?, UNNAMED, true),
        ],
    )?;
    check(
        "db",
        &db,
        &[
            ("web", back, 443, false),
            ("job", shop.addresses("job", "back")?, DATABASE, false),
            ("the internet", SERVER, 443, false),
        ],
    )?;
    for to in [front, back].concat() {
        ensure!(http_works(&job, to)?, "nginx answers job at {to}");
        ensure!(!http_works(&db, to)?, "db does not get at {to}");
        ensure!(!job.ping(to, 1)?.is_complete(), "pings of {to} are not named");
    }
    Ok(())
}

/// Docker's resolver, and the name server that it asks from within the container's namespace.
fn check_names(shop: &Shop<'_>) -> Result<()> {
    let lookup = |service: &str, arguments: &[&str]| -> Result<(bool, String)> {
        let container = shop.compose.container(service)?;
        let words = [&["exec", container, "timeout", "3", "nslookup"], arguments].concat();
        let output = shop.scene.engine().try_docker(words)?;
        Ok((output.status.success(), format!("{output:?}")))
    };
    let [v4, _] = shop.addresses("db", "back")?;
    let (found, said) = lookup("web", &["db"])?;
    ensure!(found && said.contains(&v4.to_string()), "Docker's resolver knows db: {said}");
    for service in ["web", "job"] {
        let (found, said) = lookup(service, &["www.example.org"])?;
        let everything = SERVER.iter().all(|ip| said.contains(&ip.to_string()));
        ensure!(found && everything, "{service} asks the host's name server: {said}");
    }
    let other = OTHER_RESOLVER.to_string();
    let (found, said) = lookup("job", &["www.example.org", &other])?;
    ensure!(found, "there is another name server: {said}");
    let (found, said) = lookup("web", &["www.example.org", &other])?;
    ensure!(!found, "web gets no answer from another: {said}");
    let (found, said) = lookup("db", &["www.example.org"])?;
    ensure!(!found, "db has no word of DNS in its rules: {said}");
    Ok(())
}

/// The port that the file publishes: by translation for clients of IPv4, and by Docker's proxy for
/// those of IPv6 and on the host.
fn check_published(shop: &Shop<'_>, outside: &Vantage<'_>) -> Result<()> {
    use ebpf_netns_tests::traffic::Http;
    for (whence, from, to) in [
        ("outside", outside, HOST[0]),
        ("outside, over IPv6", outside, HOST[1]),
        ("the host", &shop.scene.engine().from_host(), IpAddr::from([127, 0, 0, 1])),
    ] {
        let answer = from.http_at(SocketAddr::new(to, 8080))?;
        ensure!(answer == Http::Answered(200), "from {whence}: {answer:?}");
    }
    // Without Docker's help, where somebody outside knows the way: to the network by which `web`
    // answers, since what it sends by the other has another's address there.
    let [_, v6] = shop.addresses("web", "back")?;
    ensure!(http_works(outside, v6)?, "what is allowed needs no port to be published");
    let unnamed = outside.tcp(SocketAddr::new(v6, UNNAMED))?;
    ensure!(unnamed == Reply::TimedOut, "{unnamed:?}");
    Ok(())
}

/// What was forbidden is told: each packet counts, and `deny log` is in the log.
fn check_reports(shop: &Shop<'_>, daemon: &Daemon<'_>) -> Result<()> {
    let web = shop.compose.container("web")?;
    wait_for(DEADLINE, "the reports", || {
        let log = daemon.log()?;
        let reports = log.lines().filter(|line| line.contains(" packet ") && line.contains(web));
        let reports: Vec<&str> = reports.collect();
        for to in [PRIVATE[0], METADATA[0], PRIVATE[1]] {
            let to = SocketAddr::new(to, 443).to_string();
            let told = reports.iter().any(|line| {
                line.contains(&format!("destination={to} ")) && line.contains("verdict=\"denied\"")
            });
            ensure!(told, "nothing of {to} in {reports:#?}");
        }
        let public = SERVER.map(|ip| ip.to_string());
        let loud = reports.iter().any(|line| public.iter().any(|ip| line.contains(ip)));
        ensure!(!loud, "what no rule matches is not reported: {reports:#?}");
        Ok(())
    })?;
    let status = container(daemon, web)?;
    let dropped = |reason: &str| -> u64 {
        let hooks = status.interfaces.iter().flat_map(|one| &one.hooks);
        hooks.filter_map(|hook| hook.traffic.dropped.get(reason)).map(|count| count.packets).sum()
    };
    ensure!(dropped("denied") > 0 && dropped("no-rule") > 0, "{status:?}");
    let mut table = daemon.plugin()?;
    let table = output_of(table.arg("status"))?;
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    ensure!(table.contains(web), "{table}");
    Ok(())
}
