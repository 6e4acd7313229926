//! Own programs: eBPF objects that the operator put into a directory, and that labels name.
//!
//! What labels say of them, what may be read from the directory, and what an object has. Asks the
//! kernel nothing: [`kernel::own`](crate::kernel) loads and attaches them.

mod directory;
mod name;
mod object;
mod rename;

use serde::{Deserialize, Serialize};

pub use self::directory::{DEFAULT_DIRECTORY, check, list, read};
pub use self::name::ProgramName;
pub use self::object::{Function, Object};

/// What a program is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// XDP.
    Xdp,
    /// TC, which is TCX too.
    Tc,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Xdp, Self::Tc];

    /// The label that names such a program.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Xdp => "xdp.program",
            Self::Tc => "tc.program",
        }
    }

    /// `an XDP program` or `a TC program`.
    pub(crate) const fn with_article(self) -> &'static str {
        match self {
            Self::Xdp => "an XDP program",
            Self::Tc => "a TC program",
        }
    }

    /// `XDP` or `TC`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Xdp => "XDP",
            Self::Tc => "TC",
        }
    }
}
