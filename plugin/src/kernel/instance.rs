//! A program of the operator's, loaded for one container: made of a file, or found as an earlier
//! daemon left it.
//!
//! It has maps of its own, which are pinned beside it for whoever wants to read them. What cannot be
//! loaded leaves what was there as it is. Attaches nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aya::maps::MapData;
use aya::programs::xdp::Xdp;
use aya::programs::{Program, ProgramError, SchedClassifier};
use aya::{Ebpf, EbpfLoader};
use aya_obj::programs::XdpAttachType;

use super::ProgramIdentity;
use super::load::last_lines;
use super::pins::{self, PinsError};
use crate::error::chain;
use crate::programs::{self, Function, Kind, Object, ProgramName};

/// What of a file is to be loaded for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// For whom, and of which file.
    pub key: InstanceKey,
    /// The functions, by what they are to be used for; the only one of that kind if none is named.
    pub functions: BTreeSet<(Kind, Option<String>)>,
}

/// A file as it is loaded for a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstanceKey {
    /// The container's full id.
    pub container: String,
    /// The file.
    pub file: String,
}

/// What was ordered, or why it could not be had.
#[derive(Debug)]
pub struct Loaded {
    /// What was ordered.
    pub order: Order,
    /// What there is.
    pub result: Result<Instance, String>,
}

/// What is loaded of a file for a container.
#[derive(Debug)]
pub struct Instance {
    /// The programs, by how they were ordered.
    pub programs: BTreeMap<(Kind, Option<String>), ProgramIdentity>,
    /// Where its maps are pinned.
    pub maps: PathBuf,
    /// Whether an earlier daemon had loaded it.
    pub is_inherited: bool,
    pub(super) handles: Vec<Handle>,
}

/// A program that is loaded and pinned.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) id: u32,
    pub(super) program: OwnProgram,
    pub(super) pin: PathBuf,
    pub(super) beside: Arc<Beside>,
}

/// What is pinned beside a program: held open, to be pinned again where somebody removes it.
#[derive(Debug)]
pub(super) struct Beside {
    place: PathBuf,
    hash: String,
    maps: Vec<(PathBuf, MapData)>,
}

/// As what it is attached.
#[derive(Debug)]
pub(super) enum OwnProgram {
    Xdp(Xdp),
    Tc(SchedClassifier),
}

impl InstanceKey {
    /// Where it is pinned, below the directory of what is loaded for containers. Dots cannot be in
    /// names of the BPF file system, and `+` is in no name of a file.
    pub(super) fn place(&self, containers: &Path) -> PathBuf {
        let stem = self.file.strip_suffix(".o").unwrap_or(&self.file);
        containers.join(&self.container).join(stem.replace('.', "+"))
    }
}

/// Has what was ordered, by loading it if it is not there.
pub(super) fn fill(order: &Order, directory: &Path, containers: &Path) -> Result<Instance, String> {
    let InstanceKey { file, .. } = &order.key;
    let bytes = programs::read(directory, file)?;
    let object = Object::parse(bytes).map_err(|why| format!("{file}: {why}"))?;
    let mut wanted = BTreeMap::new();
    for (kind, function) in &order.functions {
        let name = ProgramName { file: file.clone(), function: function.clone() };
        let found = object.function(&name, *kind).map_err(|why| format!("{file}: {why}"))?;
        wanted.insert((*kind, function.clone()), found);
    }
    let place = order.key.place(containers);
    if let Some(instance) = inherit(&place, &object, &wanted) {
        return Ok(instance);
    }
    load(&place, &object, &wanted).map_err(|why| format!("{file}: {why}"))
}

/// The functions that are wanted, by how they were ordered.
type Wanted<'a> = BTreeMap<(Kind, Option<String>), &'a Function>;

/// What an earlier daemon loaded of the same file, all of it.
fn inherit(place: &Path, object: &Object, wanted: &Wanted<'_>) -> Option<Instance> {
    if !place.join("object").join(&object.hash).exists() {
        return None;
    }
    let instance = open(place, &object.hash, wanted).ok()?;
    Some(Instance { is_inherited: true, ..instance })
}

fn load(place: &Path, object: &Object, wanted: &Wanted<'_>) -> Result<Instance, String> {
    let mut staging = place.as_os_str().to_owned();
    // In no name of a file either.
    staging.push("~");
    let staging = PathBuf::from(staging);
    let made = load_at(&staging, object, wanted).and_then(|()| {
        pins::remove_tree(place).map_err(|error| chain(&error))?;
        fs::rename(&staging, place).map_err(|error| {
            format!("rename {} to {}: {error}", staging.display(), place.display())
        })
    });
    if let Err(why) = made {
        pins::remove_tree(&staging).map_err(|error| format!("{why}; {}", chain(&error)))?;
        return Err(why);
    }
    open(place, &object.hash, wanted)
}

fn load_at(staging: &Path, object: &Object, wanted: &Wanted<'_>) -> Result<(), String> {
    pins::remove_tree(staging)
        .and_then(|()| make_directories(staging, &object.hash))
        .map_err(|error| chain(&error))?;
    let functions: Vec<&Function> = wanted.values().copied().collect();
    let mut ebpf = ebpf(object, &functions, Some(&staging.join("maps")))?;
    for function in functions {
        let pin = staging.join("programs").join(&function.name);
        load_program(&mut ebpf, function)?;
        // One function may be used in both directions.
        if !pin.exists() {
            let program = ebpf.program_mut(&function.name).ok_or("it is gone: a bug")?;
            program
                .pin(&pin)
                .map_err(|error| format!("pin {}: {}", pin.display(), chain(&error)))?;
        }
    }
    for (name, map) in ebpf.maps() {
        let pin = staging.join("maps").join(name.trim_start_matches('.').replace('.', "+"));
        if !pin.exists() {
            map.pin(&pin).map_err(|error| format!("pin {}: {}", pin.display(), chain(&error)))?;
        }
    }
    Ok(())
}

