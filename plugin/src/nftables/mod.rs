//! Talking to `nf_tables`: batches of changes, which the kernel makes as a whole or not at all, and
//! questions. What is in a table is known to whoever has it: [`gate`](crate::gate) and
//! [`cnm`](crate::cnm).

mod error;
mod socket;

pub use self::error::NfError;
pub(crate) use self::socket::{Command, Generation, Raw, Socket};
