//! Rates, of two answers.

use std::collections::BTreeMap;

use super::super::rates::rows;
use super::super::row::{Rate, Row};
use super::{container, hook, samples};
use crate::status::{HookStatus, State};

/// The only row of a container whose hooks counted this and then that.
fn row(was: (u32, Vec<HookStatus>), now: (u32, Vec<HookStatus>)) -> Row {
    let web = |(host, hooks)| vec![container("web", State::Enforced, host, hooks)];
    let (was, now) = samples(web(was), web(now));
    let mut rows = rows(Some(&was), &now);
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0)
}

#[expect(clippy::unnecessary_wraps, reason = "as rows have it")]
fn rate(packets_per_second: f64) -> Option<Rate> {
    Some(Rate { packets_per_second, bytes_per_second: packets_per_second * 100.0 })
}

#[test]
fn rates_are_what_came_since_the_last_answer() {
    let was = vec![hook("tcx", "egress", 10, &[("drop-udp", 1)]), hook("tcx", "ingress", 20, &[])];
    let now = vec![
        hook("tcx", "egress", 14, &[("drop-udp", 4), ("malformed", 1)]),
        hook("tcx", "ingress", 21, &[]),
    ];
    let row = row((6, was), (6, now));
    assert_eq!((row.outgoing, row.incoming), (rate(2.0), rate(0.5)));
    assert_eq!(row.drops_per_second, Some(2.0));
    let dropped = [("drop-udp".to_owned(), 4), ("malformed".to_owned(), 1)];
    assert_eq!(row.dropped, BTreeMap::from(dropped));
}

#[test]
fn counters_that_went_back_began_anew() {
    let was = || vec![hook("tcx", "egress", 100, &[("all", 50)])];
    let now = vec![hook("tcx", "egress", 8, &[("all", 2)])];
    let same = row((6, was()), (6, now));
    assert_eq!((same.outgoing, same.drops_per_second), (rate(4.0), Some(1.0)));
    // Another veth: also where it has counted more than the one before.
    let more = vec![hook("tcx", "egress", 200, &[("all", 60)])];
    let other = row((6, was()), (7, more));
    assert_eq!((other.outgoing, other.drops_per_second), (rate(100.0), Some(30.0)));
}

#[test]
fn what_cannot_be_known_is_no_rate() {
    let hooks = || vec![hook("tcx", "egress", 8, &[("all", 2)])];
    let (_, now) = samples(vec![], vec![container("web", State::Enforced, 6, hooks())]);
    let (empty, _) = samples(vec![], vec![]);
    for (what, earlier) in [("the first answer", None), ("a container that is new", Some(&empty))] {
        let rows = rows(earlier, &now);
        let rates = (rows[0].outgoing, rows[0].incoming, rows[0].drops_per_second);
        assert_eq!(rates, (None, None, None), "{what}");
        assert_eq!(rows[0].dropped_packets(), 2, "{what}");
    }
    let at_once = rows(Some(&now), &now);
    assert_eq!(at_once[0].outgoing, None, "no time has passed");
    let new_hook = row((6, vec![]), (6, hooks()));
    assert_eq!(new_hook.outgoing, None, "a hook that was not there");
    assert_eq!(row((6, hooks()), (6, hooks())).incoming, None, "no hook in that direction");
}

#[test]
fn what_passed_xdp_and_tc_is_counted_once() {
    let hooks = |xdp, tc| {
        vec![hook("xdp", "egress", xdp, &[("all", xdp)]), hook("tcx", "egress", tc, &[("all", tc)])]
    };
    let row = row((6, hooks(10, 4)), (6, hooks(20, 8)));
    assert_eq!((row.outgoing, row.drops_per_second), (rate(2.0), Some(7.0)));
    assert_eq!(row.dropped, BTreeMap::from([("all".to_owned(), 28)]));
}

#[test]
fn a_container_without_interfaces_has_a_row() {
    let mut idle = container("idle", State::Idle, 6, vec![]);
    idle.interfaces.clear();
    let (was, now) = samples(vec![idle.clone()], vec![idle]);
    let rows = rows(Some(&was), &now);
    assert_eq!((rows.len(), rows[0].interface.as_ref()), (1, None));
}
