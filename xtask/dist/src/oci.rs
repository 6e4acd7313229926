//! The container image: the programs on an empty file system, as a tar file of an OCI image layout.
//!
//! The same file has what `docker load` reads, also of engines that know nothing of OCI's layout.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::archive;
use crate::epoch::Epoch;
use crate::machine::Machine;
use crate::programs::Programs;
use crate::release::{VERSION, hexadecimal};
use crate::tree::Tree;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What the image is called once it is loaded.
const NAME: &str = "ebpf-netns";

/// The image of a machine.
pub(crate) fn image(programs: &Programs, machine: Machine, epoch: Epoch) -> Result<Vec<u8>> {
    let layer = archive::tar(&root(programs), "", epoch)?;
    let contents = format!("sha256:{}", hexadecimal(&layer));
    let mut blobs = Blobs::default();
    let layer = blobs.add(LAYER, archive::gzip(&layer)?);
    let config = blobs.add_json(CONFIG, &config(machine, epoch, &contents))?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.json(),
        "layers": [layer.json()],
    });
    let manifest = blobs.add_json(MANIFEST, &manifest)?;

    let mut described = manifest.json();
    let annotations = json!({ "org.opencontainers.image.ref.name": VERSION });
    described.as_object_mut().context("a descriptor is an object")?.extend([
        ("annotations".to_owned(), annotations),
        ("platform".to_owned(), json!({ "architecture": machine.architecture(), "os": "linux" })),
    ]);
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [described] });
    let docker = json!([{
        "Config": config.path(),
        "RepoTags": [format!("{NAME}:{VERSION}"), format!("{NAME}:latest")],
        "Layers": [layer.path()],
    }]);

    let mut files = blobs.0;
    files.file("oci-layout", text(&json!({ "imageLayoutVersion": "1.0.0" }))?);
    files.file("index.json", text(&index)?);
    files.file("manifest.json", text(&docker)?);
    Ok(archive::tar(&files, "", epoch)?)
}

/// The programs, and the directories that are mounted over: a root that is read only has to have them.
pub(crate) fn root(programs: &Programs) -> Tree {
    let mut root = Tree::default();
    for (name, bytes) in programs.iter() {
        root.program(&format!("usr/bin/{name}"), bytes.to_vec());
    }
    for directory in [
        "etc/ebpf-netns",
        "proc",
        "run/docker/netns",
        "run/ebpf-netns",
        "run/netns",
        "sys/fs/bpf",
        "tmp",
        "var/lib/ebpf-netns",
    ] {
        root.directory(directory);
    }
    root.link("var/run", "/run");
    root
}

fn config(machine: Machine, epoch: Epoch, layer: &str) -> Value {
    json!({
        "created": epoch.rfc3339(),
        "architecture": machine.architecture(),
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/bin"],
            "Entrypoint": ["/usr/bin/ebpf-netns-plugin"],
            "Cmd": ["run"],
            "WorkingDir": "/",
            "Labels": {
                "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
                "org.opencontainers.image.source": env!("CARGO_PKG_REPOSITORY"),
                "org.opencontainers.image.title": NAME,
                "org.opencontainers.image.version": VERSION,
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [layer] },
        "history": [{ "created": epoch.rfc3339(), "created_by": "cargo xtask dist" }],
    })
}

fn text(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).context("write JSON")
}

/// What is kept under its checksum.
#[derive(Debug, Default)]
struct Blobs(Tree);

/// How other documents name a blob.
struct Blob {
    kind: &'static str,
    digest: String,
    size: usize,
}

impl Blobs {
    fn add(&mut self, kind: &'static str, bytes: Vec<u8>) -> Blob {
        let blob = Blob { kind, digest: hexadecimal(&bytes), size: bytes.len() };
        self.0.file(&blob.path(), bytes);
        blob
    }

    fn add_json(&mut self, kind: &'static str, value: &Value) -> Result<Blob> {
        Ok(self.add(kind, text(value)?))
    }
}

impl Blob {
    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.digest)
    }

    fn json(&self) -> Value {
        let digest = format!("sha256:{}", self.digest);
        json!({ "mediaType": self.kind, "digest": digest, "size": self.size })
    }
}
