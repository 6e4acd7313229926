//! TC by rules, the short way: see [`plugin_common::connection::fast`].

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::programs::TcContext;
use plugin_common::abi::{FlowSecret, Observer, RuleImage};
use plugin_common::connection::fast::{self, Head, Known, Linear};
use plugin_common::connection::flow::{self, FlowState, Said};
use plugin_common::connection::{self, NO_RULE};
use plugin_common::packet::Frame as _;
use plugin_common::rules::{Question, Ruling};

use crate::clock::{Clock, ticks};
use crate::judge::{self, TC_DROP, TC_NEXT};
use crate::maps;
use crate::packet::TcFrame;
use crate::rules;

/// What nothing has been decided over: that takes the long way.
pub const UNDECIDED: i32 = -2;
const _: () = assert!(UNDECIDED != TC_NEXT && UNDECIDED != TC_DROP);

/// Judges a frame that is as nearly all are, on an interface whose rules alone decide.
#[inline(always)]
#[must_use]
pub fn tc<C: Clock, const SENT: bool>(skb: *mut __sk_buff) -> i32 {
    judge::<C, SENT>(&TcContext::new(skb)).unwrap_or(UNDECIDED)
}

#[inline(always)]
fn judge<C: Clock, const SENT: bool>(ctx: &TcContext) -> Option<i32> {
    let frame = TcFrame(ctx);
    let ifindex = frame.ifindex();
    let number = maps::lane(ifindex)?.rules(SENT)?;
    let image = maps::image(number)?;
    if image.ifindex != ifindex {
        return None;
    }
    // Before there is much in registers, which a call has put into memory.
    let now = ticks(C::now());
    let length = frame.wire_len();
    let known = InMaps::<SENT> { number, image, now };
    let decision = fast::judge::<_, _, SENT>(&InPlace(ctx), length, image, &known)?;
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
    fn secret(&self) -> Option<&FlowSecret> {
        maps::secret()
    }

    #[inline(always)]
    fn touch(
        &self,
        fingerprint: u64,
        said: Said,
        noted: impl Fn(FlowState) -> bool,
    ) -> Option<FlowState> {
        let bucket = maps::bucket(connection::bucket(self.image, fingerprint))?;
        flow::touch(&bucket, fingerprint, SENT, said, self.now, noted)
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

/// The part of a frame that lies in one piece, which most often all headers do.
struct InPlace<'a>(&'a TcContext);

/// The beginning of a frame.
struct Beginning(usize);

impl Linear for InPlace<'_> {
    type Head = Beginning;

    #[inline(always)]
    fn head<const N: usize>(&self) -> Option<Beginning> {
        let start = self.0.data();
        if start + N > self.0.data_end() { None } else { Some(Beginning(start)) }
    }
}

/// Reads a number in place, at whatever place it stands: where the compiler knows that it need not be
/// aligned, it takes it together out of bytes.
macro_rules! read {
    ($bits:literal, $start:expr, $at:expr) => {{
        let number: u64;
        // SAFETY: the place lies within what was looked at before this was made.
        unsafe {
            core::arch::asm!(
                concat!("{number} = *(u", $bits, " *)({start} + {at})"),
                number = out(reg) number,
                start = in(reg) $start,
                at = const $at,
                options(pure, readonly, nostack),
            );
        }
        number
    }};
}

#[cfg(target_arch = "bpf")]
#[expect(clippy::cast_possible_truncation, reason = "no more is read")]
impl Head for Beginning {
    #[inline(always)]
    fn byte<const AT: usize>(&self) -> u8 {
        read!("8", self.0, AT) as u8
    }

    #[inline(always)]
    fn half<const AT: usize>(&self) -> u16 {
        read!("16", self.0, AT) as u16
    }

    #[inline(always)]
    fn word<const AT: usize>(&self) -> u32 {
        read!("32", self.0, AT) as u32
    }
}

#[cfg(not(target_arch = "bpf"))]
impl Head for Beginning {
    fn byte<const AT: usize>(&self) -> u8 {
        0
    }

    fn half<const AT: usize>(&self) -> u16 {
        0
    }

    fn word<const AT: usize>(&self) -> u32 {
        0
    }
}
