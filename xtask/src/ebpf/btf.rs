//! Makes BTF the same for the same input.
//!
//! LLVM keeps the forward declarations that it adds at the end of a module in a map that hashes
//! their addresses (`FixupDerivedTypes` in `BTFDebug.cpp`). Where two addresses share a bucket,
//! about one link in thirteen, they come out in another order, and with them the numbers of the
//! types and their names in the string table. This sorts them by name, in place: no size changes.
//!
//! Layout: <https://docs.kernel.org/bpf/btf.html>.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

use super::elf;

const MAGIC: u16 = 0xeb9f;
const KIND_FWD: u32 = 7;

/// Sorts the forward declarations in the object's `.BTF`.
pub(super) fn sort_forward_declarations(object: &mut [u8]) -> Result<()> {
    let section = elf::section(object, ".BTF")?;
    let section = object.get_mut(section).context(".BTF lies outside of the object")?;
    let mut btf = Btf::parse(section)?;
    for run in btf.runs() {
        btf.sort(&run)?;
    }
    btf.write(section)
}

/// The types and strings of a `.BTF` section.
#[derive(Debug)]
struct Btf {
    /// Where in the section the types begin, and the strings.
    types_at: usize,
    strings_at: usize,
    /// Each type's words; the first has the number 1, since 0 is `void`.
    types: Vec<Vec<u32>>,
    strings: Vec<u8>,
}

/// What a word of a type is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Name,
    Type,
    Other,
}

impl Btf {
    fn parse(section: &[u8]) -> Result<Self> {
        let word = |at: usize| usize::try_from(elf::u32_at(section, at)?).context("a length");
        ensure!(elf::u16_at(section, 0)? == MAGIC, ".BTF does not begin with its magic number");
        let header = word(4)?;
        let (types_at, types_len) = (header + word(8)?, word(12)?);
        let (strings_at, strings_len) = (header + word(16)?, word(20)?);
        let bytes = |at: usize, length: usize| {
            section.get(at..at + length).context(".BTF is shorter than its header says")
        };
        let words = bytes(types_at, types_len)?.chunks_exact(4);
        let words: Vec<u32> = words.map(|word| elf::u32_at(word, 0)).collect::<Result<_>>()?;
        let mut rest = words.as_slice();
        let mut types = Vec::new();
        while !rest.is_empty() {
            let info = rest.get(1).context("a type of .BTF is cut off")?;
            let length = words_of(*info)?.len();
            ensure!(length <= rest.len(), "the last type of .BTF is cut off");
            let (this, after) = rest.split_at(length);
            types.push(this.to_vec());
            rest = after;
        }
        let strings = bytes(strings_at, strings_len)?.to_vec();
        Ok(Self { types_at, strings_at, types, strings })
    }

    /// The places of neighbouring forward declarations, as far as there is something to sort.
    fn runs(&self) -> Vec<Vec<usize>> {
        let is_fwd = |words: &Vec<u32>| words.get(1).is_some_and(|info| kind(*info) == KIND_FWD);
        let mut runs = vec![Vec::new()];
        for (place, words) in self.types.iter().enumerate() {
            match runs.last_mut() {
                Some(run) if is_fwd(words) => run.push(place),
                Some(run) if !run.is_empty() => runs.push(Vec::new()),
                _ => {}
            }
        }
        runs.retain(|run| run.len() > 1);
        runs
    }

    /// Gives the declarations of a run, and their names, the order of their names.
    fn sort(&mut self, run: &[usize]) -> Result<()> {
        let mut sorted = Vec::new();
        for place in run {
            let words = self.types.get(*place).context("a place of the run")?.clone();
            let offset = *words.first().context("a type has words")?;
            sorted.push((self.name(offset)?, offset, number(*place)?, words));
        }
        sorted.sort();
        let mut types = BTreeMap::new();
        for (place, (_, _, was, words)) in run.iter().zip(&sorted) {
            types.insert(*was, number(*place)?);
            self.types.get_mut(*place).context("a place of the run")?.clone_from(words);
        }
        let names = sorted.into_iter().map(|(name, offset, ..)| (name, offset)).collect();
        let names = self.sort_names(names)?;
        self.rename(&types, &names)
    }

    fn name(&self, offset: u32) -> Result<Vec<u8>> {
        let string = self.strings.get(usize::try_from(offset)?..).context("a name's offset")?;
        Ok(string.iter().copied().take_while(|byte| *byte != 0).collect())
    }

    /// Lays out names that stand side by side in the table in the order given; returns what became
    /// of their offsets. A name that something before had, too, stands elsewhere and stays.
    fn sort_names(&mut self, names: Vec<(Vec<u8>, u32)>) -> Result<BTreeMap<u32, u32>> {
        let mut by_offset: Vec<(usize, usize)> = Vec::new();
        for (name, offset) in &names {
            by_offset.push((usize::try_from(*offset)?, name.len() + 1));
        }
        by_offset.sort_unstable();
        let mut start = by_offset.last().map_or(0, |(offset, length)| offset + length);
        for (offset, length) in by_offset.iter().rev() {
            if offset + length != start {
                break;
            }
            start = *offset;
        }
        let mut moved = BTreeMap::new();
        let mut at = start;
        for (name, offset) in names {
            if usize::try_from(offset)? < start {
                continue;
            }
            let string = [name.as_slice(), &[0]].concat();
            let place = self.strings.get_mut(at..at + string.len()).context("a name's place")?;
            place.copy_from_slice(&string);
            moved.insert(offset, u32::try_from(at)?);
            at += string.len();
        }
        Ok(moved)
    }

