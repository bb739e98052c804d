//! A [`Btf`] is the kernel's own description of its types: where a member lies, what a function takes. Read from
//! `/sys/kernel/btf/vmlinux`; no offset of any kernel is built in.
//!
//! The reader answers every input: what is cut off, mutated or cyclic gives an error or "not there", never a panic.

use std::collections::HashMap;

const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 24;
/// How deep structures are followed: the kernel's nest a handful of levels.
const DEPTH: usize = 16;
/// How many members are looked at for one name, so that a mutated structure that holds itself many times ends too.
const FUEL: u32 = 100_000;

/// Why the kernel's type information cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// There is none, or it cannot be read.
    #[error("cannot read the kernel's type information /sys/kernel/btf/vmlinux")]
    Read(#[source] std::io::Error),
    /// It is not what it should be.
    #[error("the kernel's type information is malformed at byte {0}")]
    Malformed(usize),
}

/// The kinds of types that matter here, by their number.
mod kind {
    pub const INT: u32 = 1;
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const FWD: u32 = 7;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const FLOAT: u32 = 16;
    pub const DECL_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

/// One type record: its name, kind, number of parts, size or referred type, and where its parts begin.
#[derive(Clone, Copy)]
struct Record {
    name: u32,
    kind: u32,
    flagged: bool,
    parts: usize,
    size_or_type: u32,
    at: usize,
}

/// The kernel's types.
pub struct Btf {
    data: Vec<u8>,
    strings: std::ops::Range<usize>,
    types: Vec<Record>,
    /// Structures, unions and functions by name and kind.
    names: HashMap<(u32, Vec<u8>), u32>,
}

impl Btf {
    /// Reads the running kernel's types, and keeps the names of those in `wanted`.
    pub fn of_this_kernel(wanted: &[&str]) -> Result<Btf, BtfError> {
        Btf::parse(std::fs::read("/sys/kernel/btf/vmlinux").map_err(BtfError::Read)?, wanted)
    }

    /// Parses type information, and keeps the names of those in `wanted` (a kernel has 100,000 more).
    pub fn parse(data: Vec<u8>, wanted: &[&str]) -> Result<Btf, BtfError> {
        let word = |at: usize| u32_at(&data, at).ok_or(BtfError::Malformed(at));
        if data.get(..2) != Some(&MAGIC.to_le_bytes()) {
            return Err(BtfError::Malformed(0));
        }
        let header = word(4)? as usize;
        let range = |offset: usize, length: usize| -> Result<std::ops::Range<usize>, BtfError> {
            let start = header.checked_add(word(offset)? as usize).ok_or(BtfError::Malformed(offset))?;
            let end = start.checked_add(word(length)? as usize).ok_or(BtfError::Malformed(length))?;
            if header < HEADER || end > data.len() {
                return Err(BtfError::Malformed(length));
            }
            Ok(start..end)
        };
        let (section, strings) = (range(8, 12)?, range(16, 20)?);
        let mut types = vec![Record { name: 0, kind: 0, flagged: false, parts: 0, size_or_type: 0, at: 0 }];
        let mut at = section.start;
        while at < section.end {
            let (name, info, size_or_type) = (word(at)?, word(at + 4)?, word(at + 8)?);
            let (kind, parts) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            let parts_at = at + 12;
            let size = match kind {
                kind::INT | kind::VAR | kind::DECL_TAG => 4,
                kind::ARRAY => 12,
                kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => parts * 12,
                kind::ENUM | kind::FUNC_PROTO => parts * 8,
                kind::PTR
                | kind::FWD
                | kind::TYPEDEF
                | kind::VOLATILE
                | kind::CONST
                | kind::RESTRICT
                | kind::FUNC
                | kind::FLOAT
                | kind::TYPE_TAG => 0,
                _ => return Err(BtfError::Malformed(at)),
            };
            types.push(Record { name, kind, flagged: info >> 31 != 0, parts, size_or_type, at: parts_at });
            at = parts_at + size;
        }
        if at != section.end {
            return Err(BtfError::Malformed(at));
        }
        let mut btf = Btf { data, strings, types, names: HashMap::new() };
        btf.names = btf.index(wanted);
        Ok(btf)
    }

    fn index(&self, wanted: &[&str]) -> HashMap<(u32, Vec<u8>), u32> {
        let wanted: std::collections::HashSet<&[u8]> = wanted.iter().map(|w| w.as_bytes()).collect();
        let mut names = HashMap::new();
        for (id, record) in self.types.iter().enumerate() {
            if matches!(record.kind, kind::STRUCT | kind::UNION | kind::FUNC | kind::TYPEDEF)
                && let Some(name) = self.string(record.name)
                && wanted.contains(name)
            {
                names.entry((record.kind, name.to_vec())).or_insert(id as u32);
            }
        }
        names
    }

