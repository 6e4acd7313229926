//! Resource limits: as many open files as may be, and no core dump with what Docker told in it; and
//! a priority that closes new interfaces in time on a busy machine.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tracing::debug;

use super::SandboxError;

/// Has the process served before others, where it may be: for this thread and those to come.
pub fn come_first() {
    const BEFORE_MOST: i32 = -10;
    if let Err(error) = nice(BEFORE_MOST) {
        debug!(%error, "no higher priority");
    }
}

/// Has this thread served at once, where that may be: at real time, before every process of the
/// usual kind, which otherwise may finish its slice of some milliseconds first. For threads that mostly
/// wait.
pub fn come_at_once() {
    let once = ThreadPriority::Crossplatform(ThreadPriorityValue::MIN);
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), once, policy) {
        debug!(%error, "no real-time priority");
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
