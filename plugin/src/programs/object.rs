//! What an object file has, before the kernel is asked: its functions, and what each is made for.
//! Pure.
//!
//! What of it would be read past its end is refused here: nothing of a broken file is to be loaded.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use object::{Architecture, Object as _, ObjectSection as _, ObjectSymbol as _, SectionFlags};
use object::{SymbolKind, elf};
use sha2::{Digest as _, Sha256};

use super::rename::rename_sections;
use super::{Kind, ProgramName};

/// How much of a hash is enough to tell files apart.
const HASH_BYTES: usize = 16;
/// The length of an instruction, in bytes.
const INSTRUCTION: u64 = 8;

/// An object file that was looked through.
#[derive(Clone, Debug)]
pub struct Object {
    bytes: Vec<u8>,
    /// Its functions that have a section of their own, in the order of their names.
    pub functions: Vec<Function>,
    /// The hash of the file, in hexadecimal digits.
    pub hash: String,
}

/// A function that the kernel can be asked to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The section that it is in.
    pub section: String,
    /// What it is made for, if that is XDP or TC.
    pub kind: Option<Kind>,
    index: usize,
}

impl Object {
    /// Looks a file through.
    ///
    /// # Errors
    ///
    /// Why it is no object that the kernel could be given.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, String> {
        let functions = functions(&bytes)?;
        let mut hash = String::new();
        for byte in Sha256::digest(&bytes).iter().take(HASH_BYTES) {
            // Writing to a string cannot fail.
            write!(hash, "{byte:02x}").ok();
        }
        Ok(Self { bytes, functions, hash })
    }

    /// The function that a label means.
    ///
    /// # Errors
    ///
    /// Why there is none, and which there are.
    pub fn function(&self, name: &ProgramName, kind: Kind) -> Result<&Function, String> {
        let found = match &name.function {
            Some(wanted) => self.functions.iter().find(|function| function.name == *wanted),
            None => self.only(name, kind)?,
        };
        match found {
            Some(function) if function.kind == Some(kind) => Ok(function),
            Some(Function { name: function, section, kind: other, .. }) => {
                let meant = other.map_or_else(
                    || "neither an XDP nor a TC program".to_owned(),
                    |other| format!("{}: use {}", other.with_article(), other.label()),
                );
                Err(format!("{function} is in section \"{section}\": it is {meant}"))
            }
            None => Err(format!(
                "there is no {}: {}",
                name.function.as_ref().map_or_else(
                    || format!("{} program", kind.word()),
                    |function| format!("function {function}"),
                ),
                self.all()
            )),
        }
    }

    /// The only function of a kind.
    fn only(&self, name: &ProgramName, kind: Kind) -> Result<Option<&Function>, String> {
        let of_kind: Vec<&Function> =
            self.functions.iter().filter(|function| function.kind == Some(kind)).collect();
        match of_kind.as_slice() {
            [] if self.functions.len() == 1 => Ok(self.functions.first()),
            [] => Ok(None),
            [only] => Ok(Some(*only)),
            several => {
                let file = &name.file;
                let several: Vec<String> =
                    several.iter().map(|function| format!("{file}#{}", function.name)).collect();
                Err(format!("there are several, name one: {}", several.join(", ")))
            }
        }
    }

    fn all(&self) -> String {
        let functions = self
            .functions
            .iter()
            .map(|Function { name, section, .. }| format!("{name} (section \"{section}\")"));
        match functions.collect::<Vec<_>>() {
            none if none.is_empty() => "it has no function in a section of its own".to_owned(),
            some => format!("it has {}", some.join(", ")),
        }
    }

    /// The file, with these functions' sections called as the loader calls theirs, and all other
    /// programs out of the way.
    ///
    /// # Errors
    ///
    /// When the file is not laid out as compilers do it.
    pub fn for_loading(&self, functions: &[&Function]) -> Result<Vec<u8>, String> {
        let mut names: BTreeMap<usize, String> = BTreeMap::new();
        for Function { index, .. } in &self.functions {
            names.insert(*index, format!("socket/{index}"));
        }
        for Function { index, section, kind, .. } in functions {
            let name = match kind {
                Some(Kind::Xdp) if section.starts_with("xdp.frags") => "xdp.frags",
                Some(Kind::Xdp) => "xdp",
                Some(Kind::Tc) => "classifier",
                None => continue,
            };
            names.insert(*index, name.to_owned());
        }
        rename_sections(&self.bytes, &names)
    }
}

