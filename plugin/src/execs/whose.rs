//! Which container a process belongs to.
//!
//! Its namespace of processes tells, which nearly every container has of its own: the kernel compares it
//! in the moment of the call, so that a process that ends at once is known too. Which namespace is whose
//! is read out of `/proc`, where Docker's control groups have the container's id in their names, with
//! version 1 of control groups as with version 2. What is in none of the known namespaces, and who shares
//! one, is looked up in `/proc` by its number.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use ebpf_netns::docker::Known;
use plugin_common::exec::{ExecRecord, PidNamespace};

/// The inode number of the first namespace of processes
/// ([`PROC_PID_INIT_INO`](https://elixir.bootlin.com/linux/v6.12/source/include/linux/proc_ns.h)).
const FIRST_NAMESPACE: u64 = 0xefff_fffc;
/// The digits of an id.
const ID_LENGTH: usize = 64;
/// What those are told as that are to be looked up.
const LOOK_UP: u64 = u32::MAX as u64;

/// A namespace, as `stat` tells of it: device and inode number.
type Place = (u64, u64);

/// Who is whose.
pub(super) struct Whose {
    /// The containers that are followed; none are all.
    followed: Vec<Known>,
    /// Every container, by its id.
    names: BTreeMap<String, String>,
    /// Whom a number stands for: they are given once.
    told_as: BTreeMap<String, u32>,
    /// Of each namespace, what is executed in it is told as.
    namespaces: BTreeMap<Place, u64>,
    /// Whether numbers of processes mean the same here as to the kernel's programs.
    in_first: bool,
}

impl Whose {
    pub(super) fn new(followed: Vec<Known>) -> Self {
        let in_first =
            fs::metadata("/proc/self/ns/pid").is_ok_and(|own| own.ino() == FIRST_NAMESPACE);
        Self {
            followed,
            names: BTreeMap::new(),
            told_as: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            in_first,
        }
    }

    /// Takes what containers there are.
    pub(super) fn set_containers(&mut self, known: Vec<Known>) {
        self.names = known.into_iter().map(|one| (one.id, one.name)).collect();
    }

    /// The names of those that are followed and have processes.
    pub(super) fn running(&self) -> Vec<String> {
        let running: BTreeSet<u64> = self.namespaces.values().copied().collect();
        let ids = self.told_as.iter().filter(|(_, number)| running.contains(&u64::from(**number)));
        ids.map(|(id, _)| self.name(id).to_owned()).collect()
    }

    /// What the kernel is to tell of each namespace.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = PidNamespace> {
        let all = self.namespaces.iter();
        let entry = all.map(|((device, inode), told_as)| PidNamespace {
            device: *device,
            inode: *inode,
            told_as: *told_as,
        });
        // Those whose calls are passed over are the most, and cost the least at the front.
        let (mut first, rest): (Vec<_>, Vec<_>) = entry.partition(|entry| entry.told_as == 0);
        first.extend(rest);
        first.into_iter()
    }

    /// Looks at all processes; whether there is a container that nothing is known of.
    pub(super) fn look(&mut self) -> bool {
        let mut found: BTreeMap<Place, BTreeSet<Option<String>>> = BTreeMap::new();
        let mut unknown = false;
        let host = namespace_of(Path::new("/proc/1"));
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            // Who ends meanwhile is left out, and so is what is no process.
            let Some(place) = namespace_of(&entry.path()) else { continue };
            let ids = ids_of(&entry.path());
            unknown |= !ids.is_empty() && !ids.iter().any(|id| self.names.contains_key(id));
            let user = self.known_of(ids);
            // A container's process is in the namespace before it is in the control group, and what
            // somebody else puts there is that container's too: only the host's is anybody's.
            if user.is_some() || Some(place) == host {
                found.entry(place).or_default().insert(user);
            }
        }
        self.namespaces =
            found.into_iter().map(|(place, users)| (place, self.tell(&users))).collect();
        unknown
    }

    /// Whose a call is, of those that are followed: its id.
    pub(super) fn of(&mut self, record: &ExecRecord) -> Option<String> {
        let number = record.namespace;
        if number != 0 && u64::from(number) != LOOK_UP {
            let found = self.told_as.iter().find(|(_, told_as)| **told_as == number);
            return found.map(|(id, _)| id.clone());
        }
        if !self.in_first {
            return None;
        }
        let process = Path::new("/proc").join(record.pid.to_string());
        let id = self.known_of(ids_of(&process))?;
        self.is_followed(&id).then_some(id)
    }

    /// The name of a container.
    pub(super) fn name(&self, id: &str) -> &str {
        self.names.get(id).map_or("", String::as_str)
    }

    /// What is executed in a namespace that these use is told as.
    fn tell(&mut self, users: &BTreeSet<Option<String>>) -> u64 {
        let followed =
            |user: &&Option<String>| user.as_ref().is_some_and(|id| self.is_followed(id));
        if !users.iter().any(|user| followed(&user)) {
            return 0;
        }
        match users.iter().collect::<Vec<_>>().as_slice() {
            [Some(id)] => {
                let next = u32::try_from(self.told_as.len() + 1).unwrap_or(u32::MAX);
                u64::from(*self.told_as.entry(id.clone()).or_insert(next))
            }
            _ => LOOK_UP,
        }
    }

    /// The container among these ids: of one within another, the outer one, which is Docker's here.
    fn known_of(&self, ids: Vec<String>) -> Option<String> {
        ids.into_iter().find(|id| self.names.contains_key(id))
    }

    fn is_followed(&self, id: &str) -> bool {
        let name = self.name(id);
        self.followed.is_empty()
            || self.followed.iter().any(|one| one.id == id || !name.is_empty() && one.name == name)
    }
}

