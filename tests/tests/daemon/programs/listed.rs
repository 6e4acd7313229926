//! `programs`, and `check` with a directory of programs.

use anyhow::{Result, ensure};
use ebpf_netns_tests::{
    Machine, Programs,
    binaries::{self, Binary},
    command::output_of,
    privilege,
};
use serde_json::{Value, json};

use crate::config::{BAD_DATA, check_refused};

/// Has a loop that never ends.
const ENDLESS: &str = "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nSEC(\"tc\") int \
    endless(struct __sk_buff *skb) { for (;;) if (!bpf_get_prandom_u32()) skb->mark++; }\n\
    SEC(\"kprobe/x\") int other(void *ctx) { return 0; }\n\
    char _license[] SEC(\"license\") = \"GPL\";";

#[test]
fn programs_says_what_there_is_and_whether_this_kernel_loads_it() -> Result<()> {
    if !privilege::have_root()? {
        return Ok(());
    }
    let machine = Machine::start()?;
    let programs = Programs::new(&machine)?;
    programs.example("xdp_count.c", "count.o", &["-g"])?;
    programs.text(ENDLESS, "endless.o", &["-g"])?;
    programs.put("text.o", b"text")?;
    let plugin = |arguments: &[&str]| {
        let mut command = machine.command(binaries::path(Binary::Plugin)?);
        output_of(command.args(arguments))
    };
    let argument = programs.argument();
    let output = plugin(&["programs", &argument, "--format", "json"])?;
    ensure!(output.status.success(), "{output:?}");
    let shown: Value = serde_json::from_slice(&output.stdout)?;
    let [count, endless, text] = shown["objects"].as_array().map_or(&[][..], |all| all) else {
        panic!("{shown}");
    };
    let xdp = |name: &str, section: &str| json!({ "name": name, "section": section, "kind": "xdp", "loads": true, "reason": null });
    assert_eq!(
        count["functions"],
        json!([xdp("count_and_drop", "xdp"), xdp("count_only", "xdp/count_only")])
    );
    assert_eq!(endless["functions"][0]["loads"], false);
    let why = endless["functions"][0]["reason"].to_string();
    assert!(why.contains("the verifier says"), "{why}");
    assert_eq!(endless["functions"][1]["kind"], Value::Null, "it is made for neither");
    assert!(text["problem"].to_string().contains("no ELF object"), "{text}");
    let output = plugin(&["programs", &argument])?;
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.contains("count.o") && table.contains("endless.o#endless: load"), "{table}");

    let check = |label: &str| plugin(&["check", &argument, "--label", label]);
    let good = check("xdp.program=count.o#count_only")?;
    ensure!(good.status.success(), "{good:?}");
    let said = String::from_utf8_lossy(&good.stdout).into_owned();
    assert!(said.contains("XDP (auto), egress: program count.o#count_only"), "{said}");
    check_refused(&check("tc.program=endless.o")?, &["label tc.program", "the verifier says"]);
    check_refused(&check("tc.program=none.o")?, &["label tc.program", "none.o: is not there"]);
    programs.set_mode(0o777)?;
    let output = plugin(&["programs", &argument])?;
    assert_eq!(output.status.code(), Some(BAD_DATA), "{output:?}");
    check_refused(&output, &["may be written by others"]);
    Ok(())
}
