//! Giving sections of an object other names: the loader knows `xdp` and `classifier`, while compilers
//! write what libbpf and iproute2 know. Pure.
//!
//! The names are in the table of section names, and once more in the BTF that says of each section
//! which functions and relocations it has. Both are written anew behind the file's end; nothing else
//! moves.

use std::collections::BTreeMap;

/// Where in the file's header the table of sections is told.
const TABLE_OFFSET: usize = 0x28;
const ENTRY_SIZE: usize = 0x3a;
const NAMES_INDEX: usize = 0x3e;
/// Where in a section's entry its name, place and size are.
const NAME: usize = 0;
const PLACE: usize = 24;
const SIZE: usize = 32;
/// Where in the header of BTF its own length, and the place and length of its strings are.
const BTF_HEADER_LENGTH: usize = 4;
const BTF_STRINGS: usize = 16;
const BTF_STRINGS_LENGTH: usize = 20;
/// Where in the header of `.BTF.ext` the places of its three tables are, each before its length.
const EXT_TABLES: [usize; 3] = [8, 16, 24];

/// Gives sections, by their indices, these names.
///
/// # Errors
///
/// When the file is not laid out as compilers do it.
pub(super) fn rename_sections(
    file: &[u8],
    names: &BTreeMap<usize, String>,
) -> Result<Vec<u8>, String> {
    Renaming { file: file.to_vec() }
        .rename(names)
        .ok_or_else(|| "is not laid out as compilers do it".to_owned())
}

struct Renaming {
    file: Vec<u8>,
}

/// A section: where its entry is, and where its contents are.
#[derive(Clone, Copy)]
struct Section {
    entry: usize,
    place: usize,
    size: usize,
}

impl Renaming {
    fn rename(mut self, names: &BTreeMap<usize, String>) -> Option<Vec<u8>> {
        let table = self.section(self.half(NAMES_INDEX)?)?;
        let mut strings = self.contents(table)?.to_vec();
        let mut renamed = Vec::new();
        for (index, name) in names {
            let section = self.section(*index)?;
            let before = string_at(&strings, self.word(section.entry + NAME)?)?.to_vec();
            let at = append(&mut strings, name)?;
            self.put(section.entry + NAME, at)?;
            renamed.push((before, name.as_str()));
        }
        let find = |name: &[u8]| {
            (0..).map_while(|index| self.section(index)).find(|section| {
                let at = self.word(section.entry + NAME);
                at.and_then(|at| string_at(&strings, at)) == Some(name)
            })
        };
        let (btf, ext) = (find(b".BTF"), find(b".BTF.ext"));
        if let Some(btf) = btf {
            self.rename_in_btf(btf, ext, &renamed)?;
        }
        self.replace(table, &strings)?;
        Some(self.file)
    }

    /// Names are strings of the BTF, to which `.BTF.ext` refers.
    fn rename_in_btf(
        &mut self,
        btf: Section,
        ext: Option<Section>,
        renamed: &[(Vec<u8>, &str)],
    ) -> Option<()> {
        let mut types = self.contents(btf)?.to_vec();
        let header = read_word(&types, BTF_HEADER_LENGTH)?;
        let strings = header.checked_add(read_word(&types, BTF_STRINGS)?)?;
        let length = read_word(&types, BTF_STRINGS_LENGTH)?;
        // The strings come last, and so can be added to.
        if strings.checked_add(length)? != types.len() {
            return None;
        }
        let mut added = types.get(strings..)?.to_vec();
        let mut places = Vec::new();
        for (before, name) in renamed {
            places.push((before.clone(), append(&mut added, name)?));
        }
        types.truncate(strings);
        types.extend_from_slice(&added);
        write_word(&mut types, BTF_STRINGS_LENGTH, u32::try_from(added.len()).ok()?)?;
        if let Some(ext) = ext {
            for place in self.names_in_ext(ext)? {
                let name = string_at(&added, self.word(place)?)?;
                if let Some((_, at)) = places.iter().find(|(before, _)| before == name) {
                    self.put(place, *at)?;
                }
            }
        }
        self.replace(btf, &types)
    }

    /// Where in the file `.BTF.ext` refers to names of sections.
    fn names_in_ext(&self, ext: Section) -> Option<Vec<usize>> {
        self.contents(ext)?;
        let header = self.word(ext.place + BTF_HEADER_LENGTH)?;
        let mut found = Vec::new();
        for table in EXT_TABLES {
            // An older header has no table of relocations.
            if table + 8 > header {
                continue;
            }
            let mut at = ext.place + header + self.word(ext.place + table)?;
            let end = at.checked_add(self.word(ext.place + table + 4)?)?;
            if end == at {
                continue;
            }
            let record = self.word(at)?;
            at += 4;
            // Each section: the name, how many records follow, and those.
            while at < end {
                found.push(at);
                let records = self.word(at + 4)?.checked_mul(record)?;
                at = at.checked_add(8)?.checked_add(records)?;
            }
        }
        Some(found)
    }

