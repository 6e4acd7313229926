//! The library of `netns` against a real kernel: links that come, change, and go while it looks.

use std::{
    collections::BTreeSet,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use ebpf_netns::{
    ErrorClass, Ifindex, Link, Namespace, Rtnl,
    monitor::{LinkEvent, LinkMonitor},
    veth::{self, Interface, VethError, VethPair},
};
use ebpf_netns_tests::{DEADLINE, command, isolated, privilege, wait_until};

/// Runs a body in a machine of its own, or not at all without root.
fn in_machine(test: &str, body: impl FnOnce() -> Result<()>) -> Result<()> {
    if privilege::have_root()? { isolated(test, body) } else { Ok(()) }
}

fn ip(arguments: &[&str]) -> Result<()> {
    command::stdout_of(Command::new("ip").args(arguments)).map(drop)
}

/// Many commands of `ip`, one a line.
fn batch(lines: &str) -> Result<()> {
    let mut child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
    child.stdin.take().context("stdin")?.write_all(lines.as_bytes())?;
    ensure!(child.wait()?.success(), "ip -batch failed");
    Ok(())
}

fn named(name: &str) -> Result<Namespace> {
    ip(&["netns", "add", name])?;
    Ok(Namespace::open(&Path::new("/run/netns").join(name))?)
}

/// A veth pair from the machine to the namespace `inner`, as Docker makes it.
fn pair(rtnl: &Rtnl, inner: &Namespace) -> Result<VethPair> {
    ip(&["link", "add", "outer", "type", "veth", "peer", "name", "eth0", "netns", "inner"])?;
    match veth::interfaces(rtnl, inner)?.as_slice() {
        [Interface::Veth(pair)] => Ok(pair.as_ref().clone()),
        other => bail!("expected one veth pair: {other:?}"),
    }
}

#[test]
fn a_pair_is_verified_until_the_hosts_index_means_another_link() -> Result<()> {
    in_machine("a_pair_is_verified_until_the_hosts_index_means_another_link", || {
        let (rtnl, inner) = (Rtnl::open()?, named("inner")?);
        assert!(veth::interfaces(&rtnl, &inner)?.is_empty(), "loopback does not count");
        let found = pair(&rtnl, &inner)?;
        assert_eq!((found.host.name.as_str(), found.container.name.as_str()), ("outer", "eth0"));
        ip(&["link", "set", "outer", "up"])?;
        assert!(veth::verify(&rtnl, &found)?.host.up, "what changed meanwhile is told");

        ip(&["link", "delete", "outer"])?;
        let index = found.host.index.to_string();
        ip(&["link", "add", "impostor", "index", &index, "type", "bridge"])?;
        let gone = veth::verify(&rtnl, &found).unwrap_err();
        assert!(matches!(gone, VethError::Gone { .. }), "{gone}");
        assert_eq!(gone.class(), ErrorClass::Gone);

        // The container's index is there again, but its peer is inside this time.
        let inside = found.container.index.to_string();
        let add = ["-n", "inner", "link", "add", "eth0", "index", &inside];
        ip(&[&add[..], &["type", "veth", "peer", "name", "x"]].concat())?;
        let changed = veth::verify(&rtnl, &found).unwrap_err();
        assert!(matches!(changed, VethError::Changed { .. }), "{changed}");
        assert!(
            veth::interfaces(&rtnl, &inner)?.iter().all(|i| !matches!(i, Interface::Veth(_))),
            "no interface has a host side now"
        );
        Ok(())
    })
}

#[test]
fn an_id_of_a_namespace_that_is_gone_is_an_error() -> Result<()> {
    in_machine("an_id_of_a_namespace_that_is_gone_is_an_error", || {
        let (rtnl, inner) = (Rtnl::open()?, named("inner")?);
        let found = pair(&rtnl, &inner)?;
        let path = Path::new("/run/netns/inner");
        ip(&["netns", "del", "inner"])?;
        assert_eq!(rtnl.links_in(found.nsid)?.len(), 2, "it lives while it is held");
        assert!(Namespace::open(path).is_err_and(|error| error.class() == ErrorClass::Gone));
        drop(inner);
        wait_until(DEADLINE, "the end of the namespace", || {
            rtnl.links_in(found.nsid).is_err_and(|error| error.class() == ErrorClass::Gone)
        })?;
        wait_until(DEADLINE, "the end of the host's end with it", || {
            rtnl.link(found.host.index).is_ok_and(|link| link.is_none())
        })
    })
}

/// 500 interfaces take several datagrams; one that stays is in every list, however the others
/// change while it is read.
#[test]
fn a_list_is_whole_while_links_come_and_go() -> Result<()> {
    in_machine("a_list_is_whole_while_links_come_and_go", || {
        let (rtnl, inner) = (Rtnl::open()?, named("inner")?);
        let stable: String = (0..250).fold(String::new(), |lines, n| {
            lines + &format!("link add s{n} type veth peer name t{n} netns inner\n")
        });
        batch(&stable)?;
        let nsid = rtnl.nsid(&inner)?;
        let names = |links: Vec<Link>| -> BTreeSet<String> {
            links.into_iter().map(|link| link.name).filter(|name| !name.contains('c')).collect()
        };
        let expected = names(rtnl.links_in(nsid)?);
        assert_eq!(expected.len(), 251, "250 and the loopback device");

        let stop = AtomicBool::new(false);
        let churn: String = (0..20).fold(String::new(), |lines, n| {
            lines + &format!("link add c{n} type bridge\nlink del c{n}\n")
        });
        thread::scope(|scope| {
            let changing = scope.spawn(|| -> Result<()> {
                while !stop.load(Ordering::Relaxed) {
                    let mut child = Command::new("ip")
                        .args(["-n", "inner", "-batch", "-"])
                        .stdin(Stdio::piped())
                        .spawn()?;
                    child.stdin.take().context("stdin")?.write_all(churn.as_bytes())?;
                    ensure!(child.wait()?.success(), "ip -batch failed");
                }
                Ok(())
            });
            for _ in 0..100 {
                match rtnl.links_in(nsid) {
                    Ok(links) => assert_eq!(names(links), expected),
                    Err(error) => assert_eq!(error.class(), ErrorClass::Transient, "{error}"),
                }
            }
            stop.store(true, Ordering::Relaxed);
            changing.join().map_err(|_panic| anyhow::anyhow!("the other thread panicked"))?
        })?;
        assert_eq!(veth::interfaces(&rtnl, &inner)?.len(), 250);
        Ok(())
    })
}

#[test]
fn the_monitor_tells_of_what_comes_changes_and_goes() -> Result<()> {
    in_machine("the_monitor_tells_of_what_comes_changes_and_goes", || {
        block_on(async {
            let mut monitor = LinkMonitor::open()?;
            let (rtnl, inner) = (Rtnl::open()?, named("inner")?);
            let found = pair(&rtnl, &inner)?;
            let index = found.host.index;
            let is_veth = |event: &LinkEvent| {
                matches!(event, LinkEvent::Changed(link) if link.index == index
                    && link.peer_index == Some(found.container.index)
                    && link.peer_nsid == Some(found.nsid))
            };
            until(&mut monitor, is_veth).await?;
            ip(&["link", "add", "bridge", "type", "bridge"])?;
            ip(&["link", "set", "outer", "master", "bridge"])?;
            until(&mut monitor, |event| {
                matches!(event, LinkEvent::Changed(link) if link.index == index
                    && link.master.is_some())
            })
            .await?;
            // Leaving a bridge is no removal; moving to another namespace is one.
            ip(&["link", "set", "outer", "nomaster"])?;
            ip(&["link", "set", "outer", "mtu", "1400"])?;
            let left = |event: &LinkEvent| match event {
                LinkEvent::Removed(gone) => *gone == index,
                LinkEvent::Moved(moved) => moved.index == index,
                _ => false,
            };
            let seen = until(&mut monitor, |event| {
                matches!(event, LinkEvent::Changed(link) if link.index == index && link.mtu == 1400)
            })
            .await?;
            assert!(!seen.iter().any(left), "{seen:?}");
            ip(&["link", "set", "outer", "netns", "inner"])?;
            until(&mut monitor, |event| {
                matches!(event, LinkEvent::Moved(moved) if moved.index == index
                    && moved.nsid == found.nsid)
            })
            .await?;
            ip(&["link", "del", "bridge"])?;
            until(&mut monitor, |event| matches!(event, LinkEvent::Removed(_))).await?;
            Ok(())
        })
    })
}

#[test]
fn news_that_was_lost_is_told_and_more_follows() -> Result<()> {
    in_machine("news_that_was_lost_is_told_and_more_follows", || {
        block_on(async {
            let mut monitor = LinkMonitor::open()?;
            let lines: String = (0..20_000)
                .fold(String::new(), |lines, n| lines + &format!("link set lo alias {n}\n"));
            batch(&lines)?;
            let seen = until(&mut monitor, |event| *event == LinkEvent::Overrun).await?;
            assert_eq!(seen.len(), 1, "what is older than the list to come is thrown away");
            ip(&["link", "set", "lo", "mtu", "60000"])?;
            until(
                &mut monitor,
                |event| matches!(event, LinkEvent::Changed(link) if link.mtu == 60000),
            )
            .await?;
            Ok(())
        })
    })
}

/// Reads events until one is `wanted`, and returns all that came.
async fn until(
    monitor: &mut LinkMonitor,
    wanted: impl Fn(&LinkEvent) -> bool,
) -> Result<Vec<LinkEvent>> {
    let mut seen = Vec::new();
    let read = async {
        loop {
            let events = monitor.next().await?;
            let found = events.iter().any(&wanted);
            seen.extend(events);
            if found {
                return Ok::<(), anyhow::Error>(());
            }
        }
    };
    let outcome = tokio::time::timeout(DEADLINE, read).await;
    outcome.with_context(|| format!("no such event among {}", seen.len()))??;
    Ok(seen)
}

fn block_on(future: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

/// Not a limit of the kernel's but a promise of ours: a lookup fits between a container's first
/// link event and its first frame.
#[test]
fn a_lookup_takes_less_than_ten_milliseconds() -> Result<()> {
    in_machine("a_lookup_takes_less_than_ten_milliseconds", || {
        let (rtnl, inner) = (Rtnl::open()?, named("inner")?);
        let index: Ifindex = pair(&rtnl, &inner)?.host.index;
        let mut times: Vec<_> = (0..101)
            .map(|_| {
                let start = std::time::Instant::now();
                let found = veth::interfaces(&rtnl, &inner);
                (start.elapsed(), found)
            })
            .map(|(time, found)| found.map(|_| time))
            .collect::<Result<_, _>>()?;
        times.sort_unstable();
        writeln!(std::io::stderr().lock(), "a lookup takes {:?}", times[50])?;
        assert!(times[50] < Duration::from_millis(10), "the median is {:?}", times[50]);
        assert!(rtnl.link(index)?.is_some());
        Ok(())
    })
}
