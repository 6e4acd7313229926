//! What containers execute, as it happens: `execve` and `execveat` with the file and the arguments.
//!
//! - `whose.rs` finds out which container a process belongs to;
//! - `event.rs` has what is told, as a line and as JSON;
//! - `follow.rs` puts both to what the kernel tells.
//!
//! All of it runs in the command that follows, with that command's rights: the daemon has given up what
//! it takes.

mod event;
mod follow;
mod whose;

pub use self::event::{ExecEvent, Line};
pub use self::follow::{FollowError, follow};
