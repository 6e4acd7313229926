//! Versions of rustc, LLVM and bpf-linker, read from what the tools themselves say.
//!
//! Pure: text and bytes in, values out.

use std::fmt;

use anyhow::{Context as _, Result};

/// A release of LLVM; ordered, so that "older than" can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LlvmVersion {
    pub(super) major: u32,
    minor: u32,
    patch: u32,
}

impl LlvmVersion {
    /// Reads `22.1.2`, and `22.1.2-rust-1.95.0-stable`, which rustc's own LLVM says.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let digits = text.split(|c: char| c != '.' && !c.is_ascii_digit()).next().unwrap_or("");
        let mut parts = digits.split('.').map(str::parse);
        let mut next = || parts.next().unwrap_or(Ok(0));
        let version = (next(), next(), next());
        let (Ok(major), Ok(minor), Ok(patch)) = version else {
            anyhow::bail!("`{text}` is not a version of LLVM");
        };
        Ok(Self { major, minor, patch })
    }

    /// The version of LLVM that wrote this bitcode, from its identification block.
    ///
    /// bpf-linker does not tell which LLVM it has, but every bitcode file names its producer, as
    /// `LLVM22.1.8` in six bits a character, at no particular bit.
    pub(super) fn of_bitcode(bitcode: &[u8]) -> Result<Self> {
        const HEAD: usize = 128;
        let bits: Vec<u8> = bitcode
            .iter()
            .take(HEAD)
            .flat_map(|byte| (0..8).map(move |i| (byte >> i) & 1))
            .collect();
        let text = (0..bits.len()).find_map(|at| producer(bits.get(at..)?));
        Self::parse(&text.context("the bitcode does not name its producer")?)
    }
}

impl fmt::Display for LlvmVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, patch } = self;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// What follows `LLVM`, if these bits begin with it.
fn producer(bits: &[u8]) -> Option<String> {
    let mut characters = bits.chunks_exact(6).map(char6);
    if !"LLVM".chars().all(|c| characters.next() == Some(c)) {
        return None;
    }
    let version: String = characters.take_while(|c| *c == '.' || c.is_ascii_digit()).collect();
    (!version.is_empty()).then_some(version)
}

/// One character of LLVM's six-bit alphabet, least significant bit first.
fn char6(bits: &[u8]) -> char {
    const ALPHABET: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._";
    let code = bits.iter().rev().fold(0_usize, |code, bit| (code << 1) | usize::from(*bit));
    ALPHABET.get(code).map_or('_', |c| char::from(*c))
}

/// What `rustc -vV` says, as far as it decides what the objects are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RustcVersion {
    /// The first line: `rustc 1.95.0 (59807616e 2026-04-14)`.
    pub(super) line: String,
    /// `1.95.0`.
    pub(super) release: String,
    /// The commit; none in some distributions' builds.
    pub(super) commit: Option<String>,
    /// The triple that this compiler runs on.
    pub(super) host: String,
    /// The LLVM inside it.
    pub(super) llvm: LlvmVersion,
}

impl RustcVersion {
    pub(super) fn parse(verbose: &str) -> Result<Self> {
        let line = verbose.lines().next().unwrap_or_default().trim().to_owned();
        let find =
            |key: &str| verbose.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let field = |key: &str| {
            find(key).with_context(|| format!("`rustc -vV` printed no `{key}`: {verbose}"))
        };
        Ok(Self {
            release: field("release:")?.to_owned(),
            commit: find("commit-hash:").filter(|hash| *hash != "unknown").map(str::to_owned),
            host: field("host:")?.to_owned(),
            llvm: LlvmVersion::parse(field("LLVM version:")?)?,
            line,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERBOSE: &str = "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\n\
        commit-hash: 59807616e1fa2540724bfbac14d7976d7e4a3860\ncommit-date: 2026-04-14\n\
        host: x86_64-unknown-linux-gnu\nrelease: 1.95.0\nLLVM version: 22.1.2\n";

    #[test]
    fn a_compilers_own_words_are_read() {
        let version = RustcVersion::parse(VERBOSE).unwrap();
        assert_eq!(version.release, "1.95.0");
        assert_eq!(version.host, "x86_64-unknown-linux-gnu");
        assert_eq!(version.llvm, LlvmVersion { major: 22, minor: 1, patch: 2 });
        assert_eq!(version.commit.as_deref(), Some("59807616e1fa2540724bfbac14d7976d7e4a3860"));
    }

    #[test]
    fn a_compiler_without_llvm_is_refused_with_the_missing_line() {
        let error = RustcVersion::parse("rustc 1.95.0\nhost: x\nrelease: 1.95.0\n").unwrap_err();
        assert!(error.to_string().contains("LLVM version:"), "{error}");
    }

    #[test]
    fn versions_of_llvm_are_read_and_ordered() {
        let check = |text: &str, expected: &str| {
            assert_eq!(LlvmVersion::parse(text).unwrap().to_string(), expected, "{text}");
        };
        check("22.1.2", "22.1.2");
        check("22.1.2-rust-1.95.0-stable", "22.1.2");
        check("23", "23.0.0");
        assert!(LlvmVersion::parse("none").is_err(), "no version is not version 0");
        assert!(LlvmVersion::parse("9.0.0").unwrap() < LlvmVersion::parse("22.1.2").unwrap());
    }

    #[test]
    fn bitcode_names_its_producer() {
        // The head of a file that bpf-linker with LLVM 22.1.8 wrote.
        let head = [
            0x42, 0x43, 0xc0, 0xde, 0x35, 0x14, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x62, 0x0c,
            0x30, 0x24, 0x4a, 0x59, 0xbe, 0xa6, 0x6d, 0xfb, 0xb5, 0xcf, 0x0b, 0x51, 0x80, 0x4c,
            0x01, 0x00, 0x00, 0x00,
        ];
        assert_eq!(LlvmVersion::of_bitcode(&head).unwrap().to_string(), "22.1.8");
        assert!(LlvmVersion::of_bitcode(&[0; 64]).is_err(), "zeros name nobody");
    }
}