    /// Returns whether the kernel has a function of this name.
    pub fn has_function(&self, name: &str) -> bool {
        self.names.contains_key(&(kind::FUNC, name.as_bytes().to_vec()))
    }

    /// Returns for each parameter of a function the name of the structure that it points to; an empty name for what
    /// is no such pointer. `None` if there is no such function.
    pub fn parameters(&self, function: &str) -> Option<Vec<String>> {
        let id = self.names.get(&(kind::FUNC, function.as_bytes().to_vec()))?;
        self.prototype(self.get(*id)?.size_or_type)
    }

    /// As [`Btf::parameters`], of a tracepoint: what its BTF programs get.
    pub fn tracepoint(&self, name: &str) -> Option<Vec<String>> {
        let typedef = self.names.get(&(kind::TYPEDEF, format!("btf_trace_{name}").into_bytes()))?;
        let pointer = self.get(self.get(*typedef)?.size_or_type)?;
        let mut parameters = self.prototype(pointer.size_or_type)?;
        // The first is the probe's own data, which BTF programs are not given.
        (!parameters.is_empty()).then(|| parameters.split_off(1))
    }

    fn prototype(&self, id: u32) -> Option<Vec<String>> {
        let prototype = self.get(id).filter(|r| r.kind == kind::FUNC_PROTO)?;
        (0..prototype.parts)
            .map(|i| {
                let of = u32_at(&self.data, prototype.at + i * 8 + 4)?;
                let pointee =
                    self.strip(of).filter(|r| r.kind == kind::PTR).and_then(|r| self.strip(r.size_or_type));
                Some(match pointee {
                    Some(r) if matches!(r.kind, kind::STRUCT | kind::UNION | kind::FWD) => {
                        String::from_utf8_lossy(self.string(r.name).unwrap_or_default()).into_owned()
                    }
                    _ => String::new(),
                })
            })
            .collect()
    }

    /// Returns where a member lies in a structure, in bytes. The path goes through named members by dots, and through
    /// anonymous structures and unions by itself: `member("file", "f_path.dentry")`.
    pub fn member(&self, structure: &str, path: &str) -> Option<u32> {
        let mut id = *self.names.get(&(kind::STRUCT, structure.as_bytes().to_vec()))?;
        let mut bits = 0u32;
        for name in path.split('.') {
            let (offset, of) = self.find(id, name.as_bytes(), DEPTH, &mut { FUEL })?;
            bits = bits.checked_add(offset)?;
            id = of;
        }
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    /// Finds a member by name; returns its offset in bits and its type.
    fn find(&self, id: u32, name: &[u8], depth: usize, fuel: &mut u32) -> Option<(u32, u32)> {
        let record = self.strip(id).filter(|r| matches!(r.kind, kind::STRUCT | kind::UNION))?;
        let depth = depth.checked_sub(1)?;
        for i in 0..record.parts {
            *fuel = fuel.checked_sub(1)?;
            let at = record.at + i * 12;
            let (member, of) = (u32_at(&self.data, at)?, u32_at(&self.data, at + 4)?);
            let offset = u32_at(&self.data, at + 8)?;
            // With the flag the upper byte is the width of a bit field.
            let offset = if record.flagged { offset & 0xff_ffff } else { offset };
            if member == 0 || self.string(member) == Some(b"") {
                if let Some((inner, of)) = self.find(of, name, depth, fuel) {
                    return Some((offset.checked_add(inner)?, of));
                }
            } else if self.string(member) == Some(name) {
                return Some((offset, of));
            }
        }
        None
    }

    /// Follows typedefs and qualifiers.
    fn strip(&self, mut id: u32) -> Option<Record> {
        for _ in 0..DEPTH {
            let record = self.get(id)?;
            match record.kind {
                kind::TYPEDEF | kind::CONST | kind::VOLATILE | kind::RESTRICT | kind::TYPE_TAG => {
                    id = record.size_or_type;
                }
                _ => return Some(record),
            }
        }
        None
    }

    fn get(&self, id: u32) -> Option<Record> {
        self.types.get(id as usize).copied()
    }

    fn string(&self, offset: u32) -> Option<&[u8]> {
        let strings = self.data.get(self.strings.clone())?;
        strings.get(offset as usize..)?.split(|&b| b == 0).next()
    }
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests;
