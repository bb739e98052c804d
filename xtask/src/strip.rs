//! Takes the debug information out of the eBPF object.
//!
//! The compiler has to write all of it, as bpf-linker makes BTF from it. After that it is nine tenths of an object that
//! each agent carries in memory; the kernel takes only the BTF.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use object::{
    build::elf::{Builder, SectionData},
    elf,
};

/// Writes the object at `from` without its debug information to `to`. A file that is the same already stays as it is,
/// so that what is built from it is not built again.
pub fn debug(from: &Path, to: &Path) -> Result<()> {
    let data = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    let lean = without_debug(&data).with_context(|| format!("cannot strip {}", from.display()))?;
    if fs::read(to).is_ok_and(|there| there == lean) {
        return Ok(());
    }
    fs::write(to, lean).with_context(|| format!("cannot write {}", to.display()))
}

fn without_debug(data: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(data)?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        // With the relocations of each: `.debug_info` and `.rel.debug_info`. Those of BTF name places that are
        // written in it already; loaders pass them over.
        let of = name.strip_prefix(b".rel");
        section.delete =
            of.unwrap_or(name).starts_with(b".debug_") || of.is_some_and(|of| of.starts_with(b".BTF"));
    }
    builder.delete_orphan_symbols();
    // The compiler has put the names of symbols and sections into one table; the writer wants two.
    let names = builder.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = elf::SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    let mut lean = Vec::new();
    builder.write(&mut lean)?;
    Ok(lean)
}
