//! TC by rules, the short way: see [`plugin_common::connection::fast`].

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::programs::TcContext;
use plugin_common::abi::{Observer, RuleImage};
use plugin_common::connection::fast::{self, Known};
use plugin_common::connection::flow::{self, FlowState, Found, Said};
use plugin_common::connection::{self, NO_RULE};
use plugin_common::packet::Frame as _;
use plugin_common::rules::{Question, Ruling};

use crate::clock;
use crate::judge::{self, TC_DROP, TC_NEXT};
use crate::maps;
use crate::packet::{InPlace, TcFrame};
use crate::rules;

/// What nothing has been decided over: that takes the long way.
pub const UNDECIDED: i32 = -2;
const _: () = assert!(UNDECIDED != TC_NEXT && UNDECIDED != TC_DROP);

/// Judges a frame that is as nearly all are, on an interface whose rules alone decide.
#[inline(always)]
#[must_use]
pub fn tc<const SENT: bool>(skb: *mut __sk_buff) -> i32 {
    judge::<SENT>(&TcContext::new(skb)).unwrap_or(UNDECIDED)
}

#[inline(always)]
fn judge<const SENT: bool>(ctx: &TcContext) -> Option<i32> {
    let frame = TcFrame(ctx);
    let ifindex = frame.ifindex();
    let number = maps::lane(ifindex)?.rules(SENT)?;
    let image = maps::image(number)?;
    if image.ifindex != ifindex {
        return None;
    }
    let now = clock::now();
    let secret = maps::secret()?;
    let length = frame.wire_len();
    let known = InMaps::<SENT> { number, image, now };
    let decision = fast::judge::<_, _, SENT>(&InPlace(ctx), length, (image, secret), &known)?;
    let segments = frame.segments();
    if decision.rule != NO_RULE {
        maps::hit(decision.rule, segments, length);
    }
    if decision.reason.passes() {
        maps::pass::<SENT>(image, segments, length);
        return Some(TC_NEXT);
    }
    let observer = if SENT { Observer::Egress } else { Observer::Ingress };
    judge::ebpf_netns_count(ifindex, observer as u32, decision.reason as u32, segments, length);
    Some(TC_DROP)
}

/// What is in maps.
struct InMaps<'a, const SENT: bool> {
    number: u32,
    image: &'a RuleImage,
    now: u32,
}

impl<const SENT: bool> Known for InMaps<'_, SENT> {
    #[inline(always)]
    fn look(&self, fingerprint: u64, steady: FlowState) -> Found {
        match maps::bucket(connection::bucket(self.image, fingerprint)) {
            Some(bucket) => flow::look(&bucket, fingerprint, steady),
            None => Found::Nothing,
        }
    }

    #[inline(always)]
    fn touch(&self, fingerprint: u64, said: Said, epoch: u32) -> Option<FlowState> {
        rules::touch(self.image, fingerprint, (said, SENT), (epoch, self.now))
    }

    #[inline(always)]
    fn keep(&self, fingerprint: u64, state: FlowState) -> bool {
        rules::keep(self.image, fingerprint, state, self.now)
    }

    #[inline(always)]
    fn ruling(&self, question: &Question) -> Ruling {
        rules::ask(self.number, SENT, question)
    }

    #[inline(always)]
    fn now(&self) -> u32 {
        self.now
    }
}
