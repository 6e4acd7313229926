//! `programs`: what is in the directory of the operator's programs, and whether this kernel loads it.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::verbs::{Failure, print, programs_directory};
use super::{ConfigArg, Format, table};
use crate::config;
use crate::finding::{Finding, Findings};
use crate::kernel;
use crate::labels;
use crate::programs::{self, Function, Kind, Object, ProgramName};
use crate::sandbox;

#[derive(Debug, Args)]
pub(super) struct ProgramsArgs {
    /// The directory, whatever the configuration says. Without either, it is /etc/ebpf-netns/programs.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArg,
    /// How to show it.
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

/// What is in the directory.
#[derive(Debug, Serialize)]
pub(super) struct Inventory {
    /// The directory.
    pub(super) directory: PathBuf,
    /// Its objects, in the order of their names.
    pub(super) objects: Vec<ObjectReport>,
}

/// One object.
#[derive(Debug, Serialize)]
pub(super) struct ObjectReport {
    /// The file.
    pub(super) file: String,
    /// Why labels cannot name it, if they cannot.
    pub(super) problem: Option<String>,
    /// Its functions that have a section of their own.
    pub(super) functions: Vec<FunctionReport>,
}

/// One function.
#[derive(Debug, Serialize)]
pub(super) struct FunctionReport {
    /// Its name.
    pub(super) name: String,
    /// Its section.
    pub(super) section: String,
    /// `xdp` or `tc`; none if it is made for neither.
    pub(super) kind: Option<Kind>,
    /// Whether this kernel loads it; none where that could not be tried.
    pub(super) loads: Option<bool>,
    /// Why not, or why it was not tried.
    pub(super) reason: Option<String>,
}

pub(super) fn run(args: &ProgramsArgs) -> Result<(), Failure> {
    let ProgramsArgs { programs, config, format } = args;
    let config = config::load(&config.clone().place())?;
    let directory = programs_directory(programs.clone(), &config);
    let names = programs::list(&directory).map_err(Failure::Programs)?;
    let objects = names.into_iter().map(|file| report(&directory, file)).collect();
    let inventory = Inventory { directory, objects };
    print(*format, &inventory, || table::programs(&inventory))
}

fn report(directory: &Path, file: String) -> ObjectReport {
    match programs::read(directory, &file).and_then(Object::parse) {
        Ok(object) => {
            let functions = object.functions.iter().map(|function| try_it(&object, function));
            ObjectReport { file, problem: None, functions: functions.collect() }
        }
        Err(problem) => ObjectReport { file, problem: Some(problem), functions: Vec::new() },
    }
}

fn try_it(object: &Object, function: &Function) -> FunctionReport {
    let Function { name, section, kind, .. } = function;
    let (loads, reason) = match kind {
        None => (None, None),
        Some(_) => match verify(object, function) {
            None => (None, Some(NOT_PERMITTED.to_owned())),
            Some(Ok(())) => (Some(true), None),
            Some(Err(why)) => (Some(false), Some(why)),
        },
    };
    FunctionReport { name: name.clone(), section: section.clone(), kind: *kind, loads, reason }
}

const NOT_PERMITTED: &str = "not tried: it takes root, or CAP_BPF and CAP_NET_ADMIN";

/// Has the kernel verify a function, if this process may ask for that.
fn verify(object: &Object, function: &Function) -> Option<Result<(), String>> {
    sandbox::require_capabilities().ok()?;
    Some(kernel::verify(object, function))
}

/// Looks programs up, and has the kernel verify them if it may be asked.
pub(super) fn check_programs(named: &labels::Programs, directory: &Path) -> Result<(), Failure> {
    let labels::Programs { xdp, tc } = named;
    let xdp = xdp.as_ref().map(|(name, _)| (Kind::Xdp, name));
    let tc = tc.as_ref().map(|(name, _)| (Kind::Tc, name));
    let look = |kind, name: &ProgramName| -> Result<(), String> {
        let object = programs::read(directory, &name.file)?;
        let of_file = |why: String| format!("{}: {why}", name.file);
        let object = Object::parse(object).map_err(of_file)?;
        let function = object.function(name, kind).map_err(of_file)?;
        verify(&object, function).unwrap_or(Ok(())).map_err(of_file)
    };
    let wrong = xdp.into_iter().chain(tc).filter_map(|(kind, name)| {
        look(kind, name).err().map(|why| Finding::of_label(kind.label(), why))
    });
    match wrong.collect::<Findings>() {
        none if none.iter().next().is_none() => Ok(()),
        found => Err(Failure::Findings(found)),
    }
}
