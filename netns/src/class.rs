//! What kind of failure an error is, so that a caller can decide without reading its text.

use std::io;

use rustix::io::Errno;

/// What kind of failure an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// What the user asked for cannot be done; asking again will not help.
    User,
    /// The process, namespace or link went away. In a daemon this is not an error.
    Gone,
    /// The system was busy or out of something; trying again may help.
    Transient,
    /// The caller lacks a capability or may not open the file.
    Permission,
    /// Something answered in a way that it should not: a bug here or there.
    Bug,
}

impl ErrorClass {
    /// Classes an operating system error; what is not known is [`ErrorClass::Bug`].
    #[must_use]
    pub fn of_io(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::PERM | Errno::ACCESS) => Self::Permission,
            Some(Errno::NOENT | Errno::SRCH | Errno::NODEV | Errno::NXIO | Errno::STALE) => {
                Self::Gone
            }
            Some(
                Errno::AGAIN
                | Errno::BUSY
                | Errno::INTR
                | Errno::NOBUFS
                | Errno::NOMEM
                | Errno::MFILE
                | Errno::NFILE
                | Errno::NOSPC
                | Errno::TIMEDOUT,
            ) => Self::Transient,
            Some(
                Errno::LOOP
                | Errno::NAMETOOLONG
                | Errno::NOTDIR
                | Errno::ISDIR
                | Errno::EXIST
                | Errno::ROFS,
            ) => Self::User,
            _ => Self::Bug,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_decides_the_class() {
        let cases = [
            (Errno::PERM, ErrorClass::Permission),
            (Errno::ACCESS, ErrorClass::Permission),
            (Errno::NOENT, ErrorClass::Gone),
            (Errno::SRCH, ErrorClass::Gone),
            (Errno::NODEV, ErrorClass::Gone),
            (Errno::NOBUFS, ErrorClass::Transient),
            (Errno::MFILE, ErrorClass::Transient),
            (Errno::LOOP, ErrorClass::User),
            (Errno::INVAL, ErrorClass::Bug),
        ];
        for (errno, expected) in cases {
            assert_eq!(ErrorClass::of_io(&errno.into()), expected, "{errno}");
        }
        assert_eq!(ErrorClass::of_io(&io::Error::other("no errno")), ErrorClass::Bug);
    }
}
