//! The daemon's side of a capture: has the programs copy the frames of a container's interfaces, and
//! hands them on as fast as they are taken. It keeps nothing: what is not taken in time waits in the ring
//! buffer, and is lost when that is full.
//!
//! A container is followed by its name: through a restart, and when it is connected to another network.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use ebpf_netns::Ifindex;
use ebpf_netns::text::printable;
use plugin_common::capture::{Head, Wish};
use plugin_common::connection::NO_RULE;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tracing::{info, warn};

use super::hub::Hub;
use super::stream::{self, Note};
use super::{Begun, CaptureId, Captured, End, Opening, Question, RuleTexts, target};
use crate::error::chain;
use crate::explain::{Refused, Subject};
use crate::kernel::{CaptureError, Tap};
use crate::watch::Watch;

/// How often it is looked what the container is by now. What was written of rules stays for longer.
const LOOK: Duration = Duration::from_secs(2);
/// How soon that may be repeated because of a rule that is not known.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Bytes that are handed on at once, about.
const BATCH: usize = 256 << 10;

/// A capture that goes on. Dropping it ends it, and nothing of it stays in the kernel.
pub struct Session {
    id: CaptureId,
    hub: Hub,
    question: Question,
    tap: Tap,
    /// Has the programs look for captures at all. `None` only while it begins.
    watch: Option<Watch>,
    stopped: oneshot::Receiver<()>,
    looks: Interval,
    looked: Instant,
    interfaces: Vec<Captured>,
    rules: RuleTexts,
    /// What was told and not handed on yet.
    told: Vec<u8>,
    lost: u64,
    has_ended: bool,
}

impl Session {
    /// Begins: from then on every frame is captured.
    ///
    /// # Errors
    ///
    /// Why there is nothing to capture.
    pub async fn begin(hub: &Hub, question: Question) -> Result<Self, Refused> {
        let found = hub.subject(&question.container).await?;
        let captures = hub.captures();
        let tap = spawn_blocking(move || captures.begin()).await;
        let tap = tap.map_err(|_panic| Refused::failed("the capture could not be begun: a bug"))?;
        let tap = tap.map_err(|error| Refused::failed(chain(&error)))?;
        let id = hub.next_id();
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.reset();
        let opening = Opening::Begun(Begun {
            id,
            container: found.container.clone(),
            ahead_ns: ahead(),
            system: system(),
        });
        let mut session = Self {
            id,
            stopped: hub.note(id),
            hub: hub.clone(),
            question,
            tap,
            watch: None,
            looks,
            looked: Instant::now(),
            interfaces: Vec::new(),
            rules: RuleTexts::new(),
            told: Vec::new(),
            lost: 0,
            has_ended: false,
        };
        session.tell(&Note::Opening(opening));
        session.see(&found).map_err(|error| Refused::failed(chain(&error)))?;
        // Only now, so that there is room for the first frame that the programs look at.
        session.watch = Some(hub.watch(&session.question.container).await?);
        let container = printable(&found.container);
        info!(%container, capture = id.0, "captured");
        Ok(session)
    }

    /// The next piece of what is told; `None` at the end. What was not waited for to the end is not lost.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        while self.told.is_empty() && !self.has_ended {
            if let Err(error) = self.go_on().await {
                let error = chain(&error);
                warn!(capture = self.id.0, error, "a capture cannot go on");
                self.end(End::Failed(error));
            }
        }
        (!self.told.is_empty()).then(|| std::mem::take(&mut self.told))
    }

    async fn go_on(&mut self) -> Result<(), CaptureError> {
        let (told, rules) = (&mut self.told, &self.rules);
        let mut unknown = false;
        let sink = |record: &[u8]| {
            unknown |= !keep(told, rules, record);
            told.len() < BATCH
        };
        tokio::select! {
            _ = &mut self.stopped => {
                self.finish();
                return Ok(());
            }
            drained = self.tap.drain(sink) => drained?,
            () = changed(&mut self.watch) => self.look().await?,
            _ = self.looks.tick() => self.look().await?,
        }
        if unknown && self.looked.elapsed() > LOOK_AGAIN {
            let frames = std::mem::take(&mut self.told);
            self.look().await?;
            self.told.extend_from_slice(&frames);
        }
        self.tell_lost();
        Ok(())
    }

    /// Looks what there is to capture by now.
    async fn look(&mut self) -> Result<(), CaptureError> {
        self.looked = Instant::now();
        match self.hub.subject(&self.question.container).await {
            Ok(subject) => self.see(&subject),
            // It may come back: who captures decides how long to wait.
            Err(_refused) => self.tap.set(&BTreeMap::new()),
        }
    }

    /// Captures the interfaces of the container as they are now.
    fn see(&mut self, subject: &Subject) -> Result<(), CaptureError> {
        let wishes = subject.interfaces.iter().map(|candidate| {
            let wish = target::wish(&self.question, candidate);
            (candidate.host.ifindex, wish)
        });
        let wishes: BTreeMap<Ifindex, Wish> = wishes.filter(|(_, wish)| wish.what != 0).collect();
        let interfaces: Vec<Captured> = subject
            .interfaces
            .iter()
            .map(|candidate| target::captured(&self.question, &subject.container, candidate))
            .collect();
        if self.interfaces != interfaces {
            self.tell(&Note::Interfaces(interfaces.clone()));
            self.interfaces = interfaces;
        }
        // Frames that are not handed on yet may name rules that do not stand any more.
        let mut rules = self.rules.clone();
        rules.extend(target::rules(subject));
        if self.rules != rules {
            self.tell(&Note::Rules(rules.clone()));
            self.rules = rules;
        }
        self.tap.set(&wishes)
    }

    /// Tells of what there is left, and that it ended.
    fn finish(&mut self) {
        // Nothing more comes, or whoever waits for the end would wait for long in a flood.
        self.tap.set(&BTreeMap::new()).ok();
        let told = &mut self.told;
        self.tap.rest(|record| stream::frame(told, record));
        self.tell_lost();
        self.end(End::Asked);
    }

    fn tell_lost(&mut self) {
        let lost = self.tap.lost();
        if lost != self.lost {
            self.lost = lost;
            self.tell(&Note::Lost(lost));
        }
    }

    fn end(&mut self, end: End) {
        self.has_ended = true;
        self.tell(&Note::End(end));
    }

    fn tell(&mut self, note: &Note) {
        if let Err(error) = stream::note(&mut self.told, note) {
            warn!(capture = self.id.0, %error, "a note cannot be written: a bug");
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.hub.forget(self.id);
        info!(capture = self.id.0, "captured no more");
    }
}

/// Appends a frame without the room behind it; false if the rules that it names are not known.
fn keep(told: &mut Vec<u8>, rules: &RuleTexts, record: &[u8]) -> bool {
    let Some((head, frame)) = Head::split(record) else { return true };
    let length = Head::BYTES + frame.len();
    stream::frame(told, record.get(..length).unwrap_or(record));
    [head.rule, head.audited].iter().all(|rule| *rule == NO_RULE || rules.contains_key(rule))
}

async fn changed(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// How far the time of day is ahead of the monotonic clock.
fn ahead() -> u64 {
    let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let monotonic = Duration::try_from(monotonic).unwrap_or_default();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(monotonic).as_nanos().try_into().unwrap_or(u64::MAX)
}

fn system() -> String {
    let name = rustix::system::uname();
    format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy())
}
