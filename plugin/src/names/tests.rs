//! Tables of what names stand for, and how that changes.

use super::*;
use crate::facts::Life;
use crate::rules::{Direction, Probe, RuleList, expand, judge};

const NAMESERVER: &str = "10.0.0.2";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

fn range(text: &str) -> AddressRange {
    let (address, prefix) = text.split_once('/').unwrap();
    AddressRange::network(ip(address), prefix.parse().unwrap()).unwrap()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A container with these addresses, each on the network before it.
fn container(id: &str, endpoints: &[(&str, &str)]) -> ContainerFacts {
    let endpoint = |(network, address): &(&str, &str)| Endpoint {
        network: (*network).to_owned(),
        network_id: format!("id-{network}"),
        addresses: ips(&[*address]),
        ..Endpoint::default()
    };
    ContainerFacts {
        id: id.to_owned(),
        name: format!("name-{id}"),
        labels: BTreeMap::new(),
        network: NetworkMode::Network("bridge".to_owned()),
        life: Life::Down,
        endpoints: endpoints.iter().map(endpoint).collect(),
        service: None,
        nameservers: Some(Vec::new()),
    }
}

fn of(mut container: ContainerFacts, project: Option<&str>, service: &str) -> ContainerFacts {
    let project = project.map(str::to_owned);
    container.service = Some(Service { project, name: service.to_owned() });
    container
}

fn using(mut container: ContainerFacts, mode: &str) -> ContainerFacts {
    container.network = NetworkMode::from(mode);
    container
}

fn network(name: &str, kind: NetworkKind, subnets: &[&str], host: &[&str]) -> NetworkFacts {
    NetworkFacts {
        id: format!("id-{name}"),
        name: name.to_owned(),
        kind,
        subnets: subnets.iter().map(|text| range(text)).collect(),
        host: ips(host),
    }
}

fn bridge(name: &str, subnets: &[&str], host: &[&str]) -> NetworkFacts {
    network(name, NetworkKind::Bridge(format!("br-{name}")), subnets, host)
}

fn snapshot(containers: Vec<ContainerFacts>) -> Snapshot {
    let networks = vec![
        bridge("bridge", &["172.17.0.0/16"], &["172.17.0.1"]),
        bridge("shop_back", &["172.18.0.0/16", "fd00:18::/64"], &["172.18.0.1", "fd00:18::1"]),
        bridge("back", &["172.19.0.0/16"], &["172.19.0.1"]),
        bridge("docker_gwbridge", &["172.20.0.0/16"], &["172.20.0.1"]),
        network("tunnel", NetworkKind::Overlay, &["10.0.1.0/24"], &[]),
        network("lan", NetworkKind::Other, &["192.168.1.0/24"], &[]),
    ];
    let nameservers = Nameservers { of_host: Some(ips(&[NAMESERVER])), ..Nameservers::default() };
    Snapshot { containers, networks, nameservers, ..Snapshot::default() }
}

fn directory(snapshot: &Snapshot) -> Directory {
    Directory::new(snapshot, &HostAddresses::new())
}

#[track_caller]
fn check(snapshot: &Snapshot, viewpoint: &str, wanted: Wanted<'_>, expected: &[&str]) {
    let Addresses { ranges, waiting } = directory(snapshot).as_seen_by(viewpoint).resolve(wanted);
    let shown: Vec<_> = ranges.iter().map(ToString::to_string).collect();
    assert_eq!(shown, expected, "{wanted:?} as {viewpoint} sees it");
    assert_eq!(waiting, expected.is_empty(), "{wanted:?} as {viewpoint} sees it");
}

#[test]
fn a_container_is_found_by_its_name_alone() {
    let mut db = container("db", &[("shop_back", "172.18.0.3"), ("back", "172.19.0.3")]);
    db.endpoints[0].addresses.push(ip("fd00:18::3"));
    let snapshot = snapshot(vec![
        container("web", &[("bridge", "172.17.0.2")]),
        db,
        using(container("sidecar", &[]), "container:db"),
        using(container("second", &[]), "container:name-sidecar"),
        using(container("a", &[]), "container:b"),
        using(container("b", &[]), "container:a"),
        using(container("orphan", &[]), "container:gone"),
        using(container("host", &[]), "host"),
        using(container("none", &[]), "none"),
        container("stopped", &[]),
    ]);
    let db = ["172.18.0.3", "172.19.0.3", "fd00:18::3"];
    for (target, expected) in [
        ("name-db", &db[..]),
        ("name-sidecar", &db),
        ("name-second", &db),
        ("name-web", &["172.17.0.2"]),
        ("db", &[]),
        ("name-a", &[]),
        ("name-orphan", &[]),
        ("name-host", &[]),
        ("name-none", &[]),
        ("name-stopped", &[]),
        ("nobody", &[]),
    ] {
        check(&snapshot, "web", Wanted::Container(&name(target)), expected);
    }
}

#[test]
fn a_service_is_that_of_the_same_project() {
    let shop = Some("shop");
    let snapshot = snapshot(vec![
        of(container("web", &[("shop_back", "172.18.0.2")]), shop, "web"),
        of(container("db1", &[("shop_back", "172.18.0.4")]), shop, "db"),
        of(container("db2", &[("shop_back", "172.18.0.3")]), shop, "db"),
        of(container("db3", &[]), shop, "db"),
        of(using(container("side", &[]), "container:db1"), shop, "side"),
        of(container("other", &[("back", "172.19.0.3")]), Some("other"), "db"),
        of(container("task", &[("back", "172.19.0.4")]), None, "db"),
        of(container("task2", &[("back", "172.19.0.5")]), None, "web"),
        container("plain", &[("back", "172.19.0.6")]),
    ]);
    for (viewpoint, service, expected) in [
        ("web", "db", &["172.18.0.3", "172.18.0.4"][..]),
        ("web", "web", &["172.18.0.2"]),
        ("web", "side", &["172.18.0.4"]),
        ("side", "web", &["172.18.0.2"]),
        ("web", "cache", &[]),
        ("other", "db", &["172.19.0.3"]),
        ("task2", "db", &["172.19.0.4"]),
        ("plain", "db", &[]),
        ("gone", "db", &[]),
    ] {
        check(&snapshot, viewpoint, Wanted::Service(&name(service)), expected);
    }
}

#[test]
fn a_network_is_the_projects_before_it_is_anybodys() {
    let mut snapshot = snapshot(vec![
        of(container("web", &[]), Some("shop"), "web"),
        of(container("other", &[]), Some("other"), "web"),
        container("plain", &[]),
    ]);
    let mut second = bridge("back", &["172.30.0.0/16"], &[]);
    second.id = "another".to_owned();
    snapshot.networks.push(second);
    snapshot.networks.push(network("shop_empty", NetworkKind::Other, &[], &[]));
    let both = ["172.19.0.0/16", "172.30.0.0/16"];
    for (viewpoint, network, expected) in [
        ("web", "back", &["172.18.0.0/16", "fd00:18::/64"][..]),
        ("web", "shop_back", &["172.18.0.0/16", "fd00:18::/64"]),
        ("web", "lan", &["192.168.1.0/24"]),
        ("web", "bridge", &["172.17.0.0/16"]),
        ("web", "empty", &[]),
        ("web", "none", &[]),
        ("other", "back", &both),
        ("plain", "back", &both),
        ("gone", "back", &both),
    ] {
        check(&snapshot, viewpoint, Wanted::Network(&name(network)), expected);
    }
}

#[test]
fn the_host_is_its_addresses_on_the_containers_networks() {
    let snapshot = snapshot(vec![
        container("one", &[("bridge", "172.17.0.2")]),
        container("two", &[("shop_back", "172.18.0.2"), ("back", "172.19.0.2")]),
        container("task", &[("tunnel", "10.0.1.2")]),
        container("machine", &[("lan", "192.168.1.9")]),
        using(container("sidecar", &[]), "container:one"),
        container("stopped", &[]),
    ]);
    for (viewpoint, expected) in [
        ("one", &["172.17.0.1"][..]),
        ("two", &["172.18.0.1", "172.19.0.1", "fd00:18::1"]),
        ("task", &["172.20.0.1"]),
        ("machine", &[]),
        ("sidecar", &["172.17.0.1"]),
        ("stopped", &[]),
        ("gone", &[]),
    ] {
        check(&snapshot, viewpoint, Wanted::Host, expected);
    }
}

#[test]
fn what_the_kernel_says_of_the_host_comes_before_what_docker_says() {
    let mut snapshot =
        snapshot(vec![container("one", &[("bridge", "172.17.0.2"), ("back", "::2")])]);
    let mut host = HostAddresses::from([
        ("br-bridge".to_owned(), ips(&["172.17.0.9", "fe80::1"])),
        ("eth0".to_owned(), ips(&["192.168.1.2"])),
    ]);
    let shown = |snapshot: &Snapshot, host: &HostAddresses| {
        let directory = Directory::new(snapshot, host);
        let Addresses { ranges, .. } = directory.as_seen_by("one").resolve(Wanted::Host);
        ranges.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(shown(&snapshot, &host), ["172.17.0.9", "172.19.0.1", "fe80::1"]);
    host.insert("br-back".to_owned(), Vec::new());
    assert_eq!(shown(&snapshot, &host), ["172.17.0.9", "fe80::1"], "it has none there");
    snapshot.networks[0].kind = NetworkKind::Other;
    snapshot.networks[0].host.clear();
    assert!(shown(&snapshot, &host).is_empty(), "its bridge is not the host's");
}

#[test]
fn resolvers_are_those_that_docker_asks() {
    let v4 = &["8.8.4.4", "8.8.8.8"][..];
    let both = &["8.8.4.4", "8.8.8.8", "2001:4860:4860::8844", "2001:4860:4860::8888"][..];
    // The network and address, what it and Docker were given, the host's, and what is expected.
    for (endpoint, own, docker, host, expected) in [
        (
            ("back", "172.19.0.2"),
            &[][..],
            &[][..],
            &["10.0.0.2", "10.0.0.3"][..],
            &["10.0.0.2", "10.0.0.3"][..],
        ),
        (("bridge", "172.17.0.2"), &[], &[], &["10.0.0.2"], &["10.0.0.2"]),
        (
            ("back", "172.19.0.2"),
            &["1.1.1.1", "1.1.1.1"],
            &["9.9.9.9"],
            &["10.0.0.2"],
            &["1.1.1.1"],
        ),
        (("back", "172.19.0.2"), &[], &["9.9.9.9"], &["10.0.0.2"], &["9.9.9.9"]),
        (("back", "172.19.0.2"), &["127.0.0.1"], &["9.9.9.9"], &["10.0.0.2"], &[]),
        (("back", "172.19.0.2"), &[], &[], &["127.0.0.1"], &[]),
        (("back", "172.19.0.2"), &[], &[], &["127.0.0.1", "10.0.0.2"], &["10.0.0.2"]),
        (("bridge", "172.17.0.2"), &[], &[], &["127.0.0.1"], v4),
        (("bridge", "fd00:17::2"), &[], &[], &["::1"], both),
        (("bridge", "fd00:17::2"), &[], &[], &["fd00::2"], &["fd00::2"]),
        (("bridge", "172.17.0.2"), &[], &[], &["fd00::2"], &["8.8.4.4", "8.8.8.8", "fd00::2"]),
        (("back", "172.19.0.2"), &[], &[], &[], v4),
        (("back", "fd00:19::2"), &[], &[], &[], both),
    ] {
        let mut one = container("one", &[endpoint]);
        one.nameservers = Some(ips(own));
        let mut snapshot = snapshot(vec![one]);
        snapshot.nameservers.of_docker = ips(docker);
        snapshot.nameservers.of_host = Some(ips(host));
        let Addresses { ranges, waiting } =
            directory(&snapshot).as_seen_by("one").resolve(Wanted::Resolvers);
        let shown: Vec<_> = ranges.iter().map(ToString::to_string).collect();
        assert_eq!(shown, expected, "{endpoint:?} {own:?} {docker:?} {host:?}");
        assert!(!waiting, "{endpoint:?} {own:?} {docker:?} {host:?}");
    }
}

#[test]
fn resolvers_are_waited_for_until_all_is_told() {
    let mut one = container("one", &[("back", "172.19.0.2")]);
    one.nameservers = None;
    let mut snapshot = snapshot(vec![one, using(container("sidecar", &[]), "container:one")]);
    let resolve = |snapshot: &Snapshot, id| {
        let found = directory(snapshot).as_seen_by(id).resolve(Wanted::Resolvers);
        (found.ranges.iter().map(ToString::to_string).collect::<Vec<_>>(), found.waiting)
    };
    let host = vec![NAMESERVER.to_owned()];
    assert_eq!(resolve(&snapshot, "one"), (host.clone(), true), "it may have been given others");
    assert_eq!(resolve(&snapshot, "gone"), (Vec::new(), true));
    snapshot.containers[0].nameservers = Some(ips(&["1.1.1.1"]));
    assert_eq!(resolve(&snapshot, "one"), (vec!["1.1.1.1".to_owned()], false));
    assert_eq!(resolve(&snapshot, "sidecar"), resolve(&snapshot, "one"), "it uses that one's file");
    snapshot.containers[0].nameservers = Some(Vec::new());
    assert_eq!(resolve(&snapshot, "one"), (host, false));
    snapshot.nameservers.earlier = ips(&["10.0.0.1"]);
    let both = vec!["10.0.0.1".to_owned(), NAMESERVER.to_owned()];
    assert_eq!(resolve(&snapshot, "one"), (both, false), "it may run since then");
    snapshot.nameservers.of_host = None;
    assert_eq!(resolve(&snapshot, "one"), (Vec::new(), true), "nobody knows the host's");
}

#[test]
fn who_changes_is_followed() {
    let (db, service) = (name("name-db"), name("db"));
    let wanted = [Wanted::Container(&db), Wanted::Service(&service)];
    let base = |db: &[(&str, &str)]| {
        let web = container("web", &[("shop_back", "172.18.0.2")]);
        let db = container("db", db);
        snapshot(vec![of(web, Some("shop"), "web"), of(db, Some("shop"), "db")])
    };
    let stopped = base(&[]);
    let started = base(&[("shop_back", "172.18.0.3")]);
    let readdressed = base(&[("shop_back", "172.18.0.4")]);
    let moved = base(&[("back", "172.19.0.3")]);
    let mut renamed = started.clone();
    renamed.containers[1].name = "new".to_owned();
    let mut removed = started.clone();
    removed.containers.pop();
    for (what, before, after) in [
        ("starts", &stopped, &started),
        ("stops", &started, &stopped),
        ("has another address", &started, &readdressed),
        ("is on another network", &started, &moved),
        ("is renamed", &started, &renamed),
        ("is removed", &started, &removed),
    ] {
        let (before, after) = (directory(before), directory(after));
        assert!(before.differs(&after, "web", &wanted), "the other {what}");
        assert!(!before.differs(&after, "web", &[Wanted::Host, Wanted::Resolvers]), "{what}");
        assert!(!before.differs(&before.clone(), "web", &wanted), "nothing changes");
    }
    check(&renamed, "web", wanted[0], &[]);
    check(&renamed, "web", wanted[1], &["172.18.0.3"]);
    assert!(!directory(&stopped).differs(&directory(&started), "db", &[Wanted::Network(&service)]));
    assert!(directory(&stopped).differs(&directory(&started), "db", &[Wanted::Host]));
}

#[test]
fn networks_and_name_servers_that_change_are_followed() {
    let back = name("back");
    let before = snapshot(vec![container("web", &[("back", "172.19.0.2")])]);
    let mut after = before.clone();
    after.networks[2] = bridge("back", &["172.31.0.0/16"], &["172.31.0.1"]);
    after.nameservers.of_host = Some(ips(&["10.0.0.9"]));
    let (before, after) = (directory(&before), directory(&after));
    for wanted in [Wanted::Host, Wanted::Resolvers, Wanted::Network(&back)] {
        assert!(before.differs(&after, "web", &[wanted]), "{wanted:?}");
    }
    assert!(!before.differs(&after, "web", &[Wanted::Container(&back)]));
}

#[test]
fn rules_mean_what_their_names_stand_for() {
    const RULES: &str = "allow dns; allow tcp 5432 to service:db; deny to host; allow tcp 443";
    let rules = RuleList::parse(Direction::Egress, RULES).unwrap();
    let allowed = |snapshot: &Snapshot, remote: &str, protocol, number| {
        let directory = directory(snapshot);
        let layers = [&rules];
        let expansion = expand(Direction::Egress, layers, &directory.as_seen_by("web"));
        let layers: Vec<&[_]> = expansion.layers.iter().map(Vec::as_slice).collect();
        let verdict = judge(&layers, &Probe { remote: ip(remote), protocol, number });
        (verdict.allowed, !expansion.waiting.is_empty())
    };
    let web = of(container("web", &[("shop_back", "172.18.0.2")]), Some("shop"), "web");
    let db = of(container("db", &[("shop_back", "172.18.0.3")]), Some("shop"), "db");
    let (before, after) = (snapshot(vec![web.clone()]), snapshot(vec![web, db]));
    assert_eq!(allowed(&before, "172.18.0.3", 6, 5432), (false, true), "it is waited for");
    for (remote, protocol, number, expected) in [
        ("172.18.0.3", 6, 5432, true),
        ("172.18.0.4", 6, 5432, false),
        (NAMESERVER, 17, 53, true),
        ("8.8.8.8", 17, 53, false),
        ("172.18.0.1", 6, 443, false),
        ("fd00:18::1", 6, 443, false),
        ("172.19.0.1", 6, 443, true),
    ] {
        let found = allowed(&after, remote, protocol, number);
        assert_eq!(found, (expected, false), "{remote} {protocol} {number}");
    }
}

/// A trap of another tool's: what is the end of a name matched it.
#[test]
fn t12_a_name_is_not_a_part_of_another() {
    let mut containers = Vec::new();
    for (number, own) in ["db", "db2", "mydb", "my.db", "db.evil", "DB", "my-db"].iter().enumerate()
    {
        let mut one = container(own, &[("back", &format!("172.19.0.{}", number + 3))]);
        (*own).clone_into(&mut one.name);
        containers.push(of(one, Some("shop"), own));
    }
    let snapshot = snapshot(containers);
    check(&snapshot, "db2", Wanted::Container(&name("db")), &["172.19.0.3"]);
    check(&snapshot, "db2", Wanted::Service(&name("db")), &["172.19.0.3"]);
    check(&snapshot, "db2", Wanted::Container(&name("d")), &[]);
    check(&snapshot, "db2", Wanted::Service(&name("my")), &[]);
    check(&snapshot, "db2", Wanted::Network(&name("ack")), &[]);
    check(&snapshot, "db2", Wanted::Network(&name("shop")), &[]);
}

/// A trap of another tool's: what one container's resolver said widened the rules of another.
#[test]
fn t13_what_a_name_is_to_one_container_it_is_not_to_another() {
    let given = |id: &str, address: &str, server: &str| {
        let mut one = container(id, &[("back", address)]);
        one.nameservers = Some(ips(&[server]));
        of(one, Some(id), "web")
    };
    let snapshot = snapshot(vec![
        given("one", "172.19.0.3", "9.9.9.9"),
        given("two", "172.19.0.4", "8.8.8.8"),
    ]);
    for (own, server, service) in
        [("one", "9.9.9.9", "172.19.0.3"), ("two", "8.8.8.8", "172.19.0.4")]
    {
        check(&snapshot, own, Wanted::Resolvers, &[server]);
        check(&snapshot, own, Wanted::Service(&name("web")), &[service]);
    }
}
