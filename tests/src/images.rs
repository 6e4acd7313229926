//! The images that tests run, made from programs of this machine: no registry is asked.
//!
//! Each is a tar file for `docker import`, kept in the target directory under a name that changes
//! with its content.

use std::{
    collections::BTreeSet,
    fs,
    hash::{DefaultHasher, Hasher as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    binaries::{self, Binary},
    command,
};

/// Raised when the way that an image is put together changes.
const RECIPE: u64 = 2;

const BUSYBOX: &str = "/bin/busybox";
const NGINX: &str = "/usr/sbin/nginx";
const WGET: &str = "/usr/bin/wget";
const REDIS: &str = "/usr/bin/redis-server";

const NGINX_CONFIGURATION: &str = "\
user nobody;
worker_processes 1;
error_log /dev/stderr;
events { worker_connections 128; }
http {
    access_log off;
    server {
        listen 80;
        listen [::]:80;
        root /usr/share/nginx/html;
    }
}
";

/// What the image of the product has.
const PRODUCT: [Binary; 3] = [Binary::Plugin, Binary::Netns, Binary::Runtime];

/// An image, by its name in the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// `busybox`: a shell and the usual tools; sleeps for ever by default.
    Busybox,
    /// `nginx`: the web server of Debian on port 80 of IPv4 and IPv6, and busybox's shell.
    Nginx,
    /// `noshell`: one static program and nothing else, a web server on port 80.
    Noshell,
    /// `alpine`: as `busybox`, with a `wget` that looks names up: the static one of Debian cannot.
    Alpine,
    /// `redis`: the server of Debian on its port, of IPv4 and IPv6.
    Redis,
    /// `ebpf-netns`: the commands under test, and no shell.
    Product,
    /// `probe`: this crate's sender of test traffic and the libraries that it is linked with.
    Probe,
}

impl Image {
    /// Those that an engine has unless a test says otherwise.
    pub const ALL: [Self; 3] = [Self::Busybox, Self::Nginx, Self::Noshell];

