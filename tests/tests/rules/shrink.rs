//! The least that still differs.

use std::fmt;

use anyhow::Result;

use crate::case::{Case, Outcome, Policy, Step};
use crate::kernel::Kernel;
use crate::policies::Layer;
use crate::traffic::Sent;

/// Runs a case until the clock stands still for as long as that takes.
pub(crate) fn outcome(case: &Case, kernel: &mut Kernel) -> Result<Outcome> {
    loop {
        match case.run(kernel)? {
            Outcome::Late => {}
            outcome => return Ok(outcome),
        }
    }
}

/// Takes away steps, layers and rules for as long as something differs; what, is returned too.
pub(crate) fn shrink(mut case: Case, kernel: &mut Kernel) -> Result<(Case, String)> {
    let mut said = String::new();
    let mut size = case.steps.len();
    while size > 0 {
        let mut at = 0;
        while at < case.steps.len() {
            let mut less = case.clone();
            let end = case.steps.len().min(at + size);
            less.steps.drain(at..end);
            if !attempt(less, &mut case, &mut said, kernel)? {
                at += size;
            }
        }
        size /= 2;
    }
    for place in 0..4 {
        let mut number = 0;
        while let Some(layer) = layers(&mut case, place).get(number).cloned() {
            let mut less = case.clone();
            layers(&mut less, place).remove(number);
            if attempt(less, &mut case, &mut said, kernel)? {
                continue;
            }
            for rule in (0..layer.rules.len()).rev() {
                let mut less = case.clone();
                if let Some(layer) = layers(&mut less, place).get_mut(number) {
                    layer.rules.remove(rule);
                }
                attempt(less, &mut case, &mut said, kernel)?;
            }
            number += 1;
        }
    }
    Ok((case, said))
}

/// Takes the smaller case if it differs still.
fn attempt(less: Case, case: &mut Case, said: &mut String, kernel: &mut Kernel) -> Result<bool> {
    let Outcome::Differ(differs) = outcome(&less, kernel)? else { return Ok(false) };
    *case = less;
    *said = differs;
    Ok(true)
}

fn layers(case: &mut Case, place: usize) -> &mut Vec<Layer> {
    let [first, second] = &mut case.policies;
    let Policy { egress, ingress } = if place < 2 { first } else { second };
    if place.is_multiple_of(2) { egress } else { ingress }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policies, endpoint, buckets, secret: _, first_epoch, steps } = self;
        writeln!(f, "{buckets} buckets, epoch {first_epoch}, {endpoint:?}")?;
        for (number, policy) in policies.iter().enumerate() {
            let Policy { egress, ingress } = policy;
            for (direction, layers) in [("egress", egress), ("ingress", ingress)] {
                for Layer { rules, audit } in layers {
                    writeln!(f, "policy {number}, {direction}, a layer, audit {audit}:")?;
                    rules.iter().try_for_each(|rule| writeln!(f, "  {rule:?}"))?;
                }
            }
        }
        for step in steps {
            match step {
                Step::Send { sent: Sent { bytes, from_container, opens }, packets } => {
                    let from = if *from_container { "out" } else { "in" };
                    write!(f, "{from} {packets} ")?;
                    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                    writeln!(f, " {opens:?}")?;
                }
                other => writeln!(f, "{other:?}")?,
            }
        }
        Ok(())
    }
}
