//! Every parser of stored bytes, for a fuzzer: none may panic, hang or take more memory than its input
//! explains. `fuzz/` runs them under libFuzzer; a test below runs some thousand mutations of good bytes.

use crate::block::BLOCK;
use crate::disk::format::{self, FIRST, GROUP_BLOCKS, GroupUse, Head, Record};
use crate::keys::ObjectId;
use crate::manifest::DiskName;
use crate::object::Directory;
use crate::pack::{PackContents, PackRef};
use crate::store::attachments;
use crate::{disk, index, manifest};

const ID: ObjectId = ObjectId([7; 16]);

/// Takes any bytes.
pub type Parser = fn(&[u8]);

/// The parsers by their names.
pub const PARSERS: &[(&str, Parser)] = &[
    ("directory", directory),
    ("pack", pack),
    ("pack_record", pack_record),
    ("index", index_content),
    ("manifest", manifest_body),
    ("attachment", attachment),
    ("checkpoint", checkpoint),
    ("group", group),
    ("record", record),
    ("session", session),
];

fn directory(bytes: &[u8]) {
    let end = bytes.len() as u64;
    let _ = Directory::parse(bytes, end);
}

fn pack(bytes: &[u8]) {
    if let Some(directory) = any_directory(bytes) {
        let _ = PackContents::parse(ID, 1, &directory);
    }
}

fn pack_record(mut bytes: &[u8]) {
    if let Some(pack) = PackRef::read_from(&mut bytes)
        && let Some(last) = pack.frames.len().checked_sub(1)
    {
        let _ = (
            pack.frame_range(last),
            pack.frame_slots(last),
            pack.stored(),
        );
    }
}

fn index_content(bytes: &[u8]) {
    let (extra, raw) = bytes.split_at(bytes.len().min(64));
    let directory = Directory {
        frames: Vec::new(),
        extra: extra.to_vec(),
    };
    let _ = index::parse(raw, &directory);
}

fn manifest_body(bytes: &[u8]) {
    let _ = manifest::parse(bytes, "a manifest");
}

fn attachment(bytes: &[u8]) {
    let disk = DiskName::new("d").expect("a letter");
    let _ = attachments::description(&disk, bytes);
}

fn checkpoint(bytes: &[u8]) {
    let _ = disk::checkpoint::decode(bytes);
}

fn group(bytes: &[u8]) {
    let mut head = [0; BLOCK];
    let length = bytes.len().min(BLOCK);
    head[..length].copy_from_slice(&bytes[..length]);
    let by = match format::read_head(&ID, 3, &head) {
        Head::Used { by, .. } => by,
        Head::Empty | Head::Damaged => GroupUse::new(&ID, 3, 1, 1),
    };
    for at in FIRST..GROUP_BLOCKS {
        let _ = by.read_entry(at, format::entry_of(&head, at)).what();
    }
}

fn record(bytes: &[u8]) {
    let mut content = [0; BLOCK];
    let length = bytes.len().min(BLOCK);
    content[..length].copy_from_slice(&bytes[..length]);
    if let Some(Record::Zero(ranges)) = Record::decode(&content) {
        for range in ranges {
            let _ = range.blocks();
        }
    }
}

fn session(bytes: &[u8]) {
    let _ = disk::checkpoint::decode_session(bytes);
}

/// Any bytes as a directory: some frames, and the rest.
fn any_directory(bytes: &[u8]) -> Option<Directory> {
    let (count, rest) = bytes.split_first()?;
    let (lengths, extra) = rest.split_at_checked(usize::from(*count) * 8)?;
    let frames: Vec<u8> = u32::from(*count)
        .to_le_bytes()
        .into_iter()
        .chain(lengths.iter().copied())
        .collect();
    let stored: u64 = lengths
        .as_chunks::<8>()
        .0
        .iter()
        .map(|entry| {
            u64::from(u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]) & !(1 << 31))
        })
        .sum();
    let mut directory = Directory::parse(&frames, crate::object::HEADER as u64 + stored)?;
    directory.extra = extra.to_vec();
    Some(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Entropy, KeyRing, SystemEntropy, Tenant};
    use crate::manifest::Manifest;
    use crate::object::{Kind, open_whole};
    use crate::pack::PackWriter;

    /// Good bytes for each parser.
    fn samples(name: &str) -> Vec<u8> {
        let tenant = Tenant::new("t").unwrap();
        let keys = KeyRing::generate(&SystemEntropy).tenant(&tenant).unwrap();
        let identities = keys.identities();
        let id = SystemEntropy.object_id();
        let mut writer = PackWriter::new(id, &keys, &identities, 16).unwrap();
        for number in 0..40 {
            writer.block(number * 3, &[number as u8; BLOCK]);
        }
        let made = writer.finish();
        let (_, opened) = open_whole(Kind::Pack, &id, made.bytes.clone(), &keys).unwrap();
        let frames: Vec<u8> = opened
            .frames
            .iter()
            .flat_map(|frame| [frame.frame.code().to_le_bytes(), frame.raw.to_le_bytes()].concat())
            .collect();
        match name {
            "directory" => [&3u32.to_le_bytes()[..], &frames, &opened.extra].concat(),
            "pack" => [&[opened.frames.len() as u8][..], &frames, &opened.extra].concat(),
            "pack_record" => {
                let mut record = Vec::new();
                made.contents.pack.write_to(&mut record);
                record
            }
            "manifest" => {
                let disk = DiskName::new("d").unwrap();
                serde_json::to_vec(&Manifest::unborn(tenant, disk, 9, None)).unwrap()
            }
            "attachment" => b"\x01\0\0\0dwords".to_vec(),
            "record" => Record::Zero(vec![format::Range { first: 1, count: 2 }; 9])
                .encode()
                .to_vec(),
            "group" => {
                let by = GroupUse::new(&ID, 3, 5, 2);
                let mut head = by.head(format::Position::default()).to_vec();
                head.resize(32, 0);
                for at in FIRST..40 {
                    let entry = by.entry(at, format::What::Written(at), &[1; BLOCK]);
                    head.extend_from_slice(&entry);
                }
                head
            }
            _ => vec![0; 300],
        }
    }

    #[test]
    fn no_mutation_of_good_bytes_makes_a_parser_panic() {
        let mut state = 1u64;
        let mut next = move |end: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % end.max(1)
        };
        for (name, parse) in PARSERS {
            let good = samples(name);
            parse(&good);
            parse(&[]);
            for _ in 0..3000 {
                let mut bytes = good.clone();
                for _ in 0..=next(4) {
                    let at = next(bytes.len());
                    match next(5) {
                        0 => bytes.truncate(at),
                        1 => bytes.insert(at.min(bytes.len()), next(256) as u8),
                        2 if at + 4 <= bytes.len() => {
                            let large = [u32::MAX, 1 << 31, 0x7fff_ffff, 0][next(4)];
                            bytes[at..at + 4].copy_from_slice(&large.to_le_bytes());
                        }
                        _ if at < bytes.len() => bytes[at] ^= 1 << next(8),
                        _ => {}
                    }
                }
                parse(&bytes);
            }
        }
    }
}
