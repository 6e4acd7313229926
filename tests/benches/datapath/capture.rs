//! What a capture costs the container that is captured, and one that is not, under a flood that its
//! policy drops.

use std::time::Duration;

use anyhow::{Result, ensure};
use ebpf_netns::Ifindex;
use ebpf_netns_plugin::kernel::Captures;
use nix::net::if_::if_nametoindex;
use plugin_common::{
    abi::Observer,
    capture::{MAX_SNAPLEN, Wish},
    frames::Mutator,
    packet::protocol,
    presets::Presets,
};
use tokio::{runtime::Runtime, task::JoinHandle};

use crate::{
    Extent,
    loaded::{self, Rights},
    policy::{Allowed, Family},
    report::{Section, Table},
    round::{Pair, Round, Rounds},
    topology, traffic,
};

/// Entries of the rules.
const ENTRIES: usize = 64;

/// Who captures what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Nobody,
    Another,
    Read,
    Unread,
}

impl What {
    const ALL: [Self; 4] = [Self::Nobody, Self::Another, Self::Read, Self::Unread];

    fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody captures",
            Self::Another => "another container's interface is captured",
            Self::Read => "captured, and read as fast as it goes",
            Self::Unread => "captured, and not read: the buffer is full",
        }
    }
}

pub(crate) fn measure(extent: Extent) -> Result<Section> {
    let rounds = match extent {
        Extent::Full => 11,
        Extent::Quick => 1,
    };
    let found = Rounds::run("capture", extent, rounds)?;
    let mut section = Section::new("capture", "Capturing");
    section.say(format!(
        "A container's datagrams that its rules drop, {ENTRIES} entries: ns of a processor a packet \
         without a capture, and what one adds. It is read on the other processor. {rounds} pairs each; \
         medians, with the bounds of the middle half.",
    ));
    let mut table = Table::new("", &["who captures", "without, ns", "added, ns"]);
    for (what, pairs) in &found.of {
        table.row([what.clone(), pairs.without.to_string(), pairs.added.to_string()]);
    }
    section.table(table);
    Ok(section)
}

/// One round, inside.
pub(crate) fn round(extent: Extent) -> Result<Round> {
    let time = Duration::from_millis(match extent {
        Extent::Full => 250,
        Extent::Quick => 40,
    });
    topology::build()?;
    let (mut kernel, _events) = loaded::load(Rights::Usual)?;
    let captures = kernel.captures()?;
    let family = Family { v6: false, protocol: protocol::UDP };
    let others = Allowed::random(ENTRIES - 1, family, &mut Mutator::new(0xf0e));
    let (network, prefix) = topology::NETWORK;
    let rules = others.with_last((network, prefix, traffic::PORT), true);
    let number = topology::enforce(&mut kernel, &rules.interface_rules(topology::endpoint())?)?;
    let runtime = Runtime::new()?;
    flood(time)?;
    let mut round = Round::default();
    for what in What::ALL {
        let without = flood(time)?;
        let capturing = Capturing::begin(&runtime, &captures, what)?;
        let watched = matches!(what, What::Read | What::Unread);
        let presets = if watched { Presets::CAPTURE } else { Presets::PASS };
        topology::hold(&mut kernel, number, presets)?;
        let with = flood(time)?;
        topology::hold(&mut kernel, number, Presets::PASS)?;
        let seen = capturing.map_or(Ok(0), |capturing| capturing.end(&runtime))?;
        ensure!(seen > 0 || !watched, "{}: nothing was captured", what.name());
        round.pairs.push(Pair { what: what.name().to_owned(), without, with });
    }
    topology::release(&mut kernel)?;
    Ok(round)
}

/// The cost of a packet; none may arrive.
fn flood(time: Duration) -> Result<f64> {
    let before = topology::arrived()?;
    let flood = traffic::flood(topology::SOMEBODY, time)?;
    let arrived = topology::arrived()? - before;
    ensure!(arrived < 10, "{arrived} of {} datagrams arrived", flood.sent);
    Ok(flood.cost)
}

/// A capture, and who reads it.
struct Capturing {
    reader: JoinHandle<Result<u64>>,
    stop: tokio::sync::oneshot::Sender<()>,
}

impl Capturing {
    fn begin(runtime: &Runtime, captures: &Captures, what: What) -> Result<Option<Self>> {
        let port = match what {
            What::Nobody => return Ok(None),
            What::Another => Ifindex::try_from(if_nametoindex("wan")?)?,
            What::Read | What::Unread => topology::port()?.index,
        };
        let _within = runtime.enter();
        let mut tap = captures.begin()?;
        let wish = Wish { snaplen: MAX_SNAPLEN, what: 0 };
        let wish = wish.and(Observer::Egress, true).and(Observer::Egress, false);
        tap.set(&[(port, wish)].into())?;
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let reads = what == What::Read;
        let reader = runtime.spawn(async move {
            let mut seen = 0;
            if reads {
                loop {
                    tokio::select! {
                        _ = &mut stopped => break,
                        drained = tap.drain(|_record| { seen += 1; true }) => drained?,
                    }
                }
            } else {
                // Whoever ends it may have gone.
                stopped.await.ok();
            }
            tap.rest(|_record| seen += 1);
            Ok(seen)
        });
        Ok(Some(Self { reader, stop }))
    }

    /// Ends it; how many packets were captured.
    fn end(self, runtime: &Runtime) -> Result<u64> {
        // It may have failed, which it says.
        self.stop.send(()).ok();
        runtime.block_on(self.reader)?
    }
}
