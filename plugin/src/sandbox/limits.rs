//! Resource limits: as many open files as may be, and no core dump with what Docker told in it; and
//! a priority that closes new interfaces in time on a busy machine.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thread_priority::{
    NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue,
    ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};
use tracing::debug;

use super::SandboxError;

/// Has this thread served at once, and those that it starts: at real time, before every process of
/// the usual kind, which otherwise may finish its slice of some milliseconds first. For threads that
/// mostly wait. Takes `CAP_SYS_NICE`.
pub fn come_first() {
    // The lowest that there is at real time.
    const LOWEST: u8 = 1;
    schedule(ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin), LOWEST);
}

/// Has this thread served when it is its turn, as others are.
pub fn come_in_turn() {
    // On the crate's scale from 0 to 99, a nice value of 0.
    const USUAL: u8 = 48;
    schedule(ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other), USUAL);
}

fn schedule(policy: ThreadSchedulePolicy, priority: u8) {
    let priority = ThreadPriorityValue::try_from(priority).unwrap_or(ThreadPriorityValue::MIN);
    let priority = ThreadPriority::Crossplatform(priority);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), priority, policy) {
        debug!(?error, ?policy, "priority not set");
    }
}

/// Sets them, for the whole process.
///
/// # Errors
///
/// When the system refuses.
pub(super) fn set() -> Result<(), SandboxError> {
    let failed = |what| {
        move |source: rustix::io::Errno| SandboxError::System {
            what,
            source: io::Error::from(source),
        }
    };
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard })
        .map_err(failed("raise the limit of open files"))?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .map_err(failed("forbid core dumps"))
}