    /// Follows the moves of types and names in every type.
    fn rename(&mut self, types: &BTreeMap<u32, u32>, names: &BTreeMap<u32, u32>) -> Result<()> {
        for words in &mut self.types {
            let kinds = words_of(*words.get(1).context("a type has words")?)?;
            for (word, kind) in words.iter_mut().zip(kinds) {
                let moved = match kind {
                    Word::Name => names.get(word),
                    Word::Type => types.get(word),
                    Word::Other => None,
                };
                *word = moved.copied().unwrap_or(*word);
            }
        }
        Ok(())
    }

    fn write(self, section: &mut [u8]) -> Result<()> {
        let Self { types_at, strings_at, types, strings } = self;
        let types: Vec<u8> = types.concat().iter().flat_map(|word| word.to_le_bytes()).collect();
        for (at, bytes) in [(types_at, types), (strings_at, strings)] {
            let place = section.get_mut(at..at + bytes.len()).context("a part of .BTF")?;
            place.copy_from_slice(&bytes);
        }
        Ok(())
    }
}

/// The number of the type at this place.
fn number(place: usize) -> Result<u32> {
    u32::try_from(place + 1).context("more types than BTF can number")
}

fn kind(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

/// What the words of a type are, by its second one.
fn words_of(info: u32) -> Result<Vec<Word>> {
    use Word::{Name, Other, Type};
    let (third, once, each): (Word, &[Word], &[Word]) = match kind(info) {
        1 => (Other, &[Other], &[]),                 // INT
        2 | 8..=12 | 18 => (Type, &[], &[]),         // PTR, TYPEDEF … FUNC, TYPE_TAG
        3 => (Other, &[Type, Type, Other], &[]),     // ARRAY
        4 | 5 => (Other, &[], &[Name, Type, Other]), // STRUCT, UNION
        6 => (Other, &[], &[Name, Other]),           // ENUM
        KIND_FWD | 16 => (Other, &[], &[]),          // FWD, FLOAT
        13 => (Type, &[], &[Name, Type]),            // FUNC_PROTO
        14 | 17 => (Type, &[Other], &[]),            // VAR, DECL_TAG
        15 => (Other, &[], &[Type, Other, Other]),   // DATASEC
        19 => (Other, &[], &[Name, Other, Other]),   // ENUM64
        kind => anyhow::bail!("BTF kind {kind} is not known here: add what its words are"),
    };
    let members = usize::try_from(info & 0xffff)?;
    // Of a FUNC, this is its linkage.
    let members = if each.is_empty() { 0 } else { members };
    Ok([&[Name, Other, third], once, &each.repeat(members)].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `.BTF` with an integer, a pointer to each declaration, and the declarations.
    fn section(declarations: [&str; 2]) -> Vec<u8> {
        let strings = format!("\0int\0{}\0{}\0", declarations[0], declarations[1]);
        let names = [5, 6 + u32::try_from(declarations[0].len()).unwrap()];
        let number_of = |name: &str| if declarations[0] == name { 4 } else { 5 };
        let info = |kind: u32| kind << 24;
        let types = [
            vec![1, info(1), 4, 32],
            vec![0, info(2), number_of("flow")],
            vec![0, info(2), number_of("sock")],
            vec![names[0], info(KIND_FWD), 0],
            vec![names[1], info(KIND_FWD), 0],
            vec![1, info(4) | 1, 8, names[1], 5, 0],
        ]
        .concat();
        let length = u32::try_from(types.len() * 4).unwrap();
        let header = [24, 0, length, length, u32::try_from(strings.len()).unwrap()];
        let words = header.iter().chain(&types).flat_map(|word| word.to_le_bytes());
        let magic = [0x9f, 0xeb, 1, 0];
        magic.into_iter().chain(words).chain(strings.bytes()).collect()
    }

    fn sorted(mut section: Vec<u8>) -> Vec<u8> {
        let mut btf = Btf::parse(&section).unwrap();
        for run in btf.runs() {
            btf.sort(&run).unwrap();
        }
        btf.write(&mut section).unwrap();
        section
    }

    #[test]
    fn declarations_in_order_stay_as_they_are() {
        let section = section(["flow", "sock"]);
        assert_eq!(sorted(section.clone()), section);
    }

    #[test]
    fn declarations_in_another_order_are_sorted_with_all_that_names_them() {
        let btf = Btf::parse(&sorted(section(["sock", "flow"]))).unwrap();
        assert_eq!(btf.strings, b"\0int\0flow\0sock\0");
        let words: Vec<&[u32]> = btf.types.iter().map(Vec::as_slice).collect();
        assert_eq!(words[1], [0, 2 << 24, 4], "the pointer to flow");
        assert_eq!(words[2], [0, 2 << 24, 5], "the pointer to sock");
        assert_eq!((words[3][0], words[4][0]), (5, 10), "their names");
        assert_eq!(words[5][3..5], [5, 4], "a member that has the name and the type of flow");
    }

    #[test]
    fn names_that_stood_before_stay_where_they_are() {
        let mut btf = Btf::parse(&section(["sock", "flow"])).unwrap();
        btf.strings = b"\0flow\0int\0sock\0".to_vec();
        let moved = btf.sort_names(vec![(b"flow".to_vec(), 1), (b"sock".to_vec(), 10)]).unwrap();
        assert_eq!(btf.strings, b"\0flow\0int\0sock\0");
        assert_eq!(moved, BTreeMap::from([(10, 10)]));
    }

    #[test]
    fn what_is_no_btf_is_refused() {
        let mut wrong = section(["flow", "sock"]);
        wrong[0] = 0;
        assert!(Btf::parse(&wrong).is_err(), "the magic number is wrong");
        let cut = &section(["flow", "sock"])[..40];
        assert!(Btf::parse(cut).is_err(), "the section is cut off");
    }
}
