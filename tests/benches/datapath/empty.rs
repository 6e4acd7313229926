//! A TC program that does nothing, to compare with: `r0 = TCX_NEXT; exit`.

use anyhow::{Context as _, Result};
use aya::{Ebpf, EbpfLoader, programs::SchedClassifier};
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
    write::{Object, StandardSegment, Symbol, SymbolSection},
};

const NAME: &str = "nothing";
/// `r0 = -1`, `exit`.
const CODE: [u8; 16] = [0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x95, 0, 0, 0, 0, 0, 0, 0];

/// The program, loaded.
pub(crate) struct Empty(Ebpf);

impl Empty {
    pub(crate) fn load() -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load(&image()?).context("the empty object")?;
        let program = ebpf.program_mut(NAME).context("the empty program")?;
        <&mut SchedClassifier>::try_from(program)?.load()?;
        Ok(Self(ebpf))
    }

    pub(crate) fn program(&self) -> Result<&SchedClassifier> {
        Ok(self.0.program(NAME).context("the empty program")?.try_into()?)
    }
}

/// An object file with it.
fn image() -> Result<Vec<u8>> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let segment = object.segment_name(StandardSegment::Text).to_vec();
    let section = object.add_section(segment, b"classifier".to_vec(), SectionKind::Text);
    let value = object.append_section_data(section, &CODE, 8);
    object.add_symbol(Symbol {
        name: NAME.into(),
        value,
        size: 16,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    Ok(object.write()?)
}
