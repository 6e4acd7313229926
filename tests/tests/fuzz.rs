//! What the fuzzer is fed with holds, and so does what it once found: without the fuzzer.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::fuzz::TARGETS;

#[test]
fn every_input_of_the_corpora_holds() -> Result<()> {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in TARGETS {
        let corpus = corpora.join(name);
        let mut inputs = 0;
        for input in fs::read_dir(&corpus).with_context(|| corpus.display().to_string())? {
            let input = input?.path();
            target(&fs::read(&input)?).with_context(|| input.display().to_string())?;
            inputs += 1;
        }
        ensure!(inputs > 5, "{} has {inputs} inputs", corpus.display());
    }
    Ok(())
}

#[test]
fn every_target_has_a_program() -> Result<()> {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/targets");
    let mut found = Vec::new();
    for program in fs::read_dir(programs)? {
        let name = program?.path();
        found.extend(name.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    found.sort();
    assert_eq!(found, TARGETS.map(|(name, _)| name));
    Ok(())
}
