//! `compose/demo.yaml`: who reaches whom is what the README says.

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::{documents, newer::Newer, privilege, reach};

#[test]
fn the_table_of_the_readme_is_what_is_measured() -> Result<()> {
    let Some(newer) = Newer::find()? else { return Ok(()) };
    if !privilege::have_root()? {
        return Ok(());
    }
    let measured = reach::measure(&newer)?;
    let readme = std::fs::read_to_string(documents::root().join("README.md"))?;
    let begin = format!("<!-- measured: {} -->\n", reach::SECTION);
    let (_, section) = readme.split_once(&begin).context("the README has a table")?;
    let (table, _) = section.split_once("\n<!-- end").context("the table ends")?;
    ensure!(
        table == measured,
        "the README has\n{table}\nand measured was\n{measured}\n`cargo xtask reach --write README.md` \
         writes it"
    );
    Ok(())
}
