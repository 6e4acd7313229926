//! Docker's socket: answers that are cut, stall, come twice, or are none.

use anyhow::{Context as _, Result};

use crate::{
    DaemonOptions,
    chaos::{
        arena::Arena,
        fault::{Fault, Outcome, Size},
        policy::Policy,
    },
    proxy::{Deal, Proxy},
    wait::DEADLINE,
};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        id: "F14",
        name: "the stream of events is cut in the middle of a line",
        expected: "it is opened again; nothing leaks",
        engine: &[],
        run: |arena, size| spoil(arena, size, "/events", &[Deal::Cut, Deal::Truncate(7)]),
    },
    Fault {
        id: "F15",
        name: "the stream of events stalls, or loses what it should tell, and stays open",
        expected: "the regular look finds what was missed, within 30 s",
        engine: &[],
        run: |arena, size| spoil(arena, size, "/events", &[Deal::Stall, Deal::Lose]),
    },
    Fault {
        id: "F17",
        name: "events come several times, and the last first",
        expected: "the same as if they came once",
        engine: &[],
        run: |arena, size| spoil(arena, size, "/events", &[Deal::Repeat(3)]),
    },
    Fault {
        id: "F19",
        name: "Docker's answers are closed connections, errors, web pages, garbage",
        expected: "nothing opens; it asks again until the answer is one",
        engine: &[],
        run: |arena, size| {
            let page = Deal::answer("200 OK", "text/html", "<html>hello</html>");
            let error = Deal::answer("500 Internal Server Error", "application/json", "{}");
            spoil(arena, size, "/", &[Deal::Close, Deal::Corrupt, page, error])
        },
    },
];

/// Lets each deal happen to containers that start and go, and then things be well again.
fn spoil(arena: &mut Arena<'_>, _size: Size, path: &str, deals: &[Deal]) -> Result<Outcome> {
    behind_proxy(arena, |arena, proxy| {
        for (index, deal) in deals.iter().enumerate() {
            proxy.deal(path, deal.clone());
            let name = format!("spoilt-{index}");
            arena.run(&name, Policy::XdpDropUdp)?;
            arena.tight(&format!("with {deal:?}"))?;
            proxy.pass();
            arena.converged(DEADLINE).with_context(|| format!("after {deal:?}"))?;
            arena.remove(&[&name])?;
        }
        Ok(Outcome::Passed(format!("{} ways, 0 forbidden frames", deals.len())))
    })
}

/// Has the daemon ask the engine through a proxy; what comes after is asked at the engine itself.
pub(super) fn behind_proxy(
    arena: &mut Arena<'_>,
    body: impl FnOnce(&mut Arena<'_>, &Proxy) -> Result<Outcome>,
) -> Result<Outcome> {
    let proxy = Proxy::start(arena.engine())?;
    let docker_host = proxy.docker_host();
    arena.restart_daemon(DaemonOptions { docker_host, ..DaemonOptions::default() })?;
    let outcome = body(arena, &proxy)?;
    arena.restart_daemon(DaemonOptions::default())?;
    Ok(outcome)
}