/// The namespace of a process.
fn namespace_of(process: &Path) -> Option<Place> {
    let namespace = fs::metadata(process.join("ns/pid")).ok()?;
    Some((namespace.dev(), namespace.ino()))
}

/// Ids in the names of a process's control groups, the outer ones first.
fn ids_of(process: &Path) -> Vec<String> {
    fs::read_to_string(process.join("cgroup")).map_or_else(|_gone| Vec::new(), |text| ids(&text))
}

/// Ids in the text of `/proc/PID/cgroup`.
fn ids(groups: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in groups.lines().flat_map(|line| line.split('/')) {
        let mut words = part.split(|c: char| !c.is_ascii_hexdigit());
        if let Some(id) = words.find(|word| word.len() == ID_LENGTH)
            && !found.iter().any(|known| known == id)
        {
            found.push(id.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";
    const DB: &str = "b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2";

    fn known(id: &str, name: &str) -> Known {
        Known { id: id.to_owned(), name: name.to_owned() }
    }

    fn whose(followed: &[Known]) -> Whose {
        let mut whose = Whose::new(followed.to_vec());
        whose.set_containers(vec![known(WEB, "web"), known(DB, "db")]);
        whose
    }

    #[test]
    fn ids_are_found_in_control_groups_of_both_versions() {
        for groups in [
            format!("0::/system.slice/docker-{WEB}.scope\n"),
            format!("12:cpu:/docker/{WEB}\n0::/\n"),
            format!("0::/../{WEB}/init\n"),
        ] {
            assert_eq!(ids(&groups), [WEB], "{groups}");
        }
        assert_eq!(ids(&format!("1:pids:/docker/{WEB}/docker/{DB}\n")), [WEB, DB]);
        assert!(ids("0::/user.slice/session-1.scope\n").is_empty());
    }

    #[test]
    fn a_namespace_tells_whose_it_is_unless_it_is_shared() {
        let user = |id: &str| Some(id.to_owned());
        let mut web = whose(&[known(WEB, "web")]);
        assert_eq!(web.tell(&[user(DB)].into()), 0, "nobody follows db");
        assert_eq!(web.tell(&[None].into()), 0, "nor the host");
        let number = web.tell(&[user(WEB)].into());
        assert_eq!(web.tell(&[user(WEB)].into()), number, "a number is kept");
        assert_eq!(web.tell(&[None, user(WEB)].into()), LOOK_UP, "--pid host");
        assert_eq!(web.tell(&[user(DB), user(WEB)].into()), LOOK_UP, "--pid container");
        let mut all = whose(&[]);
        let [one, other] = [WEB, DB].map(|id| all.tell(&[user(id)].into()));
        assert!(one != other && one != 0 && other != 0);
    }

    #[test]
    fn the_outer_container_is_the_one_that_docker_knows() {
        let whose = whose(&[]);
        let inner = "c3".repeat(32);
        assert_eq!(whose.known_of(vec![WEB.to_owned(), inner.clone()]).as_deref(), Some(WEB));
        assert_eq!(whose.known_of(vec![inner]), None);
    }

    #[test]
    fn a_container_made_anew_under_the_name_is_followed() {
        let mut whose = whose(&[known(WEB, "web")]);
        let anew = "d4".repeat(32);
        assert!(!whose.is_followed(&anew));
        whose.set_containers(vec![known(&anew, "web"), known(DB, "db")]);
        assert!(whose.is_followed(&anew) && !whose.is_followed(DB));
    }
}