    fn section(&self, index: usize) -> Option<Section> {
        const COUNT: usize = 0x3c;
        if index >= self.half(COUNT)? {
            return None;
        }
        let table = self.long(TABLE_OFFSET)?;
        let entry = table.checked_add(index.checked_mul(self.half(ENTRY_SIZE)?)?)?;
        if entry >= self.file.len() {
            return None;
        }
        Some(Section { entry, place: self.long(entry + PLACE)?, size: self.long(entry + SIZE)? })
    }

    fn contents(&self, section: Section) -> Option<&[u8]> {
        self.file.get(section.place..section.place.checked_add(section.size)?)
    }

    /// Gives a section other contents, behind the file's end.
    fn replace(&mut self, section: Section, contents: &[u8]) -> Option<()> {
        // Where a number may be read from.
        self.file.resize(self.file.len().next_multiple_of(8), 0);
        let place = u64::try_from(self.file.len()).ok()?;
        let size = u64::try_from(contents.len()).ok()?;
        self.file.extend_from_slice(contents);
        self.put_long(section.entry + PLACE, place)?;
        self.put_long(section.entry + SIZE, size)
    }

    fn half(&self, at: usize) -> Option<usize> {
        let bytes = self.file.get(at..at + 2)?.try_into().ok()?;
        Some(usize::from(u16::from_le_bytes(bytes)))
    }

    fn word(&self, at: usize) -> Option<usize> {
        read_word(&self.file, at)
    }

    fn long(&self, at: usize) -> Option<usize> {
        let bytes = self.file.get(at..at.checked_add(8)?)?.try_into().ok()?;
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    }

    fn put(&mut self, at: usize, word: u32) -> Option<()> {
        write_word(&mut self.file, at, word)
    }

    fn put_long(&mut self, at: usize, long: u64) -> Option<()> {
        self.file.get_mut(at..at + 8)?.copy_from_slice(&long.to_le_bytes());
        Some(())
    }
}

fn read_word(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}

fn write_word(bytes: &mut [u8], at: usize, word: u32) -> Option<()> {
    bytes.get_mut(at..at.checked_add(4)?)?.copy_from_slice(&word.to_le_bytes());
    Some(())
}

/// The string that begins there, in a table of strings that end with a zero.
fn string_at(strings: &[u8], at: usize) -> Option<&[u8]> {
    strings.get(at..)?.split(|byte| *byte == 0).next()
}

/// Adds a string to such a table; where it is.
fn append(strings: &mut Vec<u8>, string: &str) -> Option<u32> {
    let at = u32::try_from(strings.len()).ok()?;
    strings.extend_from_slice(string.as_bytes());
    strings.push(0);
    Some(at)
}

#[cfg(test)]
mod tests {
    use object::{Object as _, ObjectSection as _};

    use super::*;

    /// One of our own objects, which has BTF and programs in two sections.
    fn ours() -> Vec<u8> {
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/bytecode/drop-tcp.o")).unwrap()
    }

    fn sections(file: &[u8]) -> Vec<(usize, String, Vec<u8>)> {
        let file = object::File::parse(file).unwrap();
        let section = |section: object::Section<'_, '_>| {
            let name = section.name().unwrap().to_owned();
            (section.index().0, name, section.data().unwrap().to_vec())
        };
        file.sections().map(section).collect()
    }

    #[test]
    fn a_section_has_another_name_and_all_else_is_as_it_was() {
        let before = sections(&ours());
        let (index, ..) = before.iter().find(|(_, name, _)| name == "classifier").unwrap();
        let names = BTreeMap::from([(*index, "a/rather/long/name".to_owned())]);
        let renamed = rename_sections(&ours(), &names).unwrap();
        for ((at, before, data), (_, after, now)) in before.iter().zip(sections(&renamed)) {
            let expected = if at == index { "a/rather/long/name" } else { before };
            assert_eq!(after, expected);
            if !before.starts_with(".BTF") && !before.ends_with("strtab") {
                assert_eq!(*data, now, "{before}");
            }
        }
    }

    #[test]
    fn a_file_that_ends_anywhere_is_refused_or_renamed_and_never_read_past_its_end() {
        let whole = ours();
        let names = BTreeMap::from([(2, "xdp".to_owned())]);
        for length in (0..whole.len()).step_by(97) {
            rename_sections(&whole[..length], &names).ok();
        }
        for at in (0..whole.len()).step_by(31) {
            let mut broken = whole.clone();
            broken[at] ^= 0xff;
            rename_sections(&broken, &names).ok();
        }
    }
}
