//! Sections of a 64-bit little-endian ELF object, by name.

use std::ops::Range;

use anyhow::{Context as _, Result, bail, ensure};

/// Where the section's bytes are in the object.
pub(super) fn section(object: &[u8], name: &str) -> Result<Range<usize>> {
    ensure!(object.starts_with(b"\x7fELF\x02\x01"), "not a 64-bit little-endian ELF object");
    let table = address_at(object, 0x28)?;
    let size = usize::from(u16_at(object, 0x3a)?);
    let header = |index: u16| table + size * usize::from(index);
    let bytes = |header: usize| -> Result<Range<usize>> {
        let start = address_at(object, header + 0x18)?;
        Ok(start..start + address_at(object, header + 0x20)?)
    };
    let names = bytes(header(u16_at(object, 0x3e)?))?.start;
    for index in 0..u16_at(object, 0x3c)? {
        let at = names + usize::try_from(u32_at(object, header(index))?)?;
        let rest = object.get(at..).context("a section's name lies outside of the object")?;
        if rest.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0)) {
            return bytes(header(index));
        }
    }
    bail!("the object has no section {name}")
}

/// The little-endian number at this offset.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    let bytes = bytes.get(at..at + 2).with_context(|| format!("no number at byte {at}"))?;
    Ok(u16::from_le_bytes(bytes.try_into()?))
}

/// The little-endian number at this offset.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    let bytes = bytes.get(at..at + 4).with_context(|| format!("no number at byte {at}"))?;
    Ok(u32::from_le_bytes(bytes.try_into()?))
}

fn address_at(bytes: &[u8], at: usize) -> Result<usize> {
    let bytes = bytes.get(at..at + 8).with_context(|| format!("no number at byte {at}"))?;
    Ok(usize::try_from(u64::from_le_bytes(bytes.try_into()?))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(section(b"", ".BTF").is_err(), "nothing");
        assert!(section(b"\x7fELF\x02\x01", ".BTF").is_err(), "a head alone");
        assert!(section(b"MZ", ".BTF").is_err(), "another format");
    }

    #[test]
    fn sections_of_a_committed_object_are_found() {
        let object = include_bytes!("../../../plugin/bytecode/pass.o");
        let found = section(object, "license").unwrap();
        assert!(object[found].ends_with(b"\0"), "a license is a C string");
        assert!(section(object, ".BTF").is_ok(), "the programs have BTF");
        assert!(section(object, ".debug_info").is_err(), "debug information is stripped");
    }
}