    /// Its name for `docker run`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Busybox => "busybox",
            Self::Nginx => "nginx",
            Self::Noshell => "noshell",
            Self::Alpine => "alpine",
            Self::Redis => "redis",
            Self::Product => "ebpf-netns",
            Self::Probe => "probe",
        }
    }

    /// The values of `docker import --change`.
    #[must_use]
    pub fn changes(self) -> &'static [&'static str] {
        match self {
            Self::Busybox | Self::Alpine => &[r#"CMD ["sleep", "1000000"]"#],
            Self::Nginx => &[r#"CMD ["nginx", "-g", "daemon off;"]"#, "EXPOSE 80"],
            Self::Noshell => &[r#"CMD ["/httpd", "-f", "-p", "[::]:80", "-h", "/"]"#, "EXPOSE 80"],
            Self::Redis => &[
                r#"CMD ["/usr/bin/redis-server", "--protected-mode", "no", "--bind", "*", "-::*"]"#,
            ],
            // As the image of a release has it.
            Self::Product => &[
                "ENV PATH=/usr/bin",
                r#"ENTRYPOINT ["/usr/bin/ebpf-netns-plugin"]"#,
                r#"CMD ["run"]"#,
            ],
            Self::Probe => &[r#"ENTRYPOINT ["/probe"]"#],
        }
    }

    /// The path of its root file system as a tar file, made if there is none yet.
    ///
    /// # Errors
    ///
    /// When a program it consists of is not installed.
    pub fn tarball(self) -> Result<PathBuf> {
        let files = self.files()?;
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(RECIPE);
        for file in &files {
            hasher.write(file.as_os_str().as_encoded_bytes());
            hasher
                .write(&fs::read(file).with_context(|| {
                    format!("read {}: run `cargo xtask setup`", file.display())
                })?);
        }
        let name = format!("{}-{:016x}.tar", self.name(), hasher.finish());
        let tarball = binaries::cache()?.join(name);
        if !tarball.exists() {
            self.build(&files, &tarball).with_context(|| format!("make image {}", self.name()))?;
        }
        Ok(tarball)
    }

    /// The files of this machine that it consists of.
    fn files(self) -> Result<Vec<PathBuf>> {
        match self {
            Self::Probe => return with_libraries(vec![binaries::path(Binary::Probe)?]),
            Self::Product => {
                let programs = PRODUCT.map(binaries::path);
                return with_libraries(programs.into_iter().collect::<Result<_>>()?);
            }
            Self::Redis => return with_libraries(vec![REDIS.into()]),
            Self::Alpine | Self::Busybox | Self::Nginx | Self::Noshell => {}
        }
        let mut files = vec![PathBuf::from(BUSYBOX)];
        let program = match self {
            Self::Nginx => Some(NGINX),
            Self::Alpine => Some(WGET),
            _ => None,
        };
        if let Some(program) = program {
            files.push(program.into());
            files.extend(libraries(program)?);
        }
        Ok(files)
    }

    fn build(self, files: &[PathBuf], tarball: &Path) -> Result<()> {
        let parent = tarball.parent().context("the cache has a path")?;
        let scratch = tempfile::tempdir_in(parent)?;
        let root = scratch.path().join("root");
        fs::create_dir(&root)?;
        match self {
            Self::Busybox => busybox_root(&root)?,
            Self::Nginx => {
                busybox_root(&root)?;
                nginx_root(&root, files)?;
            }
            Self::Noshell => {
                fs::copy(BUSYBOX, root.join("httpd"))?;
                fs::write(root.join("index.html"), "hello from noshell\n")?;
            }
            Self::Alpine => {
                busybox_root(&root)?;
                fs::remove_file(root.join("bin/wget")).context("replace busybox's wget")?;
                copy_files(&root, files.get(1..).unwrap_or_default())?;
            }
            Self::Redis => {
                fs::create_dir_all(root.join("tmp"))?;
                copy_files(&root, files)?;
            }
            Self::Product => product_root(&root, files)?,
            Self::Probe => {
                let (probe, libraries) = files.split_first().context("the probe is a file")?;
                fs::copy(probe, root.join("probe"))?;
                copy_files(&root, libraries)?;
            }
        }
        let new = scratch.path().join("new.tar");
        let mut tar = Command::new("tar");
        tar.args(["--sort=name", "--owner=0", "--group=0", "--mtime=@0", "-C"]);
        command::stdout_of(tar.arg(&root).arg("-cf").arg(&new).arg("."))?;
        fs::rename(&new, tarball).with_context(|| format!("create {}", tarball.display()))
    }
}

/// A root with busybox under each of its names, and the files that a C library looks for.
fn busybox_root(root: &Path) -> Result<()> {
    for directory in ["bin", "etc", "root", "run", "tmp", "var/log"] {
        fs::create_dir_all(root.join(directory))?;
    }
    let program = root.join("bin/busybox");
    fs::copy(BUSYBOX, &program).context("copy busybox: run `cargo xtask setup`")?;
    let applets = command::stdout_of(Command::new(BUSYBOX).arg("--list"))?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    for (directory, target) in [("sbin", "bin"), ("usr", ".")] {
        symlink(target, root.join(directory))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\nnobody:x:65534:\nnogroup:x:65533:\n")?;
    Ok(())
}

/// Adds nginx, the libraries it is linked with, a configuration and a page to a busybox root.
fn nginx_root(root: &Path, files: &[PathBuf]) -> Result<()> {
    let (_busybox, files) = files.split_first().context("busybox is the first of the files")?;
    copy_files(root, files)?;
    for directory in ["etc/nginx", "usr/share/nginx/html", "var/log/nginx", "var/lib/nginx"] {
        fs::create_dir_all(root.join(directory))?;
    }
    fs::write(root.join("etc/nginx/nginx.conf"), NGINX_CONFIGURATION)?;
    fs::write(root.join("usr/share/nginx/html/index.html"), "hello from nginx\n")?;
    Ok(())
}

/// The commands under test in `/usr/bin`, their libraries, and where things are mounted.
fn product_root(root: &Path, files: &[PathBuf]) -> Result<()> {
    let (programs, libraries) = files.split_at_checked(PRODUCT.len()).context("the programs")?;
    for directory in ["etc", "proc", "run", "sys", "tmp", "usr/bin", "var/lib"] {
        fs::create_dir_all(root.join(directory))?;
    }
    symlink("/run", root.join("var/run"))?;
    for program in programs {
        let name = program.file_name().context("a program has a name")?;
        fs::copy(program, root.join("usr/bin").join(name))?;
    }
    copy_files(root, libraries)
}

/// Programs, and after them the libraries that they are linked with.
fn with_libraries(mut programs: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
    let mut all = BTreeSet::new();
    for program in &programs {
        all.extend(libraries(&program.to_string_lossy())?);
    }
    programs.extend(all);
    Ok(programs)
}

/// Copies files of this machine to the same paths of a root.
fn copy_files(root: &Path, files: &[PathBuf]) -> Result<()> {
    for file in files {
        let copy = root.join(file.strip_prefix("/")?);
        fs::create_dir_all(copy.parent().context("a file has a directory")?)?;
        fs::copy(file, &copy).with_context(|| format!("copy {}", file.display()))?;
    }
    Ok(())
}

/// The shared libraries and the loader of a program, as `ldd` lists them.
fn libraries(program: &str) -> Result<Vec<PathBuf>> {
    let listed = command::stdout_of(Command::new("ldd").arg(program))
        .with_context(|| format!("list the libraries of {program}: run `cargo xtask setup`"))?;
    let found: Vec<_> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect();
    ensure!(!found.is_empty(), "{program} has no shared libraries: {listed}");
    Ok(found)
}
