//! What networks, endpoints and pools there are, on disk: a file each, for the next daemon.
//!
//! Docker does not tell a driver again what it told it once. Networks and pools outlive the machine, and
//! are on the disk before Docker hears that they are made; endpoints are of this boot alone, and so is
//! who has an address.

use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;
use tracing::warn;

use super::error::CnmError;
use super::ids::Id;
use super::is_missing;
use super::network::{Endpoint, Network, VERSION};
use super::pool::AddressPool;

const SUFFIX: &str = "json";

/// Where they are.
#[derive(Clone, Debug)]
pub(super) struct Store {
    networks: PathBuf,
    endpoints: PathBuf,
    pools: PathBuf,
}

impl Store {
    /// Makes the directories that are missing.
    pub(super) fn open(networks: &Path, endpoints: &Path, pools: &Path) -> Result<Self, CnmError> {
        for path in [networks, endpoints, pools] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.map_err(failed("make directory", path))?;
        }
        let [networks, endpoints, pools] = [networks, endpoints, pools].map(Path::to_owned);
        Ok(Self { networks, endpoints, pools })
    }

    pub(super) fn networks(&self) -> Result<Vec<Network>, CnmError> {
        read_all(&self.networks, |network: &Network| network.version == VERSION)
    }

    pub(super) fn endpoints(&self) -> Result<Vec<Endpoint>, CnmError> {
        read_all(&self.endpoints, |endpoint: &Endpoint| endpoint.version == VERSION)
    }

    pub(super) fn pools(&self) -> Result<Vec<AddressPool>, CnmError> {
        read_all(&self.pools, |pool: &AddressPool| pool.version == VERSION)
    }

    pub(super) fn put_network(&self, network: &Network) -> Result<(), CnmError> {
        write(&path_of(&self.networks, network.id.as_str()), network, true)
    }

    pub(super) fn put_endpoint(&self, endpoint: &Endpoint) -> Result<(), CnmError> {
        write(&path_of(&self.endpoints, endpoint.id.as_str()), endpoint, false)
    }

    /// `durable` is what Docker does not make again after a reset of the machine.
    pub(super) fn put_pool(&self, pool: &AddressPool, durable: bool) -> Result<(), CnmError> {
        write(&self.path_of_pool(pool), pool, durable)
    }

    pub(super) fn remove_network(&self, id: &Id) -> Result<(), CnmError> {
        remove(&path_of(&self.networks, id.as_str()))
    }

    pub(super) fn remove_endpoint(&self, id: &Id) -> Result<(), CnmError> {
        remove(&path_of(&self.endpoints, id.as_str()))
    }

    pub(super) fn remove_pool(&self, pool: &AddressPool) -> Result<(), CnmError> {
        remove(&self.path_of_pool(pool))
    }

    fn path_of_pool(&self, pool: &AddressPool) -> PathBuf {
        path_of(&self.pools, &pool.id().replace('/', "-"))
    }
}

/// What an earlier daemon wrote of endpoints, for one that does not drive networks itself.
pub(super) fn endpoints_at(directory: &Path) -> Vec<Endpoint> {
    let valid = |endpoint: &Endpoint| endpoint.version == VERSION;
    read_all(directory, valid).unwrap_or_else(|error| {
        warn!(error = crate::error::chain(&error), "endpoints of an earlier daemon cannot be read");
        Vec::new()
    })
}

/// As [`endpoints_at`], of networks.
pub(super) fn networks_at(directory: &Path) -> Vec<Network> {
    let valid = |network: &Network| network.version == VERSION;
    read_all(directory, valid).unwrap_or_else(|error| {
        warn!(error = crate::error::chain(&error), "networks of an earlier daemon cannot be read");
        Vec::new()
    })
}

/// Removes a directory of ours with all that is in it; whether it was there.
pub(super) fn clean(directory: &Path) -> Result<bool, CnmError> {
    let Some(files) = list(directory)? else { return Ok(false) };
    for path in files {
        remove(&path)?;
    }
    match fs::remove_dir(directory) {
        // There is something of somebody else's in it.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(true),
        removed => removed.map(|()| true).map_err(failed("remove", directory)),
    }
}

/// The files of a directory that are records; `None` if there is no such directory.
fn list(directory: &Path) -> Result<Option<Vec<PathBuf>>, CnmError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if is_missing(&error) => return Ok(None),
        entries => entries.map_err(failed("list", directory))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed("list", directory))?.path();
        if path.extension().is_some_and(|extension| extension == SUFFIX) {
            files.push(path);
        }
    }
    files.sort();
    Ok(Some(files))
}

/// What is no record is told, and left where it is: it may be of a newer version.
fn read_all<T: DeserializeOwned>(
    directory: &Path,
    valid: impl Fn(&T) -> bool,
) -> Result<Vec<T>, CnmError> {
    let mut found = Vec::new();
    for path in list(directory)?.unwrap_or_default() {
        let text = fs::read(&path).map_err(failed("read", &path))?;
        match serde_json::from_slice(&text) {
            Ok(record) if valid(&record) => found.push(record),
            Ok(_) => warn!(path = %path.display(), "of another version: left alone"),
            Err(error) => warn!(path = %path.display(), %error, "not understood: left alone"),
        }
    }
    Ok(found)
}

/// Atomically: a reader finds what was there before, or this.
fn write(path: &Path, record: &impl Serialize, durable: bool) -> Result<(), CnmError> {
    let put = || {
        let mut file = NamedTempFile::new_in(path.parent().unwrap_or(path))?;
        file.write_all(&serde_json::to_vec(record)?)?;
        if durable {
            file.as_file().sync_data()?;
        }
        file.persist(path).map(drop).map_err(|failed| failed.error)
    };
    put().map_err(failed("write", path))
}

fn remove(path: &Path) -> Result<(), CnmError> {
    match fs::remove_file(path) {
        Err(error) if is_missing(&error) => Ok(()),
        removed => removed.map_err(failed("remove", path)),
    }
}

fn path_of(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.{SUFFIX}"))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CnmError {
    let path = path.to_owned();
    move |source| CnmError::File { what, path, source }
}
