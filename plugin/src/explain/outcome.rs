//! What came of a case: the programs' verdict beside the reference's, and loudly where they differ.
//! Pure.

use plugin_common::verdict::Reason;
use serde::{Deserialize, Serialize};

use super::{Case, Finding, LayerVerdict, Point, Says, Whereabouts};
use crate::kernel::examine::{Examined, Seen};
use crate::plan::Hook;

/// What becomes of a packet, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Whose packet it is, and where.
    pub on: Whereabouts,
    /// Whether it passes, now.
    pub passes: bool,
    /// The reason that it is counted under: `passed`, or why it is dropped.
    pub reason: String,
    /// The hook that drops it.
    pub dropped_at: Option<Hook>,
    /// Whether it is judged as a part of a connection that is known, and not by rules.
    pub connection: bool,
    /// What each program makes of it.
    pub hooks: Vec<HookOutcome>,
    /// What each part of the policy says of it, as the beginning of a connection.
    pub layers: Vec<LayerVerdict>,
    /// The part that drops it, by its place among the layers; 0 is the first.
    pub decided_by: Option<usize>,
    /// Where the programs and the reference say different things: a bug.
    pub disagreements: Vec<String>,
}

/// What the program of one hook makes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookOutcome {
    /// The hook.
    pub hook: Hook,
    /// How the program is attached there.
    pub attached: String,
    /// The program.
    pub program: String,
    /// Whether the program was run; else this is what the reference says, for want of a kernel that
    /// runs it for an interface.
    pub run: bool,
    /// As the beginning of a connection.
    pub alone: String,
    /// With the connections that there are now.
    pub now: String,
}

/// Puts together what was asked and what was seen, program by program.
#[must_use]
pub fn conclude(case: Case, examined: Vec<Examined>) -> Explanation {
    let Case { on, points, layers, .. } = case;
    let mut hooks = Vec::new();
    let mut disagreements = Vec::new();
    let mut connection = false;
    for (point, examined) in points.iter().zip(examined) {
        let Point { hook, attached, program, expected, tag: _ } = point;
        let (alone, now, run) = match examined {
            Examined::Ran { alone, now } => {
                disagreements.extend(compare(point, &alone));
                connection |= hook != &Hook::Xdp && belongs(&alone.finding, &now.finding);
                disagreements.extend(contradicts_itself(point, &now));
                (alone.finding.reason, now.finding.reason, true)
            }
            Examined::CannotRun => (expected.reason.clone(), expected.reason.clone(), false),
        };
        let (attached, program) = (attached.clone(), program.clone());
        hooks.push(HookOutcome { hook: *hook, attached, program, run, alone, now });
    }
    let dropped = hooks.iter().find(|outcome| outcome.now != Reason::Passed.name());
    let denied = layers.iter().position(|layer| layer.verdict == Says::Deny);
    Explanation {
        passes: dropped.is_none(),
        reason: dropped.map_or(Reason::Passed.name(), |outcome| &outcome.now).to_owned(),
        dropped_at: dropped.map(|outcome| outcome.hook),
        decided_by: denied.filter(|_| dropped.is_some()),
        on,
        connection,
        hooks,
        layers,
        disagreements,
    }
}

/// Whether connections make a difference: they let it pass where no rule was asked.
fn belongs(alone: &Finding, now: &Finding) -> bool {
    let asked = |finding: &Finding| !finding.counters.is_empty();
    alone.reason != now.reason || asked(alone) && !asked(now)
}

fn compare(point: &Point, seen: &Seen) -> Vec<String> {
    let Point { hook, program, expected, .. } = point;
    let mut wrong = contradicts_itself(point, seen);
    if seen.finding != *expected {
        let told =
            |finding: &Finding| format!("{}, counted at {:?}", finding.reason, finding.counters);
        wrong.push(format!(
            "{program} at {} says {}, and the reference {}",
            hook.name(),
            told(&seen.finding),
            told(expected)
        ));
    }
    wrong
}

/// A verdict is to be what is counted.
fn contradicts_itself(point: &Point, seen: &Seen) -> Vec<String> {
    let passes = seen.finding.reason == Reason::Passed.name();
    if passes == seen.passes {
        return Vec::new();
    }
    let does = if seen.passes { "lets it pass" } else { "drops it" };
    vec![format!("{} {does}, and counts it as {}", point.program, seen.finding.reason)]
}