fn make_directories(place: &Path, hash: &str) -> Result<(), PinsError> {
    let above = place.ancestors().take(3).collect::<Vec<_>>();
    above.into_iter().rev().try_for_each(pins::make_directory)?;
    for part in ["maps", "programs", "object"] {
        pins::make_directory(&place.join(part))?;
    }
    pins::make_directory(&place.join("object").join(hash))
}

/// Has the kernel make the maps of an object, of which these functions are wanted. What it asks to
/// have pinned itself is pinned in the directory.
fn ebpf(object: &Object, functions: &[&Function], maps: Option<&Path>) -> Result<Ebpf, String> {
    let bytes = object.for_loading(functions)?;
    let mut loader = EbpfLoader::new();
    loader.allow_unsupported_maps();
    if let Some(maps) = maps {
        loader.default_map_pin_directory(maps);
    }
    loader.load(&bytes).map_err(|error| format!("load: {}", chain(&error)))
}

fn load_program(ebpf: &mut Ebpf, function: &Function) -> Result<(), String> {
    let name = &function.name;
    let program = ebpf.program_mut(name).ok_or_else(|| format!("{name} is not found: a bug"))?;
    let loaded = match program {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    };
    match loaded {
        Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(()),
        Err(error) => Err(format!("load {name}: {}", last_lines(&error))),
    }
}

/// Has the kernel verify a function, and keeps nothing.
///
/// # Errors
///
/// Why this kernel does not load it.
pub fn verify(object: &Object, function: &Function) -> Result<(), String> {
    load_program(&mut ebpf(object, &[function], None)?, function)
}

/// Opens what is pinned.
fn open(place: &Path, hash: &str, wanted: &Wanted<'_>) -> Result<Instance, String> {
    let beside = Arc::new(Beside::open(place, hash)?);
    let mut programs = BTreeMap::new();
    let mut handles: Vec<Handle> = Vec::new();
    for (how, function) in wanted {
        let pin = place.join("programs").join(&function.name);
        let (program, identity) = open_program(&pin, how.0)
            .map_err(|error| format!("open {}: {}", pin.display(), chain(&error)))?;
        if handles.iter().all(|known| known.pin != pin) {
            handles.push(Handle { id: identity.id, program, pin, beside: Arc::clone(&beside) });
        }
        programs.insert(how.clone(), identity);
    }
    Ok(Instance { programs, maps: place.join("maps"), is_inherited: false, handles })
}

impl Beside {
    fn open(place: &Path, hash: &str) -> Result<Self, String> {
        let pins = pins::entries(&place.join("maps")).map_err(|error| chain(&error))?;
        let open = |(_, path): (String, PathBuf)| match MapData::from_pin(&path) {
            Ok(map) => Ok((path, map)),
            Err(error) => Err(format!("open {}: {}", path.display(), chain(&error))),
        };
        let maps = pins.into_iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { place: place.to_owned(), hash: hash.to_owned(), maps })
    }

    /// Pins again what somebody removed; how many maps that were.
    pub(super) fn repin(&self) -> Result<usize, String> {
        let missing = || self.maps.iter().filter(|(path, _)| !path.exists());
        let is_known = self.place.join("object").join(&self.hash).exists();
        if is_known && missing().next().is_none() {
            return Ok(0);
        }
        make_directories(&self.place, &self.hash).map_err(|error| chain(&error))?;
        let mut made = 0;
        for (path, map) in missing() {
            map.pin(path).map_err(|error| format!("pin {}: {}", path.display(), chain(&error)))?;
            made += 1;
        }
        Ok(made)
    }
}

fn open_program(pin: &Path, kind: Kind) -> Result<(OwnProgram, ProgramIdentity), ProgramError> {
    let (program, info) = match kind {
        Kind::Xdp => {
            let program = Xdp::from_pin(pin, XdpAttachType::Interface)?;
            let info = program.info()?;
            (OwnProgram::Xdp(program), info)
        }
        Kind::Tc => {
            let program = SchedClassifier::from_pin(pin)?;
            let info = program.info()?;
            (OwnProgram::Tc(program), info)
        }
    };
    let name = String::from_utf8_lossy(info.name()).into_owned();
    let identity = ProgramIdentity { id: info.id(), name, tag: format!("{:016x}", info.tag()) };
    Ok((program, identity))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// aya finds what the BTF says of a function by the name of its section.
    #[test]
    fn functions_of_a_section_that_has_another_name_keep_their_types() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/bytecode/drop-tcp.o");
        let bytes = fs::read(file).unwrap();
        let informed = |object: &[u8]| {
            let object = aya_obj::Object::parse(object).unwrap();
            object.functions.values().filter(|function| function.func_info.len() > 0).count()
        };
        let object = Object::parse(bytes.clone()).unwrap();
        let name = ProgramName { file: "drop-tcp.o".to_owned(), function: None };
        let function = object.function(&name, Kind::Tc).unwrap();
        let renamed = object.for_loading(&[function]).unwrap();
        assert_ne!(renamed, bytes);
        assert!(informed(&bytes) >= 2, "{}", informed(&bytes));
        assert_eq!(informed(&renamed), informed(&bytes));
    }
}