fn functions(bytes: &[u8]) -> Result<Vec<Function>, String> {
    let file = object::File::parse(bytes).map_err(|error| format!("is no ELF object: {error}"))?;
    if !file.is_little_endian() || file.architecture() != Architecture::Bpf || !file.is_64() {
        return Err(
            "is no eBPF object for this machine: compile it with clang -target bpf".to_owned()
        );
    }
    let mut sections: BTreeMap<usize, (String, u64)> = BTreeMap::new();
    for section in file.sections() {
        // What is not all in the file is found out here.
        section.data().map_err(|error| format!("is cut off: {error}"))?;
        let name = section.name().map_err(|error| format!("is broken: {error}"))?;
        if is_code(section.flags()) {
            sections.insert(section.index().0, (name.to_owned(), section.size()));
        }
    }
    let mut found = Vec::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
        let Some(index) = symbol.section_index() else { continue };
        let Some((section, size)) = sections.get(&index.0) else { continue };
        let name = symbol.name().map_err(|error| format!("is broken: {error}"))?;
        let end = symbol.address().checked_add(symbol.size());
        if end.is_none_or(|end| end > *size || end % INSTRUCTION != 0) {
            return Err(format!("is broken: function {name} reaches beyond its section"));
        }
        if !section.starts_with(".text") && !name.is_empty() {
            let (name, section) = (name.to_owned(), section.clone());
            found.push(Function { kind: kind_of(&section), name, section, index: index.0 });
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

fn is_code(flags: SectionFlags) -> bool {
    matches!(flags, SectionFlags::Elf { sh_flags } if sh_flags & u64::from(elf::SHF_EXECINSTR) != 0)
}

/// What a section's name says that its functions are made for: libbpf's names, those of older
/// versions of it, and aya's.
fn kind_of(section: &str) -> Option<Kind> {
    let (family, rest) = section.split_once('/').unwrap_or((section, ""));
    let is = |name: &str| {
        let rest = family.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    };
    if family.starts_with("xdp") {
        // Programs for the entries of a map, which no interface takes.
        return (!matches!(rest, "cpumap" | "devmap")).then_some(Kind::Xdp);
    }
    ["tc", "tcx", "classifier", "action"].into_iter().any(is).then_some(Kind::Tc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_say_what_a_function_is_made_for() {
        for (section, kind) in [
            ("xdp", Some(Kind::Xdp)),
            ("xdp.frags", Some(Kind::Xdp)),
            ("xdp1", Some(Kind::Xdp)),
            ("xdp_drop", Some(Kind::Xdp)),
            ("xdp/drop", Some(Kind::Xdp)),
            ("xdp/cpumap", None),
            ("xdp.frags/devmap", None),
            ("tc", Some(Kind::Tc)),
            ("tc/ingress", Some(Kind::Tc)),
            ("tcx/egress", Some(Kind::Tc)),
            ("tc_drop", Some(Kind::Tc)),
            ("classifier", Some(Kind::Tc)),
            ("classifier/ingress", Some(Kind::Tc)),
            ("action", Some(Kind::Tc)),
            ("tcp_congestion", None),
            ("kprobe/tcp_connect", None),
            ("socket", None),
        ] {
            assert_eq!(kind_of(section), kind, "{section}");
        }
    }

    fn object(functions: &[(&str, &str)]) -> Object {
        let function = |(index, (name, section)): (usize, &(&str, &str))| Function {
            name: (*name).to_owned(),
            section: (*section).to_owned(),
            kind: kind_of(section),
            index,
        };
        let functions = functions.iter().enumerate().map(function).collect();
        Object { bytes: Vec::new(), functions, hash: String::new() }
    }

    #[track_caller]
    fn check(object: &Object, name: &str, kind: Kind, expected: Result<&str, &str>) {
        let name = ProgramName::parse(name).unwrap();
        let found = object.function(&name, kind).map(|function| function.name.as_str());
        match (&found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(*found, expected),
            (Err(error), Err(words)) => assert!(error.contains(words), "{error:?} lacks {words:?}"),
            _ => panic!("{name} {kind:?}: {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_function_is_found_by_its_name_or_as_the_only_one() {
        let two = object(&[("count", "xdp"), ("mark", "tc"), ("watch", "kprobe/x")]);
        check(&two, "x.o", Kind::Xdp, Ok("count"));
        check(&two, "x.o", Kind::Tc, Ok("mark"));
        check(&two, "x.o#mark", Kind::Tc, Ok("mark"));
        check(&two, "x.o#mark", Kind::Xdp, Err("a TC program: use tc.program"));
        check(&two, "x.o#watch", Kind::Xdp, Err("neither an XDP nor a TC program"));
        check(&two, "x.o#drop", Kind::Xdp, Err("no function drop: it has count (section \"xdp\")"));
        let many = object(&[("a", "xdp"), ("b", "xdp")]);
        check(&many, "x.o", Kind::Xdp, Err("name one: x.o#a, x.o#b"));
        check(&many, "x.o", Kind::Tc, Err("no TC program"));
        check(&object(&[("a", "tc")]), "x.o", Kind::Xdp, Err("a TC program: use tc.program"));
        check(&object(&[]), "x.o", Kind::Xdp, Err("no function in a section of its own"));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bytes in [b"".to_vec(), b"\x7fELF".to_vec(), vec![0; 4096], b"#!/bin/sh\n".to_vec()] {
            assert!(Object::parse(bytes).unwrap_err().contains("no ELF object"));
        }
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert!(Object::parse(own).unwrap_err().contains("clang -target bpf"));
    }
}
